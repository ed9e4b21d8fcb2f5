import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { removeLab, snapLab, type SnapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

/** What somebody types in a guest of their own: as the account `user`, whose job folder is `job`. Started by root, a guest's
 * job is root's. */
async function typed(lab: SnapLab, job: string, ...lines: readonly string[]): Promise<string> {
  const words = ['--quiet', '--no-stdin', '--mem', '512M', '--image', lab.image, '--job-folder', job];
  const script = ['exec 2>&1', 'cd ~', ...lines].join('\n');
  const become =
    'test $(id -u) != 0 || exec runuser -u user -- env HOME=/home/user sh -ec "$0"; exec sh -ec "$0"';
  const command = [...words, '--', 'sh', '-c', become, script];
  return (await run(lab.parts.launcher, command, { cwd: lab.folder })).stdout;
}

const EDIT = `sudo sh -c 'mkdir /opt/new; echo x >/opt/new/file; rm /etc/motd
  echo out >/var/log/out; echo out >/tmp/out; echo opt/secret >>/var/lib/apppot/apppot-snap.exclude; echo out >/opt/secret'`;

test.serial(
  'in a guest, sudo apppot-snap answers to -h, -n and -v and writes where the old tool did',
  async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined) return;
    const job = await mkdtemp(join(lab.folder, 'my job '));
    await chmod(job, 0o755);
    const said = await typed(
      lab,
      job,
      EDIT,
      'sudo apppot-snap -h | head -n 1; echo help: $?',
      'sudo apppot-snap --just-print changes; ls job; echo --- just printed',
      'sudo apppot-snap -v changes',
    );
    const [printed = '', verbose = ''] = said.split('--- just printed\n');
    t.regex(said, /^usage: apppot-snap \[OPTION\]\.\.\. COMMAND/);
    for (const list of [printed, verbose]) {
      t.regex(list, /^A \/opt\/new\/file$/m);
      t.regex(list, /^D \/etc\/motd$/m);
      // What the list names stays out, and so does the job folder.
      t.notRegex(list, /^. \/(.*\/out|opt\/secret|home\/user\/job\/.*)$/m);
    }
    t.notRegex(printed, /changes\.tar\.gz/);
    const [name = 'none', ...more] = (await readdir(job)).filter((file) => file !== '.apppot');
    t.regex(name, /^apppot\.\d{4}-\d\d-\d\d\.changes\.tar\.gz$/);
    t.deepEqual(more, []);
    t.regex(verbose, new RegExp(`\\d+ added, \\d+ changed, 1 deleted, .* in /home/user/job/${name}$`, 'm'));
    // Outside, it belongs to who started the guest.
    t.is((await stat(join(job, name))).uid, process.getuid?.() ?? -1);

    const facts = await lab.apppot('snap', 'inspect', '--stat', join(job, name));
    t.regex(facts.stdout, /^base [0-9a-f]{64}\n\d+ added, \d+ changed, 1 deleted/);
    const { base, entries } = await lab.json('snap', 'inspect', join(job, name));
    const file = (entries as { path: string }[]).find(({ path }) => path === 'opt/new/file');
    t.like(file, { change: 'A', type: 'f', mode: '0644', uid: 0, gid: 0, size: 2 });
    t.is((await lab.json('snap', 'verify', join(job, name)))['base'], base);

    const merged = await typed(
      lab,
      job,
      `sudo apppot-snap -n merge "job/${name}"; ls -d /opt/new /etc/motd || true; echo --- just printed`,
      `sudo apppot-snap -v merge "job/${name}"; cat /opt/new/file; ls /etc/motd || true`,
      `apppot-snap verify "job/${name}"`,
      `apppot-snap merge "job/${name}" || echo code $?`,
    );
    const [before = '', after = ''] = merged.split('--- just printed\n');
    t.regex(before, /cannot access '\/opt\/new'[^]*\/etc\/motd$/m);
    t.regex(after, /^A \/opt\/new\/file$[^]*^D \/etc\/motd$|^D \/etc\/motd$[^]*^A \/opt\/new\/file$/m);
    t.regex(after, /^x\n.*cannot access '\/etc\/motd'/m);
    t.regex(after, /is whole and belongs to the base [0-9a-f]{64}, which is this one$/m);
    t.regex(after, /^apppot-snap: only root can restore owners.*\nhint: use sudo.*\ncode 1$/m);
  },
);

test.serial(
  'many files: the guest reads them from its disk, and every tool of the desktop takes them',
  async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined) return;
    const cow = join(lab.folder, 'many.cow');
    // As many as make a layer without a look for equal files (src/snapshot/layer.ts).
    const script = `mkdir /opt/many; cd /opt/many
    perl -e 'for $i (0 .. 20099) { $d = int($i / 200); mkdir $d; open F, ">", "$d/$i"; print F "$i of many\\n" x ($i % 300) }'
    # What changed within the last two seconds is always asked about.
    sleep 3`;
    await lab.guest(['--image', lab.image, '--overlay', cow], script);
    const pair = `many.cow:${lab.image}`;
    const written = await lab.json('snap', 'changes', pair, '-o', 'many.tar.zst');
    t.is(written['added'], 20_100 + 101 + 1);
    // The kernel was asked about few of them.
    t.true(Number(written['looked']) < 1000, `asked about ${Number(written['looked'])} paths`);
    await lab.copy('many.img');
    await lab.json('snap', 'merge', 'many.img', 'many.tar.zst');
    // Merged, and read from the disk, it is the state that the kernel sees in the guest where the files were made.
    const { base } = await lab.json('snap', 'base', 'many.img');
    const words = '/mnt/apppot-snap --suspect-all manifest | sha256sum';
    const digest = await lab.guest(['--image', lab.image, '--overlay', cow], words);
    t.is(digest.slice(0, 64), String(base));
    if (!existsSync('/usr/bin/sqfstar')) return;
    await lab.json('snap', 'layer', 'many.tar.zst', '-o', 'many.layer');
    const seen = await lab.guest(
      ['--image', lab.image, '--changes', join(lab.folder, 'many.layer')],
      'find /opt/many -type f | wc -l; wc -l </opt/many/100/20099',
    );
    t.is(seen, '20100\n299\n');
  },
);
