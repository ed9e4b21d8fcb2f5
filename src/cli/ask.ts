import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { ApppotError } from '../errors.ts';

/**
 * Asks the person at the terminal; the question goes to standard error, as results may be read by a program.
 *
 * @param echo whether the answer may be seen
 * @throws ApppotError `interrupted` at Ctrl-C or the end of input
 */
export async function askPerson(
  question: string,
  { echo }: { readonly echo: boolean },
  terminal: { readonly input: NodeJS.ReadableStream; readonly output: NodeJS.WritableStream },
): Promise<string> {
  const { input, output } = terminal;
  const screen = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (echo) output.write(chunk);
      done();
    },
  });
  const reader = createInterface({ input, output: screen, terminal: true });
  output.write(question);
  try {
    return await new Promise<string>((resolve, reject) => {
      const stop = (): void => {
        reject(new ApppotError('interrupted', 'Interrupted at a question.'));
      };
      reader.once('SIGINT', stop);
      reader.once('close', stop);
      reader.question('', resolve);
    });
  } finally {
    reader.removeAllListeners('close');
    reader.close();
    output.write('\n');
  }
}
