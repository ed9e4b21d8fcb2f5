/** Jobs as tables and as JSON. */
import type { JournalJob } from '../../job/journal.ts';
import { jobState, type TaskState } from '../../job/record.ts';
import { taskName, taskNames, tasksOf, type Chosen } from '../../job/select.ts';
import type { JobStatus } from '../../job/types.ts';
import { formatTime } from '../../job/units.ts';
import type { Unknowns } from '../../grid/work/refresh.ts';
import { table } from '../table.ts';

/** The stable form of a job; `tasks` are those that were chosen. */
export function jobJson(job: JournalJob, positions?: readonly number[], unknowns?: Unknowns) {
  const tasks = positions === undefined ? job.tasks : tasksOf({ job, positions });
  return {
    id: job.record.id,
    shortId: job.shortId,
    name: job.record.description.name,
    target: job.record.target,
    created: job.record.created,
    state: jobState(job.tasks),
    folder: job.record.folder,
    tasks: tasks.map((task) => ({
      id: taskName(job, task.position),
      ...(job.record.tasks[task.position]?.index === undefined
        ? {}
        : { index: job.record.tasks[task.position]?.index }),
      attempt: task.attempt,
      ...shown(task, unknowns?.get(job)?.get(task.position)),
      ...(task.remote === undefined ? {} : { remote: task.remote.native }),
      ...(task.fetched === undefined ? {} : { fetched: task.fetched }),
    })),
  };
}

/** What is known now; where a target could not tell, what was known last goes along. */
function shown(task: TaskState, unknown: JobStatus | undefined): JobStatus & { readonly last?: string } {
  return unknown === undefined ? task.status : { ...unknown, last: task.status.state };
}

/** One line for each job that is no array, and for each state of an array's tasks. */
export function jobTable(chosen: readonly Chosen[], unknowns?: Unknowns, each = false): string {
  const rows = chosen.flatMap((one) => {
    const { job } = one;
    const head = (id: string): string[] => [id, job.record.description.name.slice(0, 24), job.record.target];
    const tasks = tasksOf(one);
    if (each || job.record.tasks.length === 1)
      return tasks.map((task) => {
        const status = shown(task, unknowns?.get(job)?.get(task.position));
        const state = status.last === undefined ? status.state : `unknown (${status.last})`;
        return [...head(taskName(job, task.position)), state, duration(status), why(status)];
      });
    const groups = new Map<string, TaskState[]>();
    for (const task of tasks) groups.set(task.status.state, [...(groups.get(task.status.state) ?? []), task]);
    return [...groups].map(([state, group]) => [
      ...head(
        shortened(
          taskNames(
            job,
            group.map(({ position }) => position),
          ),
        ),
      ),
      state,
      '',
      whyAll(group),
    ]);
  });
  return rows.length === 0 ? '' : table(['ID', 'NAME', 'TARGET', 'STATE', 'TIME', ''], rows);
}

/** The reasons of several tasks, as far as a line has room for them. */
function whyAll(group: readonly TaskState[]): string {
  const reasons = [...new Set(group.map(({ status }) => why(status)))].filter((text) => text !== '');
  const [first = ''] = reasons;
  return reasons.length <= 2 ? reasons.join('; ') : `${first}, and others (--tasks shows each)`;
}

/** Indices of a large array with gaps would fill the line. */
function shortened(names: string): string {
  return names.length <= 40 ? names : `${names.slice(0, 38)}…]`;
}

function duration({ startedAt, endedAt, ahead = 0 }: JobStatus): string {
  if (startedAt === undefined) return '';
  const end = endedAt === undefined ? Date.now() + ahead * 1000 : Date.parse(endedAt);
  return formatTime(Math.max(0, end - Date.parse(startedAt)) / 1000);
}

/** Why a job is as it is, in few words. */
export function why(status: JobStatus): string {
  const { exitCode, reason, message, signal } = status;
  const code =
    status.state === 'failed' && exitCode !== undefined && reason === undefined
      ? signal === undefined
        ? `exit code ${exitCode}`
        : `signal ${signal}`
      : undefined;
  // "cancelled (cancelled)" says nothing.
  const word = code ?? (reason === status.state ? undefined : reason);
  return [word, message].filter((text) => text !== undefined).join(': ');
}

/** Everything about the tasks of a job, for `jobs show`. */
export function jobDetails({ job, positions }: Chosen, unknowns: Unknowns): string {
  const { record } = job;
  const { description } = record;
  const head = [
    ['job', record.id],
    ['name', description.name],
    ['target', record.target],
  ];
  const asked = [
    ['command', description.program.join(' ')],
    ['image', description.image === 'site:' ? "the site's own" : description.image],
    ['processors', String(description.cpus)],
    ['memory', `${description.memory} MiB`],
    ['time limit', description.time === undefined ? 'none' : formatTime(description.time)],
    ['submitted', `${record.created} from ${record.folder}`],
  ];
  head.push(...(record.adopted === true ? [['adopted', `${record.created} in ${record.folder}`]] : asked));
  const tasks = tasksOf({ job, positions }).map((task) => {
    const status = shown(task, unknowns.get(job)?.get(task.position));
    const lines = [
      ['task', `${taskName(job, task.position)}, attempt ${task.attempt}`],
      ['state', `${status.state} ${why(status)}`.trim()],
      ['at the target', task.remote?.native],
      ['target says', status.native],
      ['node', status.node],
      ['started', status.startedAt],
      ['ended', status.endedAt],
      ['results', task.fetched],
    ];
    return lines.flatMap(([name = '', value]) =>
      value === undefined ? [] : [`  ${name.padEnd(14)}${value}`],
    );
  });
  return [...head.map(([name = '', value = '']) => `${name.padEnd(12)}${value}`), ...tasks.flat()].join('\n');
}

/** Efficiency as seff shows it: what was used of what was asked for. */
export function statsTable(chosen: readonly Chosen[]) {
  return chosen.flatMap((one) =>
    tasksOf(one).flatMap(({ position, status }) => {
      const { usage } = status;
      if (usage === undefined) return [];
      const { cpus, memory } = one.job.record.description;
      const percent = (part: number, whole: number): number =>
        whole > 0 ? Math.round((1000 * part) / whole) / 10 : 0;
      return [
        {
          id: taskName(one.job, position),
          name: one.job.record.description.name,
          state: status.state,
          wallSeconds: usage.wall,
          cpuSeconds: usage.user + usage.system,
          cpus,
          cpuEfficiency: percent(usage.user + usage.system, usage.wall * cpus),
          memoryMiB: Math.round(usage.maxRss / 1024),
          memoryAskedMiB: memory,
          memoryEfficiency: percent(usage.maxRss / 1024, memory),
        },
      ];
    }),
  );
}
