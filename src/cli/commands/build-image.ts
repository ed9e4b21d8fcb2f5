import { Command, Option } from '@commander-js/extra-typings';
import type { CommandContext } from '../context.ts';

const HELP = `
Examples:
  apppot build-image
      a minimal Debian stable into apppot.img
  apppot build-image --packages quickstart -o demo.img
      with a C compiler
  apppot build-image --include python3-numpy,octave --size 4G -o tools.img
  apppot build-image --script install-my-code.sh -o mycode.img
      runs the script as root in the new system
  apppot build-image -c image/rootstrap.conf --driver uml

Exit codes: 0 built, 1 failed (nothing is left behind), 2 wrong options, 130 interrupted.
The manual is docs/build-image.md.`;

/** `apppot build-image`: a Debian system in a raw disk image. */
export function buildImageCommand(context: CommandContext) {
  return new Command('build-image')
    .description('build a Debian system into a raw disk image, without privileges')
    .option('-c, --config <file>', 'configuration in place of ./rootstrap.conf')
    .option('-o, --output <file>', 'the image to make', 'apppot.img')
    .addOption(
      new Option('--driver <name>', 'how to be root (default: the first that works)').choices([
        'unshare',
        'uml',
        'rootstrap',
      ] as const),
    )
    .option('--release <name>', 'Debian release: stable, trixie, bookworm, …')
    .option('--packages <set>', 'package set: minimal, quickstart, development')
    .option('--include <list>', 'more packages, separated by commas', collect, [])
    .option('--script <file>', 'recipe to run as root in the new system; may be repeated', collect, [])
    .option('--size <size>', 'size of the image, such as 4G')
    .option('--mirror <url>', 'Debian mirror (default: the host’s)')
    .option('-f, --force', 'replace an existing image once the new one is complete', false)
    .option('--no-cache', 'build everything anew')
    .option('--dry-run', 'say what would be built', false)
    .option('--keep', 'keep the scratch folder, to look at a failed build', false)
    .addHelpText('after', HELP)
    .action(async (options) => {
      const [{ buildImage }, { findBuildRuntime }, { formatSize, toMebibytes }] = await Promise.all([
        import('../../image/build.ts'),
        import('../../image/drivers/runtime.ts'),
        import('../../image/size.ts'),
      ]);
      const display = context.display();
      const workFolder = process.cwd();
      const result = await buildImage(
        {
          workFolder,
          config: options.config,
          release: options.release,
          include: options.include.join(','),
          packages: options.packages,
          scripts: options.script,
          size: options.size,
          mirror: options.mirror,
        },
        {
          output: options.output,
          workFolder,
          force: options.force,
          driver: options.driver,
          noCache: !options.cache,
          keep: options.keep,
          dryRun: options.dryRun,
          runtime: findBuildRuntime,
          progress: display.progress(),
          signal: context.signal,
        },
      );
      const what = `Debian ${result.codename}, ${formatSize(result.sizeMebibytes)}`;
      const text = options.dryRun
        ? [
            `would build ${result.image}: ${what}, driver ${result.driver}`,
            `configuration: ${result.configFiles.join(', ') || 'built-in defaults'}`,
            `modules: ${result.modules.join(' ')}`,
            ...result.sources,
            `packages: ${result.packages.join(' ')}`,
          ].join('\n')
        : `${result.image}: ${what}, ${formatSize(toMebibytes(result.usedBytes))} used, ` +
          `${result.cached ? 'from the cache' : `built with ${result.driver}`} in ${result.seconds.toFixed(1)} s\n` +
          `base ${result.baseId}`;
      display.result({ dryRun: options.dryRun, ...result }, text);
    });
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}
