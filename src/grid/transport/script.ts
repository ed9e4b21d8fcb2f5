/**
 * How a script of sh travels through ssh: the account's login shell (csh, fish, anything) reads it first, its start-up
 * files may print, and the connection may end before the program does.
 */
import { Transform } from 'node:stream';

/** Ends what start-up files of the login shell print, and frames the exit code on standard error. */
const MARK = '\u001Eapppot\u001E';
const MARK_ESCAPED = String.raw`\036apppot\036`;

/**
 * The command line for a script: only letters, digits and `\0ooo` inside single quotes, which all shells leave alone.
 * Standard output carries a mark before the script's own, standard error one with the exit code after it.
 *
 * @param path folders that come first on PATH
 */
export function commandLine(script: string, path: readonly string[]): string {
  const extended = path.length === 0 ? '' : `PATH=${quote(path.join(':'))}:$PATH; export PATH; `;
  const whole = `LC_ALL=C; export LC_ALL; ${extended}printf '${MARK_ESCAPED}'
(
${script}
)
printf '${MARK_ESCAPED}%d\\n' $? >&2`;
  return `exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '${encode(whole)}'`;
}

/** One word in single quotes, as sh reads it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** A path as a program's argument: never taken for an option, no slash at the end. */
export function quotePath(path: string): string {
  const bare = path.length > 1 ? path.replace(/\/+$/, '') : path;
  return quote(bare.startsWith('/') ? bare : `./${bare}`);
}

function encode(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const char = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9 _./=;:,+-]/.test(char) ? char : `\\0${byte.toString(8).padStart(3, '0')}`;
  }
  return encoded;
}

/** Passes on what comes after the mark. */
export function afterMark(): Transform {
  let before: Buffer | undefined = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (before === undefined) {
        done(null, chunk);
        return;
      }
      before = Buffer.concat([before, chunk]);
      const at = before.indexOf(MARK);
      if (at < 0) {
        // What start-up files print without an end must not fill the memory.
        before = before.subarray(-65_536);
        done();
        return;
      }
      const rest = before.subarray(at + MARK.length);
      before = undefined;
      done(null, rest);
    },
  });
}

/** Exit code and standard error of the script; no code when its end was not seen. */
export function readEnd(stderr: string): { readonly code: number | undefined; readonly stderr: string } {
  const at = stderr.lastIndexOf(MARK);
  const end = at < 0 ? null : /^\d+/.exec(stderr.slice(at + MARK.length));
  if (end === null) return { code: undefined, stderr };
  return { code: Number(end[0]), stderr: stderr.slice(0, at) };
}
