import { randomBytes } from 'node:crypto';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { ArcClient } from '../../src/grid/arc/client.ts';
import { makeSubmission, newSubmissionId } from '../../src/job/sandbox.ts';
import type { RemoteJob, Submission } from '../../src/job/types.ts';
import { run } from '../../src/process/run.ts';
import { silent } from '../../src/progress.ts';
import {
  arcBackend,
  arcSettings,
  PLAIN,
  scriptSubmission,
  signal,
  submitAll,
  untilEnded,
} from '../helpers/arc.ts';
import { gridLab } from '../helpers/grid.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { privateWeb } from '../helpers/private-web.ts';
import { smallImage } from '../helpers/small-image.ts';

test('an input that only we may read is fetched by the site with a proxy of ours; without such inputs it gets none', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const content = `for us only, ${process.pid}\n`;
  const web = await privateWeb(t, lab, content);
  const open = `${randomBytes(8).toString('hex')}.txt`;
  await writeFile(path.join(lab.web.root, open), content);
  const arc = arcBackend(t, lab);
  const client = new ArcClient(arcSettings(lab));
  t.teardown(() => client.http.close());
  const copies = (url: string): Submission => ({
    ...scriptSubmission('cat data.txt >result.txt'),
    taskFiles: [[{ name: 'data.txt', url }]],
  });
  const jobs: RemoteJob[] = [];
  for (const url of [`${web.url}/private/a.txt`, `${lab.web.url}/${open}`])
    jobs.push(...(await submitAll(arc, copies(url))));
  const states = await untilEnded(arc, jobs);
  t.deepEqual(
    states.map(({ state }) => state),
    ['done', 'done'],
  );
  const descriptions = await Promise.all(
    jobs.map(({ native }) => client.diagnose(client.idOf(native), 'description', signal)),
  );
  t.deepEqual(
    descriptions.map((text) => /DelegationID>\w+</.test(text ?? '')),
    [true, false],
  );
  for (const job of jobs) {
    const folder = await newFolder(t);
    await arc.fetch(job, folder, { signal, progress: silent, outputs: ['result.txt'] });
    t.is(await readFile(path.join(folder, 'result.txt'), 'utf8'), content);
  }
  // A-REX came with a proxy: the name of the user's certificate, and one more.
  t.true(web.requests.some((line) => /^GET \/private\/a\.txt .*CN=AppPot Tester\/CN=\d+$/.test(line)));
});

test('a guest reads and changes an input by URL, although the site keeps it outside of the job folder', async (t) => {
  const lab = gridLab(t);
  const parts = guestParts(t);
  if (lab === undefined || parts === undefined) return;
  const name = randomBytes(8).toString('hex');
  await writeFile(path.join(lab.web.root, name), '41\n');
  const image = path.join(lab.folder, `${name}.img`);
  await run('cp', ['--sparse=always', await smallImage(), image]);
  await chmod(image, 0o644);
  t.teardown(() => rm(image));
  const runtime = ['linux', 'slirp', 'apppot-start'].map((file) => path.join(parts.runtime, file));
  const program: [string, ...string[]] = [
    'sh',
    '-c',
    'cat data.txt >result.txt && echo 42 >>data.txt && cat data.txt >>result.txt',
  ];
  const submission = makeSubmission(
    newSubmissionId(),
    {
      ...PLAIN,
      image: `site:${image}`,
      program,
      stageIn: [{ source: `${lab.web.url}/${name}`, name: 'data.txt' }],
    },
    [{ task: { program, env: {} }, inputs: [] }],
    { script: packageFile('image/host/apppot-job'), runtime, batch: true, provenance: {} },
    { after: [] },
  );
  const arc = arcBackend(t, lab);
  const [job] = await submitAll(arc, submission);
  t.assert(job);
  if (job === undefined) return;
  const [end] = await untilEnded(arc, [job]);
  const folder = await newFolder(t);
  await arc.fetch(job, folder, { signal, progress: silent, outputs: ['result.txt', 'stderr.txt'] });
  t.is(await readFile(path.join(folder, 'stderr.txt'), 'utf8'), '');
  t.is(end?.state, 'done');
  t.is(await readFile(path.join(folder, 'result.txt'), 'utf8'), '41\n41\n42\n');
  t.is(await readFile(path.join(lab.web.root, name), 'utf8'), '41\n');
});
