#!/bin/sh
# checks.sh all|hardened|short|limits: launches on the host that this runs on, as an account without privileges, with nothing
# but busybox; one line "ok TITLE" or "not ok TITLE: why" for each check. /data holds the runtime, the image and the
# programs; the current folder becomes a job folder.
set -u
round=$1
export LC_ALL=C PATH=/bin
work="/home/user/my job $round"
mkdir -p "$work"
cd "$work" || exit 1

# guest OPTION... -- PROGRAM...: one launch.
guest() {
	/data/runtime/apppot-start --image /data/image --mem 512 --quiet "$@"
}

# begin OPTION... -- PROGRAM...: one launch in the background, whose own process is $launch, not a shell's; returns when the
# job has made the file "up".
begin() {
	rm -f up
	/data/runtime/apppot-start --image /data/image --mem 512 --quiet "$@" >out 2>err </dev/null &
	launch=$!
	tries=0
	while [ ! -e up ] && [ "$tries" -lt 600 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
}

# check TITLE GOT WANTED
check() {
	if [ "$2" = "$3" ]; then
		printf 'ok %s: %s\n' "$round" "$1"
	else
		printf 'not ok %s: %s: got "%s", wanted "%s"\n' "$round" "$1" "$2" "$3"
	fi
}

# code_of COMMAND...: its exit code, the output to files.
code_of() {
	"$@" >out 2>err </dev/null
	echo $?
}

exactness() {
	for code in 0 7 143 255; do
		check "exit code $code" "$(code_of guest -- sh -c "exit $code")" "$code"
	done
	check 'a job killed by a signal' "$(code_of guest -- sh -c 'kill -9 $$')" 137
	check 'no such program' "$(code_of guest -- nonexistent)" 127
	odd="a b\"c'd\$e
f$(printf '\303\244\377')"
	# shellcheck disable=SC2016 # for the guest's shell
	guest -- sh -c 'printf "%s\0" "$@"' sh "$odd" '' '*' >out 2>err </dev/null
	printf '%s\0' "$odd" '' '*' >wanted
	check 'arguments' "$(md5sum <out)" "$(md5sum <wanted)"
	code_of guest -- sh -c 'echo out; echo err >&2' >/dev/null
	check 'two streams' "$(cat out)/$(cat err)" out/err
	dd if=/dev/urandom of=random bs=1M count=20 2>/dev/null
	check '20 MB through a pipe' "$(guest -- cat <random 2>err | md5sum)" "$(md5sum <random)"
	guest -- sh -c 'echo text >file; mkdir folder; mv file folder/; chmod 750 folder/file; ln -s file folder/link' 2>err </dev/null
	check 'files of the job' "$(stat -c '%a %u %s' folder/file) $(readlink folder/link)" '750 1000 5 file'
	check 'tests of a terminal' "$(code_of guest -- sh -c 'test ! -t 0 && test ! -t 1 && test ! -t 2')" 0
	# shellcheck disable=SC2016 # for the guest's shell
	check 'two processors' "$(code_of guest --cpus 2 -- sh -c 'test "$(nproc)" = 2 && (seq 100000 | md5sum) & seq 100000 | md5sum; wait')" 0
}

signals() {
	begin -- sh -c 'trap "exit 9" TERM; echo up >up; while :; do sleep 0.1; done'
	kill -TERM "$launch"
	wait "$launch"
	check 'SIGTERM reaches the job' "$?" 9
	begin --grace 1 -- sh -c 'trap "" TERM; echo up >up; while :; do sleep 0.1; done'
	kill -TERM "$launch"
	wait "$launch"
	check 'a job that ignores SIGTERM is killed after the grace time' "$?" 143
	check 'time limit' "$(code_of guest --time 0:02 -- sleep 60)" 124
	begin -- sh -c 'echo up >up; sleep 60'
	kill -KILL "$launch"
	wait "$launch" 2>/dev/null
	sleep 2
	# shellcheck disable=SC2009 # pgrep of busybox shows less
	check 'kill -9 of the launcher leaves no process' "$(ps -o args | grep -c '^linux\|[/]data/runtime')" 0
	rm -rf .apppot
}

# memory ROW...
memory() {
	cp /data/memory memory
	for row; do
		# shellcheck disable=SC2086 # words
		check "more pages than mappings: $row" "$(code_of guest --mem 1200 -- ./memory $row)" 0
		[ -s err ] && cat err
	done
	rm -f walk.file
}

network() {
	mkdir -p www
	echo page >www/index.html
	busybox httpd -f -p 127.0.0.1:18080 -h "$work/www" &
	server=$!
	sleep 0.5
	# shellcheck disable=SC2016 # for the guest's shell
	fetch='exec 3<>/dev/tcp/10.0.2.2/18080 || exit 1; printf "GET / HTTP/1.0\r\n\r\n" >&3; tail -n 1 <&3'
	code_of guest --host-loopback -- bash -c "$fetch" >code
	check 'the loopback of the host, opened' "$(cat out)" page
	check 'the loopback of the host, closed' "$(code_of guest -- bash -c "$fetch")" 1
	kill "$server"
}

# said TITLE CODE: a launch that cannot work ends with AppPot's own code, a sentence, and soon; one that can is right too.
said() {
	case $2 in
	0) printf 'ok %s: %s: works\n' "$round" "$1" ;;
	125)
		if grep -q '^apppot-start: \|^slirp: \|^apppot: ' err; then
			printf 'ok %s: %s: %s\n' "$round" "$1" "$(head -n 1 err)"
		else
			printf 'not ok %s: %s: no sentence: %s\n' "$round" "$1" "$(head -c 300 err)"
		fi
		;;
	*)
		# Where the launcher's shell cannot start a process, the shell says so itself.
		if grep -q "fork" err; then
			printf 'ok %s: %s: %s\n' "$round" "$1" "$(head -n 1 err)"
		else
			printf 'not ok %s: %s: code %s: %s\n' "$round" "$1" "$2" "$(head -c 300 err)"
		fi
		;;
	esac
}

# limited OPTION VALUE: a launch under this limit of ulimit.
limited() {
	# shellcheck disable=SC2016 # for the inner shell
	said "ulimit -$1 $2" "$(code_of timeout 120 sh -c 'ulimit "-$1" "$2" && shift 2 && exec "$@"' sh "$1" "$2" \
		/data/runtime/apppot-start --image /data/image --mem 512 -- true)"
}

limits() {
	for kilobytes in 50000 500000 1000000; do
		limited v "$kilobytes"
	done
	for blocks in 100 100000; do
		limited f "$blocks"
	done
	# Shells do not agree on the letter.
	letter=u
	# shellcheck disable=SC3045,SC2034 # that is what is being asked
	sh -c 'ulimit -u' >out 2>&1 || letter=p
	for processes in 8 24 64; do
		limited "$letter" "$processes"
	done
	rm -rf .apppot
}

case $round in
all)
	exactness
	signals
	memory 'touch 400' 'scatter 400 200000' 'fork 256' 'walk walk.file 300 200000'
	network
	;;
hardened)
	check 'no user namespaces' "$(code_of unshare -U true)" 1
	exactness
	signals
	;;
short)
	exactness
	memory 'touch 400'
	;;
limits) limits ;;
esac
check 'no run folder is left' "$(ls .apppot 2>/dev/null)" ''
