import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { removeLab, snapLab } from '../helpers/snap-lab.ts';

test.after.always(removeLab);

/**
 * A file system of its own in a guest, its base, many kinds of edits; what changed is merged into a copy from before, and
 * both are compared by what the kernel says of them.
 */
const SCRIPT = `
snap=/mnt/apppot-snap
options=$1
cd /var/tmp && truncate --size=48M fs.img
mkfs.ext4 -q -F $options fs.img >&2
mkdir -p fs copy && mount -o loop fs.img fs
mkdir -p fs/many fs/deep/a/b/c fs/moved/sub fs/gone/sub "fs/with blank"
many() { seq -f 'file number %g with a long name, so that the folder gets an index' "$@"; }
(cd fs/many && many 1500 | xargs -d '\\n' touch)
echo one >fs/deep/a/b/c/file; echo x >fs/moved/sub/y; echo z >fs/gone/sub/z; echo same >fs/same; ln fs/same fs/second
mknod fs/node c 1 3; mkfifo fs/pipe; ln -s nowhere fs/link; ln -s "$(printf '%0100d' 1)" fs/longlink
sync; sleep 2.1
$snap --root $PWD/fs base >/dev/null
umount fs && cp fs.img copy.img && mount -o loop fs.img fs
$snap --root $PWD/fs --json changes -n 2>/dev/null | grep -q '"added":0,"changed":0,"deleted":0'
(cd fs/many && many 1 3 1500 | xargs -d '\\n' rm)
echo new >fs/many/new; head -c 9000 /dev/urandom >fs/many/small; truncate -s 8000 fs/many/holes; echo end >>fs/many/holes; fallocate -l 5000 fs/many/room 2>/dev/null || true
head -c 200000 /dev/urandom >fs/many/large; : >fs/many/empty; echo x >fs/many/tagged; setfattr -n user.b -v c fs/many/tagged 2>/dev/null || true
 echo two >fs/deep/a/b/c/file; mv fs/moved fs/deep/a/elsewhere; rm -r fs/gone; ln fs/same fs/third
touch -d 2001-01-01T00:00:00.123456789 fs/same; chmod 700 fs/deep; chown -h 70000:80000 fs/link; rm fs/node; mknod fs/node b 8 300
echo three >fs/second; rm fs/longlink; mkdir fs/longlink; setfattr -n user.a -v b fs/pipe 2>/dev/null || true
touch -d 2500-01-01 fs/many/new
$snap --root $PWD/fs changes -o a.tar >/dev/null
$snap --root $PWD/fs --suspect-all changes -o b.tar >/dev/null
cmp a.tar b.tar
sync; sleep 2.1
APPPOT_SNAP_STILL=1 $snap --root $PWD/fs changes -o c.tar >/dev/null
cmp a.tar c.tar
mount -o loop copy.img copy
$snap --root $PWD/copy merge a.tar >/dev/null
for still in '' APPPOT_SNAP_STILL=1; do env $still $snap --root $PWD/fs manifest >fs.list.$still; done
$snap --root $PWD/fs --suspect-all manifest >fs.list
cmp fs.list fs.list.; cmp fs.list fs.list.APPPOT_SNAP_STILL=1
$snap --root $PWD/copy --suspect-all manifest >copy.list
cmp fs.list copy.list
wc -l <fs.list
$snap --root $PWD/fs --json changes -n 2>/dev/null
umount fs copy
`;

/** Options of mkfs.ext4, and whether the disk can be understood without the kernel. */
const KINDS: readonly (readonly [kind: string, options: string, isRead: boolean])[] = [
  ['usual', '', true],
  ['of small blocks and inodes', '-b 1024 -I 128', true],
  ['without extents', '-O ^extent,^64bit', false],
  ['with content in inodes', '-O inline_data', true],
];

for (const [kind, options, isRead] of KINDS) {
  test.serial(`changes of an ext4 are right, read from its disk or not: ${kind}`, async (t) => {
    const lab = await snapLab(t);
    if (lab === undefined) return;
    await writeFile(join(lab.folder, 'kinds.sh'), SCRIPT);
    const said = await lab.guest(
      ['--image', lab.image],
      `sh -eux /srv/kinds.sh '${options}' 2>/srv/kinds.log`,
    );
    const [count = '', summary = ''] = said.trim().split('\n');
    t.true(Number(count) > 1000);
    const { digested, looked } = JSON.parse(summary) as { digested: number; looked: number };
    // Of a thousand files only those that were edited are read, and only about them the kernel is asked.
    t.true(digested < 20);
    t.is(looked < 100, isRead, `asked about ${looked}`);
  });
}
