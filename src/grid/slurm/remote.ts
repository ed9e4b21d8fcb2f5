/** Scripts that run at the cluster, in the folder of a submission. POSIX sh. */
import { PARTS } from '../../job/names.ts';

/** Code of {@link SEND} when another one has begun, or the submission was settled without it. */
export const BEGUN = 75;

/**
 * Sends a job once: a second call with the same name answers what the first one was told. It may go on when its client
 * is gone, so whoever settles the submission takes its place first.
 */
export const SEND = `
cd "$1" || exit
mark=${PARTS}/accepted.$2
shift 2
if mkdir "$mark.begun" 2>/dev/null; then
	if sbatch "$@" </dev/null >"$mark.part"; then
		mv "$mark.part" "$mark" || exit
	else
		code=$?
		rmdir "$mark.begun"
		exit "$code"
	fi
elif [ ! -s "$mark" ]; then
	exit ${BEGUN}
fi
cat "$mark"`;

/** What was sent, by shift, after which nothing is sent any more; "doubt" where a sending may still be under way. */
export const FIND = `
cd "$1/${PARTS}" 2>/dev/null || exit 0
shift
for shift do
	mark=accepted.$shift tries=0
	if mkdir "$mark.begun" 2>/dev/null; then
		: >"$mark.begun/closed"
	fi
	while [ ! -s "$mark" ] && [ ! -e "$mark.begun/closed" ] && [ "$tries" -lt 10 ]; do
		sleep 1
		tries=$((tries + 1))
	done
	if [ -s "$mark" ]; then
		echo "$shift $(cat "$mark")"
	elif [ ! -e "$mark.begun/closed" ] && [ -n "$(find "$mark.begun" -prune -mmin -10)" ]; then
		echo doubt
	fi
done`;

/** The file of that name, or nothing. */
export const INDICES = `cat "$1/${PARTS}/indices" 2>/dev/null`;

/** Removes the folders of standard input; a sandbox, of the arguments, goes with its last one. */
export const CLEAN = `
while IFS= read -r folder; do
	rm -rf -- "$folder"
	parts=\${folder%/*}/${PARTS}
	[ ! -d "$parts" ] || echo "\${folder##*/}" >>"$parts/cleaned"
done
for sandbox do
	[ -e "$sandbox/${PARTS}/cleaned" ] || continue
	[ "$(sort -u "$sandbox/${PARTS}/cleaned" | wc -l)" -lt "$(wc -l <"$sandbox/${PARTS}/indices")" ] || rm -rf -- "$sandbox"
done`;
