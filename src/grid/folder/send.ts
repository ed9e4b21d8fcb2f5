/**
 * Sandboxes on a file system that the target's machines share (a cluster's, or this machine's own):
 *
 *   ROOT/store/DIGEST          files that many jobs use: runtime, image, layers; each is sent once
 *   ROOT/ID/apppot-parts/      what all tasks of a submission share
 *   ROOT/ID/INDEX/             job folder of one task
 */
import { stat } from 'node:fs/promises';
import { ApppotError } from '../../errors.ts';
import { digestOf } from '../../job/digest.ts';
import { PARTS } from '../../job/names.ts';
import type { SandboxFile, Submission } from '../../job/types.ts';
import type { Progress } from '../../progress.ts';
import type { Transport } from '../transport/transport.ts';
import { damaged, hasDigest } from './verify.ts';

/** Where sandboxes go, and how. */
export interface SandboxPlace {
  readonly transport: Transport;
  /** Absolute folder at the target. */
  readonly root: string;
  /** The target's machines see the files of this one: images are used where they lie. */
  readonly inPlace: boolean;
}

/** Index of a task, as names of folders have it. */
export function taskIndex(submission: Submission, position: number): number {
  return submission.tasks[position]?.index ?? 0;
}

/** The job folder of a task. */
export function taskFolder(place: SandboxPlace, submission: Submission, position: number): string {
  return `${place.root}/${submission.id}/${taskIndex(submission, position)}`;
}

/**
 * Sends a submission's files; nothing is started. Repeated, it sends what is missing.
 *
 * @param further files for apppot-parts that the backend adds
 * @returns the sandbox' folder
 * @throws ApppotError `target` for files that only some targets can fetch; what the transport throws
 */
export async function sendSandbox(
  place: SandboxPlace,
  submission: Submission,
  further: Readonly<Record<string, string>>,
  options: { readonly progress: Progress; readonly signal: AbortSignal },
): Promise<string> {
  const { transport, root } = place;
  const folder = `${root}/${submission.id}`;
  checkRoot(root);
  await options.progress.step(`Sending ${submission.description.name} to ${transport.name}`, async (step) => {
    const sender = new Sender(place, options.signal, (text) => {
      step.update(text);
    });
    const single = submission.tasks.length === 1;
    const inputs = single ? `${folder}/${taskIndex(submission, 0)}` : `${folder}/${PARTS}/inputs`;
    if (single) await sender.folder(inputs);
    for (const file of submission.files) {
      const own = file.name.startsWith(`${PARTS}/`);
      await sender.send(file, own ? `${folder}/${file.name}` : `${inputs}/${file.name}`, own);
    }
    for (const [position, files] of submission.taskFiles.entries())
      for (const file of files) {
        if (file.name === `${PARTS}/task`) continue;
        const target = single ? inputs : `${folder}/${PARTS}/inputs.${taskIndex(submission, position)}`;
        await sender.send(file, `${target}/${file.name}`, false);
      }
    const texts = { ...further, tasks: allTasks(submission) };
    for (const [name, text] of Object.entries(texts))
      await sender.send({ name, content: Buffer.from(text) }, `${folder}/${PARTS}/${name}`, true);
    await sender.link();
  });
  return folder;
}

/** The words of all tasks in one file, which apppot-job chooses from: a thousand files would take longer. */
function allTasks(submission: Submission): string {
  const cases = submission.taskFiles.map((files, position) => {
    const task = files.find(({ name }) => name === `${PARTS}/task`);
    const words = task !== undefined && 'content' in task ? Buffer.from(task.content).toString() : '';
    return `${taskIndex(submission, position)})\n${words};;\n`;
  });
  return `case $task in\n${cases.join('')}esac\n`;
}

function checkRoot(root: string): void {
  if (root.startsWith('/') && !/\p{Cc}/u.test(root)) return;
  throw new ApppotError(
    'target',
    `The folder for jobs, ${JSON.stringify(root)}, is not absolute or not one line.`,
  );
}

