import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { LocalBackend } from '../../src/grid/local/backend.ts';
import { refuseHeavyUse } from '../../src/grid/local/login-node.ts';
import { guestParts, newFolder } from '../helpers/guest.ts';
import { send, shell, statuses, submission } from './contract.ts';

test('no more local tasks run at once than the target allows; the others wait their turn', async (t) => {
  const parts = guestParts(t);
  if (parts === undefined) return;
  const folder = join(await newFolder(t), 'sand boxes');
  const backend = new LocalBackend({ name: 'local', folder, parallel: 2, allowLoginNode: true });
  const tasks = [1, 2, 3, 4].map((index) => ({
    ...shell('echo >begun; until [ -e go ]; do sleep 0.1; done'),
    index,
  }));
  const jobs = await send(t, backend, submission(parts, { batch: false }, tasks));
  const running = async (): Promise<readonly string[]> => {
    const found = (await statuses(backend, jobs)).map(({ state }) => state);
    t.true(found.filter((state) => state === 'running').length <= 2, found.join(' '));
    return found;
  };
  for (let tries = 0; (await running()).filter((state) => state === 'running').length < 2; tries += 1) {
    if (tries > 600) throw new Error('they do not begin');
    await delay(100);
  }
  t.deepEqual([...(await running())].sort(), ['queued', 'queued', 'running', 'running']);
  // A task that waits has no folder yet.
  for (let tries = 0; (await running()).some((state) => state !== 'done'); tries += 1) {
    if (tries > 600) throw new Error('they do not end');
    for (const { native } of jobs) await writeFile(join(native, 'go'), '').catch(() => undefined);
    await delay(100);
  }
});

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
