#!/bin/sh
# The workloads of the benchmark, run in the job folder: natively in a chroot of the image's tree, and in guests. Prints
# "ROW SECONDS" for each row that is asked for, in a fixed order. Scratch files go to $BENCH_DISK, a folder of the image.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
disk=${BENCH_DISK:-/var/tmp}/bench.$$
mkdir "$disk"
trap 'rm -rf "$disk" "tree.$$" "small.$$" "large.$$"' EXIT

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

walk_tree() {
	find "$1" -printf '%s %T@ %p\n' >/dev/null
}

small_files() {
	mkdir "$1"
	i=0
	while [ "$i" -lt 2000 ]; do
		echo "$i" >"$1/$i"
		i=$((i + 1))
	done
	while [ "$i" -gt 0 ]; do
		i=$((i - 1))
		read -r number <"$1/$i"
		[ "$number" = "$i" ]
	done
	rm -r "$1"
}

write_large() {
	dd if=/dev/zero of="$1" bs=64k count=4096 2>/dev/null
}

read_large() {
	dd if="$1" of=/dev/null bs=64k 2>/dev/null
}

# memory ROW ARGUMENTS...: the time that the program itself has measured; it checks what it has read.
memory() {
	row=$1
	shift
	[ -x "$disk/memory" ] || gcc -O2 -o "$disk/memory" memory.c
	"$disk/memory" "$@" >"$disk/result"
	read -r _ ok seconds _ <"$disk/result"
	[ "$ok" = ok ]
	echo "$row $(echo "$seconds" | awk '{ print $1 * 1000 }') ms"
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
	untar-job) measure untar-job untar "tree.$$" ;;
	walk-job)
		[ -d "tree.$$" ] || untar "tree.$$"
		measure walk-job walk_tree "tree.$$"
		;;
	remove-job)
		[ -d "tree.$$" ] || untar "tree.$$"
		measure remove-job rm -r "tree.$$"
		;;
	small-job) measure small-job small_files "small.$$" ;;
	write-job) measure write-job write_large "large.$$" ;;
	read-job)
		[ -f "large.$$" ] || write_large "large.$$"
		measure read-job read_large "large.$$"
		;;
	memory-triad) memory memory-triad triad 768 ;;
	memory-reads-1g) memory memory-reads-1g reads 1024 2000000 ;;
	memory-reads-3g) memory memory-reads-3g reads 3072 2000000 ;;
	memory-scatter) memory memory-scatter scatter 1024 2000000 ;;
	memory-faults) memory memory-faults faults 256 ;;
	*)
		echo "inside.sh: there is no row $word" >&2
		exit 2
		;;
	esac
done
