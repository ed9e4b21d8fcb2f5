/** The public library: what `import … from 'apppot'` gives. */
export { ApppotError, type ErrorCode, type ErrorDetails } from './errors.ts';
export { silent, type Progress, type Step } from './progress.ts';
