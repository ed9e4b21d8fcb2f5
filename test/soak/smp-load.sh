#!/bin/bash
# shellcheck disable=SC2317 # functions are called by name
# smp-load.sh SECONDS PORT SHA256: mixed load on the processors of a guest, in the job folder, every result checked. The
# server at 10.0.2.2:PORT sends bytes of that digest to whoever connects. Prints "NAME rounds" for each kind of load and "fault
# NAME: WORDS" for each wrong result; exit code 1 when there was one.
set -u
seconds=$1 port=$2 digest=$3
end=$(($(date +%s) + seconds))
work=$(mktemp -d /var/tmp/load.XXXXXX)

fault() {
	echo "fault $1: $2"
	touch "$work/fault"
}

# repeat NAME: runs the function NAME, with its round as argument, until the time is over.
repeat() {
	local round=0
	while [ "$(date +%s)" -lt "$end" ] && [ ! -e "$work/fault" ]; do
		"$1" "$round" || fault "$1" "code $? in round $round"
		round=$((round + 1))
	done
	echo "$1 $round"
}

# The same source gives the same object, four at a time.
compile() {
	local folder=$work/compile.$1 sums
	mkdir "$folder"
	for i in 1 2 3 4; do
		gcc -O2 -c -o "$folder/$i.o" checked.c &
	done
	wait
	sums=$(cd "$folder" && sha256sum ./*.o | cut -d ' ' -f 1 | sort -u)
	rm -r "$folder"
	[ -e "$work/object" ] || echo "$sums" >"$work/object"
	[ "$sums" = "$(cat "$work/object")" ] || fault compile "objects differ: $sums"
}

disk() {
	local file=$work/disk.$1 a b
	a=$(head -c 20000000 /dev/urandom | tee "$file" | sha256sum)
	sync "$file"
	echo 1 2>/dev/null >/proc/sys/vm/drop_caches
	b=$(sha256sum <"$file")
	rm "$file"
	[ "$a" = "$b" ] || fault disk "$a is $b"
}

job_folder() {
	local folder=folder.$1 i a b
	mkdir "$folder"
	for i in $(seq 100); do
		echo "$1 $i" >"$folder/file $i"
	done
	a=$(cat "$folder"/* | sort | sha256sum)
	b=$(for i in $(seq 100); do echo "$1 $i"; done | sort | sha256sum)
	rm -r "$folder"
	[ "$a" = "$b" ] || fault job_folder "$a is $b"
}

network() {
	local got
	got=$(cat <"/dev/tcp/10.0.2.2/$port" | sha256sum)
	[ "${got%% *}" = "$digest" ] || fault network "$got"
}

pipes() {
	local got
	got=$(seq 200000 | sort -rn | sort -n | tee >(cat >/dev/null) | sha256sum)
	[ -e "$work/pipes" ] || echo "$got" >"$work/pipes"
	[ "$got" = "$(cat "$work/pipes")" ] || fault pipes "$got"
}

mpi() {
	mpirun --oversubscribe -np 2 "$work/ring" >"$work/mpi.log" 2>&1 || {
		fault mpi "$(tail -n 3 "$work/mpi.log")"
	}
}

# A job has the ids of the person outside, who is root in CI.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
loads='compile disk job_folder network pipes'
if command -v mpicc >/dev/null; then
	mpicc -O2 -o "$work/ring" ring.c || fault mpi 'does not compile'
	loads="$loads mpi"
fi
for load in $loads; do
	repeat "$load" &
done
wait
code=0
[ ! -e "$work/fault" ] || code=1
rm -rf "$work"
exit "$code"
