#!/bin/sh
# The full checks on the kernels of several Debian releases (npm run hosts -- [RELEASE]...): minutes each without a usable
# /dev/kvm. Takes the runtime that is built, and the image of "npm test" (or $APPPOT_TEST_IMAGE).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/apppot/test
image=${APPPOT_TEST_IMAGE:-$cache/test.img}
runtime=${APPPOT_TEST_RUNTIME:-$(node "$here/../../dist/src/cli/main.js" runtime path)}
[ $# -gt 0 ] || set -- bullseye bookworm trixie
program=$(mktemp "${TMPDIR:-/tmp}/apppot-memory.XXXXXX")
trap 'rm -f "$program"' EXIT
gcc -static -O2 -o "$program" "$here/../fixtures/c/memory.c"
failed=0
for release; do
	sh "$here/run.sh" "$release" "$runtime" "$image" "$program" "$cache" || failed=1
done
exit "$failed"
