import { Command } from '@commander-js/extra-typings';
import type { Summary } from '../../snapshot/engine.ts';
import { humanBytes } from '../table.ts';
import type { CommandContext, DefineCommand } from '../context.ts';

const HELP = `
SOURCE is an image, COW:IMAGE, or the name of a session ("apppot sessions list"), none of
which may be in use. A guest is started to read it; nothing needs root.

Examples:
  $ apppot snap changes my-session
  $ apppot snap changes apppot.img -o fitting.changes.tar.zst
  $ apppot snap inspect fitting.changes.tar.zst
  $ apppot run --changes fitting.changes.tar.zst ./fit
  $ apppot snap merge other.img fitting.changes.tar.zst

Exit codes: 0 done, 1 failed (everything is as it was), 2 wrong options.`;

/** `apppot snap base|changes|merge|inspect|verify|layer`. */
export const snapCommand: DefineCommand = (context) => {
  const command = new Command('snap')
    .description('snapshots: send only what changed in an image')
    .addHelpText('after', HELP);
  command.addCommand(baseCommand(context));
  command.addCommand(changesCommand(context));
  command.addCommand(mergeCommand(context));
  command.addCommand(inspectCommand(context));
  command.addCommand(verifyCommand(context));
  command.addCommand(layerCommand(context));
  return command;
};

function baseCommand(context: CommandContext) {
  return new Command('base')
    .description('record the state of an image: later changes are relative to it')
    .argument('<source>', 'an image, COW:IMAGE or a session')
    .option('--dry-run', 'only say which base it would have')
    .action(async (source, { dryRun }) => {
      const { recordBase } = await import('../../snapshot/apply.ts');
      const display = context.display();
      const progress = display.progress();
      const result = await recordBase(source, { dryRun: dryRun === true, progress, signal: context.signal });
      display.result(result, `${source}: base ${result.base ?? ''}`);
    });
}

function changesCommand(context: CommandContext) {
  return new Command('changes')
    .description('write what differs from the base into a file')
    .argument('<source>', 'an image, COW:IMAGE or a session')
    .option(
      '-o, --output <file>',
      'ends in .tar.gz, .tar.zst or .tar (apppot.YYYY-MM-DD.changes.tar.gz, in the current folder)',
    )
    .option('--oci <dir>', 'write an OCI image there instead: base and changes as its layers')
    .option('--force', 'replace the output if it is there')
    .option('--dry-run', 'only count')
    .addHelpText(
      'after',
      `
Examples:
  $ apppot snap changes my-session -o fitting.changes.tar.zst
  $ apppot snap changes my-session --oci fitting && skopeo copy oci:fitting:latest docker-archive:fitting.tar`,
    )
    .action(async (source, { output, oci, force, dryRun }) => {
      const display = context.display();
      const common = { force: force === true, progress: display.progress(), signal: context.signal };
      if (oci !== undefined && dryRun !== true) {
        const { writeOci } = await import('../../snapshot/oci.ts');
        const result = await writeOci(source, oci, common);
        display.result(result, `${oci}: ${counts(result)}, ${humanBytes(result.fileBytes)} in 2 layers`);
        return;
      }
      const { writeChanges } = await import('../../snapshot/changes.ts');
      const result = await writeChanges(source, { ...common, output, dryRun: dryRun === true });
      const size = dryRun === true ? 'nothing written' : humanBytes(result.fileBytes);
      display.result(result, `${result.file}: ${counts(result)}, ${size}`);
    });
}

function mergeCommand(context: CommandContext) {
  return new Command('merge')
    .description('put changes files into an image, in order')
    .argument('<source>', 'an image, COW:IMAGE or a session')
    .argument('<file...>', 'changes files')
    .option('--force', 'also when they belong to another base')
    .option('--dry-run', 'only say what would change')
    .action(async (source, files, { force, dryRun }) => {
      const { mergeChanges } = await import('../../snapshot/apply.ts');
      const display = context.display();
      const options = { dryRun: dryRun === true, progress: display.progress(), signal: context.signal };
      const results = await mergeChanges(source, files, force === true, options);
      display.result(results, results.map((one) => `${String(one['file'])}: ${counts(one)}`).join('\n'));
    });
}

function inspectCommand(context: CommandContext) {
  return new Command('inspect')
    .description('list a changes file like a diff: A added, M changed, D deleted')
    .argument('<file>', 'a changes file')
    .option('--stat', 'only count')
    .action(async (file, { stat }) => {
      const { inspectFile } = await import('../../snapshot/verify.ts');
      const display = context.display();
      const words = [...(display.json ? ['--json'] : []), ...(stat === true ? ['--stat'] : [])];
      await inspectFile(file, words, display.stream(), context.signal);
    });
}

function verifyCommand(context: CommandContext) {
  return new Command('verify')
    .description('is a changes file or layer whole, and which base does it fit?')
    .argument('<file>', 'a changes file or a layer')
    .action(async (file) => {
      const { verifyFile } = await import('../../snapshot/verify.ts');
      const display = context.display();
      const result = await display
        .progress()
        .step(`Reading ${file}`, async () => verifyFile(file, context.signal));
      display.result({ file, ...result }, `${file}: whole, for the base ${result.base ?? 'unknown'}`);
    });
}

function layerCommand(context: CommandContext) {
  return new Command('layer')
    .description('make the layer of a changes file, which a launch mounts instead of unpacking')
    .argument('<file>', 'a changes file')
    .option('-o, --output <file>', 'a copy of it, to send along (by default it stays in the cache)')
    .option('--force', 'replace the output if it is there')
    .action(async (file, { output, force }) => {
      const { saveLayer } = await import('../../snapshot/layer.ts');
      const display = context.display();
      const options = { progress: display.progress(), signal: context.signal };
      const layer = await saveLayer(file, output, force === true, options);
      display.result({ file, layer }, layer);
    });
}

function counts({ added = 0, changed = 0, deleted = 0, bytes = 0 }: Summary): string {
  return `${added} added, ${changed} changed, ${deleted} deleted, ${humanBytes(bytes)}`;
}
