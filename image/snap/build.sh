#!/bin/sh
# Builds the static program `apppot-snap` from the C files beside this script; it needs a C compiler and the C
# library's static half (libc6-dev), nothing else. CFLAGS replaces the optimisation (tests: sanitizers).
#
#   build.sh --output FILE
#
# Exit codes: 0 done, 1 the build failed, 2 wrong arguments, 3 a tool is missing.
set -eu
export LC_ALL=C

if [ $# -ne 2 ] || [ "$1" != --output ]; then
	echo 'usage: build.sh --output FILE' >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-gcc}
command -v "$cc" >/dev/null || {
	printf 'build.sh: missing tool: %s\n' "$cc" >&2
	exit 3
}
# shellcheck disable=SC2086 # several words
"$cc" ${CFLAGS--static -O2 -Wl,-s} -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -o "$2.new" "$here"/*.c
mv "$2.new" "$2"
