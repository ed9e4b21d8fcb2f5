#!/bin/sh
# Lints every POSIX shell file of the project. Files are found by their first line, so a new one cannot be forgotten.
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files -co --exclude-standard | while IFS= read -r file; do
	case $file in *.md | *.ts | *.js | *.mjs | *.json | *.patch) continue ;; esac
	[ -f "$file" ] || continue
	IFS= read -r first <"$file" || continue
	case $first in '#!/bin/sh'*) printf '%s\n' "$file" ;; esac
done)
# shellcheck disable=SC2086 # our own file names hold no blanks
shellcheck --shell=sh --severity=style $files
# Tools of the developers' own, in bash.
shellcheck --external-sources --source-path=SCRIPTDIR --severity=style test/grid-lab/lab.sh test/soak/smp-load.sh .ci/run
