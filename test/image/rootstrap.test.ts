import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { rootstrapDriver } from '../../src/image/drivers/rootstrap.ts';
import { parseConf } from '../../src/image/conf.ts';

/** Keeps to the command line of rootstrap(1): [-s MB] [-o logfile] imagefile; records what it was given. */
const STAND_IN = `#!/bin/sh
[ "$1" = --help ] && exit 1
while getopts s:o:u: option; do
	case $option in s) size=$OPTARG ;; o) log=$OPTARG ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || exit 2
cp rootstrap.conf $RECORD/conf
ls modules >$RECORD/listing
truncate -s "\${size}M" "$1"
echo "installed" >>"$log"
`;

test.serial(
  'a real rootstrap is driven by its documented command line, with one merged configuration',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'apppot test-'));
    const path = process.env['PATH'];
    try {
      await writeFile(
        join(folder, 'rootstrap'),
        STAND_IN.replaceAll('$RECORD', folder.replaceAll(' ', '\\ ')),
      );
      await chmod(join(folder, 'rootstrap'), 0o755);
      await mkdir(join(folder, 'scratch', 'modules'), { recursive: true });
      await writeFile(join(folder, 'scratch', 'modules', 'debian'), '#!/bin/sh\n');
      process.env['PATH'] = `${folder}:${path ?? ''}`;
      t.is(await rootstrapDriver.reasonAgainst(), undefined);
      await rootstrapDriver.build({
        scratch: join(folder, 'scratch'),
        modules: [
          {
            name: 'debian',
            file: join(folder, 'scratch', 'modules', 'debian'),
            options: { dist: 'trixie', sources: 'deb a b c\ndeb d e f' },
          },
        ],
        workFolder: folder,
        image: join(folder, 'made.img'),
        sizeMebibytes: 64,
        environment: { SOURCE_DATE_EPOCH: '1' },
        paths: {},
        logFile: join(folder, 'log'),
        statusFile: join(folder, 'status'),
        signal: new AbortController().signal,
      });
      const conf = parseConf(await readFile(join(folder, 'conf'), 'utf8'), 'conf');
      t.is(conf.get('global')?.options.get('modules')?.value, 'debian');
      t.is(conf.get('global')?.options.get('SOURCE_DATE_EPOCH')?.value, '1');
      t.is(conf.get('debian')?.options.get('sources')?.value, 'deb a b c\ndeb d e f');
      t.is(await readFile(join(folder, 'listing'), 'utf8'), 'debian\n');
      t.is((await readFile(join(folder, 'made.img'))).length, 64 * 1024 * 1024);
      t.regex(await readFile(join(folder, 'log'), 'utf8'), /installed/);
    } finally {
      process.env['PATH'] = path;
      await rm(folder, { recursive: true });
    }
  },
);

test.serial('without the program rootstrap the driver says so', async (t) => {
  t.is(await rootstrapDriver.reasonAgainst(), 'there is no program rootstrap');
});
