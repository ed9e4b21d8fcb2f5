import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { cacheFolder, packageFile } from '../../src/config/paths.ts';

let image: Promise<string> | undefined;

/** A minimal image, small enough to travel; `npm test` makes it before the tests. */
export function smallImage(): Promise<string> {
  image ??= (async () => {
    const file = cacheFolder('test', 'small.img');
    if (!existsSync(file)) {
      const words = ['build-image', '--packages', 'minimal', '--size', '400M', '--quiet', '-o', file];
      const built = promisify(execFile)(process.execPath, [packageFile('dist/src/cli/main.js'), ...words]);
      // Another test file may have made it meanwhile.
      await built.catch((error: unknown) => {
        if (!existsSync(file)) throw error;
      });
    }
    return file;
  })();
  return image;
}
