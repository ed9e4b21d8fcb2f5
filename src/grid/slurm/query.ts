/** Questions about jobs, each for all of them at once. */
import type { Transport } from '../transport/transport.ts';
import { parseOutcome } from '../../job/outcome.ts';
import type { FolderWord, SlurmWord } from './states.ts';

/** A job as squeue lists it. */
export interface ListedJob extends SlurmWord {
  readonly id: string;
  readonly comment: string;
}

const SQUEUE =
  'date +%s; SLURM_TIME_FORMAT=%s exec squeue -u "$(id -u)" -h -r --states=all -o "%i|%T|%r|%N|%V|%S|%e|%k"';

/**
 * Every job of this account that Slurm still has in memory, ended ones too.
 *
 * @returns them, with the time of the target's clock; why, when Slurm does not answer
 * @see squeue(1)
 */
export async function askQueue(
  transport: Transport,
  signal: AbortSignal,
): Promise<{ readonly jobs: readonly ListedJob[]; readonly now: number } | { readonly trouble: string }> {
  const { code, stdout, stderr } = await transport.run(['sh', '-c', SQUEUE], { signal });
  if (code !== 0) return { trouble: `squeue: ${stderr.trim().split('\n').at(-1) ?? `code ${code}`}` };
  const [clock = '', ...lines] = stdout.split('\n');
  return { jobs: lines.flatMap(parseLine), now: Number(clock) || Date.now() / 1000 };
}

function parseLine(line: string): ListedJob[] {
  const [id, state, reason = '', node = '', queued, started, ended, ...comment] = line.split('|');
  if (id === undefined || state === undefined || !/^\d+(?:_\d+)?$/.test(id)) return [];
  return [{ id, state, reason, node, ...times({ queued, started, ended }), comment: comment.join('|') }];
}

function times(texts: Readonly<Record<string, string | undefined>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(texts).flatMap(([name, text]) => (/^\d+$/.test(text ?? '') ? [[name, Number(text)]] : [])),
  );
}

/**
 * What the accounting says about jobs that squeue has forgotten. Many sites have none, and at many it is often ill:
 * then the answer is empty.
 *
 * @see sacct(1)
 */
export async function askAccounting(
  transport: Transport,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, SlurmWord>> {
  const found = new Map<string, SlurmWord>();
  const bases = [...new Set(ids.map((id) => id.replace(/_.*/, '')))];
  const words = ['-X', '-P', '-n', '-o', 'JobID,State,NodeList,Submit,Start,End', '-j', bases.join(',')];
  const result = await transport
    .run(['env', 'SLURM_TIME_FORMAT=%s', 'sacct', ...words], { signal, timeout: 20_000 })
    .catch((error: unknown) => {
      signal.throwIfAborted();
      return { code: 1, stdout: '', stderr: String(error) };
    });
  if (result.code !== 0) return found;
  for (const line of result.stdout.split('\n')) {
    const [id = '', state = '', node = '', queued, started, ended] = line.split('|');
    // "CANCELLED by 1000"
    const word = /^[A-Z_]+/.exec(state)?.[0];
    if (word !== undefined && ids.includes(id))
      found.set(id, { state: word, node, ...times({ queued, started, ended }) });
  }
  return found;
}

/**
 * For each line "NUMBER FOLDER" of standard input: what lies there; not before one of them has an outcome, or so many
 * ($1) naps of so many seconds ($2) are over.
 */
const LOOK = `
naps=$1
list=$(cat)
none_ended() {
	while IFS= read -r line; do
		[ ! -f "\${line#* }/outcome.json" ] || return 1
	done <<-list
	$list
	list
}
while [ "$naps" -gt 0 ] && none_ended; do
	# POSIX' sleep knows whole seconds only.
	sleep "$2" 2>/dev/null || { sleep 1; naps=1; }
	naps=$((naps - 1))
done
date +%s
while IFS= read -r line; do
	folder=\${line#* }
	parts=\${folder%/*}/apppot-parts
	mark=-
	[ ! -d "$parts/started.\${folder##*/}" ] || mark=started
	[ -d "$parts" ] || mark=gone
	printf '\\036%s %s\\n' "\${line%% *}" "$mark"
	[ ! -f "$folder/outcome.json" ] || head -c 65536 "$folder/outcome.json"
done <<list
$list
list`;

/** Seconds between two looks, at least. */
const NAP = 0.05;
/** An end is seen late by at most this part of the patience. */
const NAPS = 10;

/**
 * Looks into job folders.
 *
 * @param patience milliseconds to wait there until one of them has an outcome
 * @returns the target's clock, and one word for each folder
 */
export async function askFolders(
  transport: Transport,
  folders: readonly string[],
  signal: AbortSignal,
  patience = 0,
): Promise<{ readonly now: number; readonly words: readonly (FolderWord | undefined)[] }> {
  const words: (FolderWord | undefined)[] = folders.map(() => undefined);
  if (folders.length === 0) return { now: Date.now() / 1000, words };
  const stdin = folders.map((folder, at) => `${at} ${folder}\n`).join('');
  const nap = Math.max(NAP, patience / 1000 / NAPS);
  const naps = Math.round(patience / 1000 / nap);
  const look = ['sh', '-c', LOOK, 'sh', String(naps), nap.toFixed(2)] as const;
  const { stdout } = await transport.run(look, { signal, stdin, timeout: 60_000 + patience });
  const [clock = '', ...parts] = stdout.split('\u001E');
  for (const part of parts) {
    const end = part.indexOf('\n');
    const [, at = '', mark = ''] = /^(\d+) (\S+)$/.exec(part.slice(0, end)) ?? [];
    if (at === '' || Number(at) >= folders.length) continue;
    const outcome = parseOutcome(part.slice(end + 1));
    words[Number(at)] = {
      started: mark === 'started',
      gone: mark === 'gone',
      ...(outcome === undefined ? {} : { outcome }),
    };
  }
  return { now: Number(clock.trim()) || Date.now() / 1000, words };
}
