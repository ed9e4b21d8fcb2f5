/**
 * Quotes one word for a POSIX shell, for showing commands to people and for scripts that a remote shell reads.
 * Words made of harmless characters stay as they are.
 *
 * @param word any string without NUL
 * @see POSIX.1-2017, Shell Command Language 2.2.2 (single quotes)
 */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
