import { supervise } from './supervisor.ts';

await supervise(process.argv[2] ?? '');
