import { Command } from '@commander-js/extra-typings';
import type { CommandContext } from '../context.ts';

const HELP = `
Examples:
  apppot resize apppot.img 4G
  apppot resize apppot.img 4096      the same: a bare number is megabytes

Exit codes: 0 done, 1 failed (the image is as it was), 2 wrong size.
An image cannot be made smaller: build a new one with --size.`;

/** `apppot resize`: grows an image. */
export function resizeCommand(context: CommandContext) {
  return new Command('resize')
    .description('make an image larger')
    .argument('<image>', 'the image')
    .argument('<size>', 'its new size, such as 4G')
    .addHelpText('after', HELP)
    .action(async (image, size) => {
      const [{ resizeImage }, { formatSize, parseSize }] = await Promise.all([
        import('../../image/resize.ts'),
        import('../../image/size.ts'),
      ]);
      const display = context.display();
      const result = await resizeImage(image, parseSize(size), display.progress(), context.signal);
      display.result(
        result,
        `${image}: ${formatSize(result.sizeMebibytes)}, was ${formatSize(result.sizeMebibytesBefore)}`,
      );
    });
}
