import type { ExecutionContext } from 'ava';

/**
 * Says whether a test can run here. Without its prerequisite it is skipped with the reason, and fails when
 * APPPOT_TEST_REQUIRE is "all", as in CI where everything has to be there.
 *
 * @returns false when the test has to return at once
 */
export function requireOrSkip(t: ExecutionContext, condition: boolean, reason: string): boolean {
  if (condition) return true;
  if (process.env['APPPOT_TEST_REQUIRE'] === 'all') t.fail(`cannot run here: ${reason}`);
  else t.pass();
  t.log(`skipped: ${reason}`);
  return false;
}
