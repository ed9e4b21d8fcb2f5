import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { packageFile } from '../../src/config/paths.ts';
import { buildGuestPackage, guestDependencies } from '../../src/image/guest-package.ts';
import { run } from '../../src/process/run.ts';

test('the package apppot is the same bytes in every build, has the version of the project, and belongs to root', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'apppot test-'));
  try {
    const packages = await Promise.all(
      ['a', 'b'].map(async (name) => {
        await mkdir(join(folder, name));
        return buildGuestPackage(join(folder, name), new AbortController().signal);
      }),
    );
    t.is(packages[0]?.digest, packages[1]?.digest);
    const file = packages[0]?.file ?? '';
    const { version } = JSON.parse(await readFile(packageFile('package.json'), 'utf8')) as {
      version: string;
    };
    t.is((await run('dpkg-deb', ['-f', file, 'Version'])).stdout.trim(), version);
    const content = (await run('dpkg-deb', ['-c', file])).stdout;
    t.regex(content, /-rwxr-xr-x root\/root .*\.\/usr\/lib\/apppot\/apppot-init\n/);
    t.regex(content, /-r--r----- root\/root .*\.\/etc\/sudoers\.d\/apppot\n/);
    t.notRegex(content, / (?!root\/root )\S+\/\S+ +\d+ \d{4}-/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('every image has what the package depends on', async (t) => {
  const names = await guestDependencies();
  t.deepEqual(
    ['bash', 'sudo', 'screen', 'less', 'lsb-release', 'iproute2'].filter((name) => !names.includes(name)),
    [],
  );
  t.deepEqual(
    names.filter((name) => !/^[a-z0-9][a-z0-9+.-]+$/.test(name)),
    [],
  );
});
