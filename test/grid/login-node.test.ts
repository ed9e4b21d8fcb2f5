import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { refuseHeavyUse } from '../../src/grid/local/login-node.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { shell, submission } from './contract.ts';

test('what looks like a login node takes small jobs only, unless it is told to', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = await newFolder(t);
  await writeFile(join(folder, 'sbatch'), '#!/bin/sh\n');
  await chmod(join(folder, 'sbatch'), 0o755);
  const login = { PATH: folder, SLURM_CONF: '/nowhere/slurm.conf' };
  const small = submission(parts, { batch: false }, [shell('true')], { memory: 1024, time: 600 });
  const heavy = [
    submission(parts, { batch: false }, [shell('true')], { cpus: 8 }),
    submission(parts, { batch: false }, [shell('true')], { memory: 20_000 }),
    submission(parts, { batch: false }, [shell('true')], { time: 7200 }),
    submission(
      parts,
      { batch: false },
      Array.from({ length: 8 }, () => shell('true')),
    ),
  ];
  t.notThrows(() => {
    refuseHeavyUse(small, 8, login);
  });
  for (const one of heavy) {
    const error = t.throws(
      () => {
        refuseHeavyUse(one, 8, login);
      },
      { code: 'target', message: /looks like a login node/ },
    );
    t.regex((error as { hint?: string }).hint ?? '', /--to, or set login_node = allow/);
    t.notThrows(() => {
      refuseHeavyUse(one, 8, { ...login, SLURM_JOB_ID: '7' });
      refuseHeavyUse(one, 8, { PATH: folder.replace(/$/, '/none') });
    });
  }
});
