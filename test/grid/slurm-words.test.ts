import test from 'ava';
import { parseRoom, spaceLine } from '../../src/grid/space.ts';
import { refusalHint, refusalText, waitingText } from '../../src/grid/slurm/words.ts';

test('what sbatch says is one line without its prefixes, and every refusal has a hint', (t) => {
  const said = [
    'sbatch: error: invalid partition specified: nowhere',
    'sbatch: error: Batch job submission failed: Invalid partition name specified',
    '',
  ].join('\n');
  t.is(refusalText(said), 'invalid partition specified: nowhere; Invalid partition name specified');
  t.is(
    refusalText('sbatch: unrecognized option \'--bogus\'\nTry "sbatch --help" for more information\n'),
    "unrecognized option '--bogus'",
  );
  const hints: readonly (readonly [string, RegExp])[] = [
    ['Invalid partition name specified', /--partition/],
    ['Requested time limit is invalid (missing or exceeds some limit)', /--time/],
    ['Memory specification can not be satisfied', /--mem/],
    ['Requested node configuration is not available', /--cpus/],
    ['Invalid account or account/partition combination specified', /--account/],
    ['Invalid qos specification', /--qos/],
    ['Invalid feature specification', /options in the target/],
    ['something new', /man sbatch/],
  ];
  for (const [text, hint] of hints) t.regex(refusalHint(text), hint);
});

test('a job that waits for more than its turn says for what; one that never starts says what to do', (t) => {
  t.is(waitingText('Priority'), undefined);
  t.is(waitingText('None'), undefined);
  t.regex(waitingText('PartitionTimeLimit') ?? '', /never starts.*--time/);
  t.regex(waitingText('ReqNodeNotAvail, UnavailableNodes:n[1-4]') ?? '', /\(ReqNodeNotAvail\): nodes/);
  t.regex(waitingText('AssocGrpCpuLimit') ?? '', /other jobs/);
  t.is(waitingText('SomethingNew'), 'Slurm waits: SomethingNew.');
});

test('a disk or a quota that is full, or nearly, is said with what to do', (t) => {
  const disk = parseRoom('server:/home with a blank 100000000 60000000 40000000  60% /home of all');
  t.deepEqual(disk, { device: 'server:/home with a blank', free: 40_000_000 });
  // A file system without a limit of files.
  t.is(parseRoom('nfs:/home 0 0 0 - /home'), undefined);
  const home = { device: 'nfs:/home', free: 40_000_000 };
  t.deepEqual(spaceLine(home, undefined, ''), { title: 'space', ok: true, detail: '38.1 GiB free' });
  t.like(spaceLine({ ...home, free: 500_000 }, undefined, ''), {
    ok: true,
    detail: 'the disk is nearly full: 488 MiB free',
  });
  t.like(spaceLine({ ...home, free: 0 }, undefined, ''), {
    ok: false,
    detail: 'the disk is full: 0 MiB free',
  });
  t.like(spaceLine(home, { device: 'nfs:/home', free: 3 }, ''), { ok: true });
  t.regex(spaceLine(home, { device: 'nfs:/home', free: 0 }, '').detail, /only 0 more files/);
  // As quota -wp prints it: used, soft and hard limit, time left; of blocks, then of files.
  const quota = (used: string) =>
    `Disk quotas for user me (uid 1000): \n     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n nfs:/home ${used} 20000000 22000000 0 500 0 0 0\n`;
  t.like(spaceLine(home, undefined, quota('19500000')), {
    ok: true,
    detail: 'your quota is nearly full: 488 MiB free',
  });
  t.like(spaceLine(home, undefined, quota('21000000*')), {
    ok: false,
    detail: 'your quota is full: 0 MiB free',
  });
  t.like(spaceLine({ ...home, device: 'other' }, undefined, quota('21000000*')), { ok: true });
  t.regex(spaceLine(home, undefined, quota('21000000*')).hint ?? '', /jobs clean/);
});
