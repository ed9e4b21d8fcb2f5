import { existsSync } from 'node:fs';
import test from 'ava';
import { cacheFolder, packageFile } from '../../src/config/paths.ts';
import { run } from '../../src/process/run.ts';
import { fixture } from '../helpers/fixture.ts';
import { guestParts } from '../helpers/guest.ts';
import { requireOrSkip } from '../helpers/require.ts';

/**
 * The oldest kernel that is meant to work, in the short form: without a usable /dev/kvm it takes minutes. The full form
 * is `npm run hosts`.
 */
const RELEASES = ['bullseye'];

for (const release of RELEASES) {
  test.serial(`guests run on the kernel of Debian ${release}, hardened and with low limits`, async (t) => {
    t.timeout(900_000);
    const parts = guestParts(t);
    const memory = await fixture(t, 'memory');
    const there = existsSync('/usr/bin/qemu-system-x86_64');
    if (!requireOrSkip(t, there, 'qemu-system-x86 is not installed')) return;
    if (parts === undefined || memory === undefined) return;
    const script = packageFile('test', 'hosts', 'run.sh');
    const words = [script, release, parts.runtime, parts.image, memory, cacheFolder('test')];
    const { stdout, stderr, exitCode } = await run('sh', words, {
      okCodes: [0, 1, 3],
      env: { APPPOT_HOSTS_FORM: 'short' },
    });
    t.log(stdout);
    t.log(stderr);
    t.is(exitCode, 0);
    t.true((stdout.match(/^ok /gm)?.length ?? 0) > 20);
  });
}
