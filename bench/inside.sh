#!/bin/sh
# The workloads of the benchmark, run in the job folder: natively in a chroot of the image's tree, and in guests. Prints
# "ROW SECONDS" for each row that is asked for, in a fixed order. Scratch files go to $BENCH_DISK, a folder of the image.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
disk=${BENCH_DISK:-/var/tmp}/bench.$$
mkdir "$disk"
trap 'rm -rf "$disk"' EXIT

# measure ROW COMMAND...: the wall time of one call.
measure() {
	row=$1
	shift
	from=$(date +%s%N)
	"$@"
	to=$(date +%s%N)
	echo "$row $(((to - from) / 1000000)) ms"
}

system_calls() {
	dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null
}

fork_exec() {
	i=0
	while [ "$i" -lt 200 ]; do
		/bin/true
		i=$((i + 1))
	done
}

compile() {
	for i in 1 2 3 4 5; do
		gcc -O2 -o "$disk/small.$i" small.c
	done
}

python() {
	i=0
	while [ "$i" -lt 20 ]; do
		python3 -c 'import re, subprocess, collections'
		i=$((i + 1))
	done
}

numeric() {
	"$disk/gauss" >"$disk/result"
}

untar() {
	mkdir "$1"
	tar -C "$1" -xf tree.tar
}

walk() {
	find /usr -xdev -size +1000000 -print
}

for word; do
	case $word in
	find) measure find walk ;; # first, as long as nothing of it is in memory
	syscalls) measure syscalls system_calls ;;
	fork) measure fork fork_exec ;;
	gcc) measure gcc compile ;;
	python) measure python python ;;
	numeric)
		gcc -O2 -o "$disk/gauss" gauss.c
		measure numeric numeric
		# The result must be the same everywhere.
		echo "check $(cat "$disk/result")"
		;;
	untar-disk) measure untar-disk untar "$disk/tree" ;;
	untar-job)
		measure untar-job untar "tree.$$"
		rm -rf "tree.$$"
		;;
	*)
		echo "inside.sh: there is no row $word" >&2
		exit 2
		;;
	esac
done
