/** Runs the tasks of one local submission, and outlives the client: started by backend.ts in a session of its own. */
import { existsSync } from 'node:fs';
import { link, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../../errors.ts';
import { OUTCOME, PARTS } from '../../job/names.ts';
import { parseOutcome } from '../../job/outcome.ts';
import { startDetached } from '../../process/detached.ts';
import { baseEnvironment } from '../../process/run.ts';
import { PLAN, startTime, SUPERVISOR, type LocalPlan } from './paths.ts';
import { takeSlots } from './slots.ts';

/**
 * Runs a sandbox to its end. A second supervisor for the same sandbox ends at once.
 *
 * @param folder the sandbox
 */
export async function supervise(folder: string): Promise<void> {
  const parts = join(folder, PARTS);
  try {
    // Linked when it is whole: whoever reads an empty one would take the supervisor for dead.
    const draft = join(parts, `${SUPERVISOR}.${process.pid}`);
    await writeFile(draft, `${process.pid} ${startTime(process.pid) ?? ''}\n`, { mode: 0o600 });
    try {
      await link(draft, join(parts, SUPERVISOR));
    } finally {
      await rm(draft);
    }
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    throw error;
  }
  const plan = JSON.parse(await readFile(join(parts, PLAN), 'utf8')) as LocalPlan;
  const isWanted = (index: number): boolean => !existsSync(join(parts, `cancel.${index}`));
  const waiting = plan.indices.values();
  const worker = async (): Promise<void> => {
    for (const index of waiting) {
      if (!(await dependenciesEnded(plan, () => isWanted(index)))) {
        await (await open(join(parts, `cancel.${index}`), 'a')).close();
        continue;
      }
      const release = await takeSlots(plan.seats, plan.cpus, plan.slots, () => isWanted(index));
      if (release === undefined) continue;
      try {
        await runTask(folder, index);
      } finally {
        await release();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(plan.parallel, plan.indices.length) }, worker));
}

async function runTask(folder: string, index: number): Promise<void> {
  const cwd = join(folder, String(index));
  await mkdir(cwd, { recursive: true, mode: 0o700 });
  const task = await startDetached(['/bin/sh', join(folder, PARTS, 'apppot-job'), String(index)], {
    cwd,
    log: join(folder, PARTS, `batch.${index}.log`),
    env: baseEnvironment(),
  });
  // The process is not ours to keep alive for; this timer is.
  const alive = setInterval(() => undefined, 60_000);
  await task.ended.finally(() => {
    clearInterval(alive);
  });
}

/** Waits for other jobs. False when one that had to succeed did not, or nobody wants the task any more. */
async function dependenciesEnded({ after }: LocalPlan, isWanted: () => boolean): Promise<boolean> {
  for (const { when, folder } of after) {
    let outcome: string | undefined;
    for (;;) {
      outcome = await readFile(join(folder, OUTCOME), 'utf8').catch(() => undefined);
      if (outcome !== undefined || !existsSync(join(folder, '..', PARTS)) || !isWanted()) break;
      if (existsSync(join(folder, '..', PARTS, `cancel.${folder.slice(folder.lastIndexOf('/') + 1)}`))) break;
      await delay(500);
    }
    const parsed = parseOutcome(outcome ?? '');
    if (!isWanted() || (when === 'ok' && (parsed?.origin !== 'job' || parsed.exitCode !== 0))) return false;
  }
  return true;
}
