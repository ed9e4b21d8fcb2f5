/** docs/site.md, its part for ARC, followed as it stands; then jobs of a plain user that need nothing but the name. */
import test, { type ExecutionContext } from 'ava';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { arcTarget, gridClient, type GridClient, type ListedJob } from '../helpers/grid-client.ts';
import { requireOrSkip } from '../helpers/require.ts';
import { smallImage } from '../helpers/small-image.ts';

let client: GridClient | undefined;
const SMALL = ['-m', '128', '-t', '5'];

test.before(async (t) => {
  client = await gridClient(t);
});
test.after.always(async () => {
  await client?.remove();
});

function withClient(title: string, body: (t: ExecutionContext, one: GridClient) => Promise<void>): void {
  test.serial(title, async (t) => {
    if (requireOrSkip(t, client !== undefined, 'no scientist at the grid lab') && client !== undefined)
      await body(t, client);
  });
}

async function succeeds(t: ExecutionContext, one: GridClient, words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await one.apppot(words);
  t.is(code, 0, `said: ${stderr}`);
  return stdout;
}

/** The commands of the page's section, with the lab's folders for the page's. */
async function commandsOfPage({ lab, runtime, image }: GridClient): Promise<string> {
  const page = await readFile(packageFile('docs', 'site.md'), 'utf8');
  const block = /^## ARC\n[\s\S]*?^```sh\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? '';
  return block
    .replaceAll('/etc/arc/rte', lab.arc.rteDir)
    .replaceAll('/shared/apppot/runtime', runtime)
    .replaceAll('/shared/apppot/images/debian-1.img', image)
    .replaceAll(/^arcctl /gm, `arcctl -c ${lab.arc.conf} `);
}

function target(one: GridClient, more: Readonly<Record<string, string>> = {}): string {
  // Neither runtime nor image: the site has them.
  const all = arcTarget(one, { rte: 'ENV/APPPOT' }).split('\n');
  const lines = all.filter((line) => !/^(?:image|runtime) =/.test(line));
  return [...lines, ...Object.entries(more).map(([key, value]) => `${key} = ${value}`), ''].join('\n');
}

async function outcomeOf(one: GridClient, folder: string): Promise<Readonly<Record<string, unknown>>> {
  return JSON.parse(await readFile(join(one.folder, folder, 'outcome.json'), 'utf8')) as never;
}

withClient(
  'an administrator follows the page, and a job brings neither runtime nor image',
  async (t, one) => {
    const commands = await commandsOfPage(one);
    t.is(commands.match(/^arcctl /gm)?.length, 4, commands);
    // A site that has never had one: the folder is the page's to make. Enabled before, it is so again.
    await run('rm', ['-rf', join(one.lab.arc.rteDir, 'ENV')]);
    await run('rm', ['-f', join(one.lab.arc.controlDir, 'rte', 'enabled', 'ENV', 'APPPOT')]);
    const { stdout } = await run('sh', ['-euc', commands], { cwd: packageFile('.') });
    t.regex(stdout, new RegExp(`APPPOT_RUNTIME = ${one.runtime} `));
    t.regex(stdout, new RegExp(`APPPOT_IMAGE = ${one.image} `));
    await one.configure(target(one));
    const name = `rte${process.pid}`;
    const preview = await succeeds(t, one, ['submit', '--to', 'ce', '--dry-run', '--', 'true']);
    t.notRegex(preview, /InputFile><Name>apppot-parts[/](?:linux|slirp|apppot\.img)/);
    await succeeds(t, one, [
      'submit',
      '--to',
      'ce',
      '-J',
      name,
      ...SMALL,
      '--',
      'sh',
      '-c',
      'uname -r; id -un',
    ]);
    await succeeds(t, one, ['jobs', 'wait', name]);
    await succeeds(t, one, ['jobs', 'fetch', name, '--into', name]);
    t.regex(await readFile(join(one.folder, name, 'stdout.txt'), 'utf8'), /-apppot\nuser\n$/);
    const outcome = await outcomeOf(one, name);
    t.like(outcome, { image: `site:${one.image}`, runtime: 'ENV/APPPOT', exitCode: 0 });
    t.regex(String(outcome['baseId']), /^[0-9a-f]{64}$/);
  },
);