/** Sends files one after another; folders are made once. */
class Sender {
  readonly #place: SandboxPlace;
  readonly #signal: AbortSignal;
  readonly #show: (text: string) => void;
  readonly #folders = new Set<string>();
  readonly #links: string[] = [];

  constructor(place: SandboxPlace, signal: AbortSignal, show: (text: string) => void) {
    this.#place = place;
    this.#signal = signal;
    this.#show = show;
  }

  async folder(path: string): Promise<void> {
    if (this.#folders.has(path)) return;
    await this.#place.transport.makeFolder(path, this.#signal);
    this.#folders.add(path);
  }

  /** @param shared a file of ours, that other jobs may use too */
  async send(file: SandboxFile, path: string, shared: boolean): Promise<void> {
    this.#signal.throwIfAborted();
    await this.folder(path.slice(0, path.lastIndexOf('/')));
    const mode = file.executable === true ? 0o700 : 0o600;
    if ('content' in file)
      await this.#place.transport.put(file.content, path, { signal: this.#signal, mode });
    else if ('site' in file) this.#links.push('-s', file.site, path);
    else if ('url' in file)
      throw new ApppotError('target', `This target cannot fetch ${file.url}.`, {
        hint: 'Download it and give the file, or, for an image, put it at the site and name it as site:PATH.',
      });
    else if (shared) await this.#sendShared(file.file, path, mode);
    else await this.#put(file.file, path, mode);
  }

  async #sendShared(source: string, path: string, mode: number): Promise<void> {
    const { inPlace, root, transport } = this.#place;
    const { size } = await stat(source);
    if (inPlace && path.endsWith('/apppot.img')) {
      this.#links.push('-s', source, path);
      return;
    }
    if (size < 65_536) {
      await this.#put(source, path, mode);
      return;
    }
    const digest = await digestOf(source, this.#signal);
    const stored = `${root}/store/${digest}`;
    await this.folder(`${root}/store`);
    const there = await transport.stat(stored, this.#signal);
    if (there?.size !== size) {
      await this.#put(source, stored, 0o700, digest);
      // It serves all later jobs, and clients that send the same file at once write the same place.
      if (!(await hasDigest(transport, stored, digest, this.#signal))) {
        await transport.remove(stored, this.#signal);
        throw damaged(transport, path.slice(path.lastIndexOf('/') + 1));
      }
    }
    this.#links.push('', stored, path);
  }

  async #put(source: string, path: string, mode: number, resumeKey?: string): Promise<void> {
    const { size } = await stat(source);
    await this.#place.transport.put(source, path, {
      signal: this.#signal,
      mode,
      ...(resumeKey === undefined ? {} : { resumeKey }),
      onBytes: (sent) => {
        this.#show(`${path.slice(path.lastIndexOf('/') + 1)}: ${Math.floor((sent / (size || 1)) * 100)} %`);
      },
    });
  }

  /** Links of the sandbox, all by one command. Hard ones outlive a store that somebody empties. */
  async link(): Promise<void> {
    const { root, transport } = this.#place;
    const { code, stderr } = await transport.run(['sh', '-c', LINK, 'sh', root, ...this.#links], {
      signal: this.#signal,
    });
    if (code === NOT_OURS)
      throw new ApppotError('permission', `Others can write into the folder for jobs, ${root}.`, {
        hint: `They could exchange what runs as you: chmod go-w '${root}', or name a folder of your own in the target's settings.`,
      });
    if (code !== 0) throw new ApppotError('target', `Cannot link files of the job: ${stderr.trim()}`);
  }
}

/** Code of {@link LINK}: whoever can write into the folder can exchange the programs that jobs start. */
const NOT_OURS = 77;
const LINK = `root=$1
shift
[ -n "$(find "$root/." -prune -user "$(id -u)" ! -perm -020 ! -perm -002)" ] || exit ${NOT_OURS}
while [ $# -gt 0 ]; do rm -f "$3" && ln $1 "$2" "$3" || exit 1; shift 3; done`;
