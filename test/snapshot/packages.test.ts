import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { removeLab, snapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

/** Two hundred megabytes of packages: shared libraries and their trigger, alternatives, a file with a capability. */
const INSTALL = `
exec 2>&1
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io gnuplot-nox mtr-tiny mc`;

/** What the package manager and the programs say about the system; the same wherever the same is installed. */
const REPORT = `
dpkg --verify
dpkg --audit
dpkg-query --show --showformat '\${Package} \${Version} \${Status}\\n'
update-alternatives --get-selections
echo "capability: $(getcap /usr/bin/mtr-packet)"
ldconfig -p
gnuplot -e 'set print "-"; print 6*7; set terminal dumb 60 20; plot sin(x)/x'
mtr --version
TERM=dumb mc --version`;

test('large packages that were installed in one guest are whole and work in another', async (t) => {
  const lab = await snapLab(t);
  if (lab === undefined) return;
  const cow = join(lab.folder, 'packages.cow');
  const installed = ['--image', lab.image, '--overlay', cow, '--mem', '1G'];
  const log = await lab.guest(installed, INSTALL);
  t.regex(log, /Processing triggers for libc-bin/);
  const report = await lab.guest(installed, REPORT);
  // Neither --verify nor --audit has anything to say.
  t.regex(report, /^adduser /);
  t.regex(report, /^gnuplot\s+auto\s+\/usr\/bin\/gnuplot-nox$/m);
  t.regex(report, /^capability: \/usr\/bin\/mtr-packet cap_net_raw=ep$/m);
  t.regex(report, /^42$/m);

  const written = await lab.json('snap', 'changes', `packages.cow:${lab.image}`, '-o', 'packages.tar.zst');
  t.true(Number(written['added']) > 1000);
  await lab.copy('merged.img');
  await lab.json('snap', 'merge', 'merged.img', 'packages.tar.zst');
  t.is(await lab.guest(['--image', 'merged.img'], REPORT), report);
  t.is(await lab.manifest('--image', 'merged.img'), await lab.manifest(...installed));

  // Mounted as a layer, of which the guest says so, where a layer can be made.
  if (!existsSync('/usr/bin/sqfstar')) return;
  const { layer } = await lab.json('snap', 'layer', 'packages.tar.zst');
  const mounted = ['--image', lab.image, '--changes', String(layer)];
  t.is(await lab.guest(mounted, REPORT), report);
  t.regex(await lab.guest(mounted, 'findmnt -no FSTYPE / || stat -f -c %T /'), /overlay/);
});