withClient(
  "with the site's runtime an image comes from web space, once for all jobs, as A-REX's statistics say",
  async (t, one) => {
    const { lab } = one;
    const name = `web${process.pid}`;
    await run('cp', ['--sparse=always', await smallImage(), join(lab.web.root, `${name}.img`)]);
    const url = `${lab.web.url}/${name}.img`;
    await one.configure(target(one, { image: url }));
    const words = ['submit', '--to', 'ce', ...SMALL, '--wait', '--json', '-J'];
    const statistics: string[] = [];
    for (const which of ['first', 'second']) {
      const out = await succeeds(t, one, [...words, `${name}${which}`, '--', 'true']);
      const id = (JSON.parse(out) as ListedJob).tasks[0]?.remote?.split('/').at(-1) ?? '';
      statistics.push(await readFile(join(lab.arc.controlDir, `job.${id}.statistics`), 'utf8'));
    }
    const kept = statistics.map((text) => new RegExp(`url=${url},.*fromcache=(\\w+)`).exec(text)?.[1]);
    t.deepEqual(kept, ['no', 'yes']);
    const log = (await readFile(lab.web.log, 'utf8')).split('\n');
    t.is(log.filter((line) => line.startsWith(`GET ${url} `) && line.endsWith(' -')).length, 1);
    await succeeds(t, one, ['jobs', 'fetch', `${name}second`, '--into', name]);
    t.like(await outcomeOf(one, name), { image: url, runtime: 'ENV/APPPOT', exitCode: 0 });
  },
);

withClient(
  'processors and memory reach the batch system as asked; limits of the site hold',
  async (t, one) => {
    const arcctl = (...words: readonly string[]) => run('arcctl', ['-c', one.lab.arc.conf, 'rte', ...words]);
    await copyFile(packageFile('templates', 'ENV', 'APPPOT'), join(one.lab.arc.rteDir, 'ENV', 'APPPOT'));
    await arcctl('params-set', 'ENV/APPPOT', 'APPPOT_MAX_CPUS', '2');
    try {
      await one.configure(target(one, { memory_factor: '1.5', memory_overhead: '100' }));
      // A-REX cuts names to 15 letters and digits.
      const name = `map${process.pid}`;
      const words = ['submit', '--to', 'ce', '-m', '301', '-t', '7'];
      await succeeds(t, one, [...words, '-J', name, '-c', '2', '--', 'nproc']);
      const refused = await one.apppot([...words, '-J', `${name}x`, '-c', '3', '--wait', '--', 'true']);
      t.is(refused.code, 1);
      t.regex(refused.stdout, /failed .*launch/);
      await succeeds(t, one, ['jobs', 'wait', name]);
      const { stdout } = await run('scontrol', ['-o', 'show', 'jobs'], {
        env: { SLURM_CONF: one.lab.slurm.conf },
      });
      const lines = stdout.split('\n').filter((line) => line.includes(` JobName=${name}`));
      t.is(lines.length, 1, 'the one that asks for too much is not handed in');
      const line = lines[0] ?? '';
      // 301 x 1.5 + 100 = 551.5, in halves: 276 for each processor.
      t.regex(line, / NumCPUs=2 /);
      t.regex(line, / NumNodes=1 /);
      t.regex(line, / MinMemoryCPU=276M /);
      t.regex(line, / TimeLimit=00:07:00 /);
      await succeeds(t, one, ['jobs', 'fetch', name, '--into', name]);
      t.is(await readFile(join(one.folder, name, 'stdout.txt'), 'utf8'), '2\n');
    } finally {
      await arcctl('params-unset', 'ENV/APPPOT', 'APPPOT_MAX_CPUS');
    }
  },
);
