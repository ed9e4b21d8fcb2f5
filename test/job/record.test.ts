import test from 'ava';
import { parseOutcome, statusOf } from '../../src/job/outcome.ts';
import { foldEvents, jobState, type JobEvent, type JobRecord } from '../../src/job/record.ts';

const record = { id: 'apppot-0000000000000001', tasks: [{}, {}] } as unknown as JobRecord;
const first: JobEvent = { e: 'attempt', at: '', id: record.id, tasks: [0, 1] };
const accepted: JobEvent = { e: 'accepted', id: record.id, jobs: { 0: { native: '7' } } };

test('a job that was sent and not answered is neither lost nor failed', (t) => {
  const [one, two] = foldEvents(record, [first, accepted]);
  t.like(one, { status: { state: 'queued' }, remote: { native: '7' }, attempt: 1 });
  t.like(two, { status: { state: 'staging' }, remote: undefined });
});

test('an end is not taken back by a late word', (t) => {
  const events: JobEvent[] = [
    first,
    accepted,
    { e: 'status', id: record.id, tasks: { 0: { state: 'done', exitCode: 0 } } },
    { e: 'status', id: record.id, tasks: { 0: { state: 'running' } } },
    { e: 'refused', id: record.id, at: '', tasks: [0], message: '' },
  ];
  t.is(foldEvents(record, events)[0]?.status.state, 'done');
});

test('words about an earlier attempt do not touch the one after', (t) => {
  const events: JobEvent[] = [
    first,
    accepted,
    { e: 'status', id: record.id, tasks: { 0: { state: 'failed', reason: 'node-fail' } } },
    { e: 'attempt', at: '', id: 'apppot-0000000000000002', tasks: [0] },
    { e: 'accepted', id: 'apppot-0000000000000002', jobs: { 0: { native: '8' } } },
    { e: 'status', id: record.id, tasks: { 0: { state: 'done' } } },
  ];
  t.like(foldEvents(record, events)[0], { attempt: 2, remote: { native: '8' }, status: { state: 'queued' } });
});

test('an end that was asked for is a cancellation, a good one stays good', (t) => {
  const ended = (state: 'failed' | 'done'): JobEvent => ({
    e: 'status',
    id: record.id,
    tasks: { 0: { state, signal: 15 } },
  });
  const cancel: JobEvent = { e: 'cancel', at: '', tasks: [0] };
  t.is(foldEvents(record, [first, accepted, cancel, ended('failed')])[0]?.status.state, 'cancelled');
  t.is(foldEvents(record, [first, accepted, cancel, ended('done')])[0]?.status.state, 'done');
  t.is(foldEvents(record, [first, accepted, ended('failed')])[0]?.status.state, 'failed');
});

test('a job is what its tasks are', (t) => {
  t.is(jobState(foldEvents(record, [first, accepted])), 'queued');
});

test('an outcome that is none, or lies about its form, is none', (t) => {
  for (const text of [
    '',
    'null',
    '{',
    '{"origin":"job"}',
    '{"origin":"x","exitCode":0,"signal":null}',
    '{"origin":"job","exitCode":"0","signal":null}',
    '[1]',
  ])
    t.is(parseOutcome(text), undefined, `taken: ${text}`);
});

test('the reason of an end comes from who ended it', (t) => {
  const reason = (more: object) => {
    const outcome = parseOutcome(JSON.stringify({ origin: 'job', exitCode: 1, signal: null, ...more }));
    return outcome && statusOf(outcome).reason;
  };
  t.is(reason({}), undefined);
  t.is(reason({ oomKills: 1 }), 'out-of-memory');
  t.is(reason({ origin: 'launcher', error: { code: 'host-killed', message: '' } }), 'out-of-memory');
  t.is(reason({ origin: 'launcher', error: { code: 'time-limit', message: '' } }), 'time-limit');
  t.is(reason({ origin: 'launcher', error: { code: 'kernel-panic', message: '' } }), 'launch');
  t.is(reason({ terminated: true, timeWasOver: true }), 'time-limit');
  t.is(reason({ terminated: true, timeWasOver: false }), 'cancelled');
});
