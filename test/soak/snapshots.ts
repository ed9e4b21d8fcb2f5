/** Ten minutes of mutated archives and fifty kills of a merge: the full form of test/snapshot/engine-hostile.test.ts. */
import { spawnSync } from 'node:child_process';

const { status } = spawnSync('npx', ['ava', '--timeout=30m', 'test/snapshot/engine-hostile.test.ts'], {
  stdio: 'inherit',
  env: { ...process.env, APPPOT_TEST_FUZZ: '600', APPPOT_TEST_KILLS: '50' },
});
process.exitCode = status ?? 1;
