#!/bin/bash
# A grid of one machine, with the real programs: A-REX (ARC's computing element), munge, slurmctld and slurmd, sshd, and a
# small web server. Everything listens on the loopback, on ports of its own, from a folder of its own; no daemon, account
# setting or configuration of the system is touched, but for the account griduser that jobs run under.
#
#   lab.sh up [--lrms slurm|fork]   starts it and prints the file that describes it (JSON, lab.json)
#   lab.sh down                     stops what is running, by process id, and removes the folder
#   lab.sh status                   says what runs; exit code 1 when something does not
#   lab.sh env                      variables for a shell:  eval "$(lab.sh env)"
#   lab.sh stop|start PART          one of arex, slurmctld, slurmd, munged, sshd, web: for tests of what happens then
#
# Needs root, and the Debian packages that image/install-prereq.sh --tests installs. APPPOT_LAB_PORT moves the ports (20400).
# Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 something is missing.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
state=${XDG_CACHE_HOME:-$HOME/.cache}/apppot/test
pointer=$state/grid-lab
base=${APPPOT_LAB_PORT:-20400}
arc_port=$((base + 43)) ctld_port=$((base + 17)) slurmd_port=$((base + 18)) ssh_port=$((base + 22)) web_port=$((base + 80))
subject='/DC=org/DC=nordugrid/DC=ARC/O=TestCA/CN=AppPot Tester'
clean=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
. "$here/arex.sh"
. "$here/slurm.sh"
. "$here/access.sh"

fail() {
	printf 'grid-lab: %s\n' "$1" >&2
	exit "${2:-1}"
}

# alive PIDFILE: whether that process runs; a zombie does not.
alive() {
	local pid state
	[ -s "$1" ] && read -r pid <"$1" && [ -r "/proc/$pid/stat" ] || return 1
	state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null) || return 1
	[ "$state" != Z ]
}

# end PIDFILE [SIGNAL]: stops that process and waits for its end.
end() {
	local pid tries
	alive "$1" || return 0
	read -r pid <"$1"
	kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
	for ((tries = 0; tries < 200; tries++)); do
		alive "$1" || return 0
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
}

# listening PORT: waits until something does.
listening() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		sleep 0.1
	done
	fail "nothing listens on port $1"
}

# logged TITLE COMMAND...: its words are kept, and shown when it fails.
logged() {
	local title=$1
	shift
	if ! "$@" >>"$lab/log/lab.log" 2>&1 </dev/null; then
		tail -n 20 "$lab/log/lab.log" >&2
		fail "$title failed"
	fi
}

find_lab() {
	[ -s "$pointer" ] || return 1
	read -r lab <"$pointer"
	[ -d "$lab" ]
}

require() {
	local program
	[ "$(id -u)" = 0 ] || fail 'the lab needs root: A-REX and Slurm change the account of their jobs' 3
	for program in arched arcctl arcproxy munged slurmctld slurmd sbatch /usr/sbin/sshd ssh-keygen node openssl; do
		command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] ||
			fail "$program is not installed; npm run setup -- --tests installs it" 3
	done
	# Locked would be refused by sshd, a password is not wanted either.
	id griduser >/dev/null 2>&1 || useradd -m -s /bin/bash -p '*' griduser
}

up() {
	require
	exec 9>"$state.lock" && flock 9
	if find_lab; then
		if status >/dev/null 2>&1; then
			echo "$lab/lab.json"
			return
		fi
		down
	fi
	# No capitals: arcctl takes the letters of runtimedir's path off the front of the names of runtime environments.
	lab=/tmp/apppot-grid-lab.$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
	mkdir -m 755 "$lab"
	mkdir -p "$lab"/{log,run,bin,www,clients}
	echo "$lab" >"$pointer"
	make_credentials
	start_slurm
	start_sshd
	start_web
	configure_arex
	start_arex
	describe >"$lab/lab.json"
	echo "$lab/lab.json"
}

down() {
	find_lab || return 0
	stop_arex
	stop_slurm
	end "$lab/run/sshd.pid"
	end "$lab/run/web.pid"
	rm -rf "$lab"
	rm -f "$pointer"
}

status() {
	local part file bad=0
	find_lab || fail 'there is no lab; start one with: npm run grid-lab -- up'
	for part in arex:arched-arex arex-ws:arched-arex-ws munged:munged slurmctld:slurmctld slurmd:slurmd sshd:sshd web:web; do
		file=$lab/run/${part#*:}.pid
		if alive "$file"; then
			printf '%-10s runs, process %s\n' "${part%:*}" "$(cat "$file")"
		else
			printf '%-10s does not run\n' "${part%:*}"
			bad=1
		fi
	done
	return "$bad"
}

# describe: lab.json, what tests and people need to know.
describe() {
	cat <<END
{
  "folder": "$lab",
  "arc": {
    "endpoint": "https://localhost:$arc_port/arex",
    "queue": "$queue",
    "caDir": "$lab/ca",
    "subject": "$subject",
    "conf": "$lab/arc.conf",
    "controlDir": "$lab/control",
    "cacheDir": "$lab/cache",
    "sessionDir": "$lab/session",
    "rteDir": "$lab/rte"
  },
  "slurm": { "conf": "$lab/slurm/slurm.conf", "partition": "main" },
  "ssh": { "host": "localhost", "port": $ssh_port, "user": "griduser", "hostKey": "$lab/ssh/hostkey.pub" },
  "web": { "root": "$lab/www", "url": "http://localhost:$web_port", "log": "$lab/log/web.log" },
  "clients": { "root": "$lab/clients/root", "apptest": "$lab/clients/apptest" }
}
END
}

# What a person needs for arcsub, sbatch and ssh by hand.
environment() {
	local client
	find_lab || fail 'there is no lab; start one with: npm run grid-lab -- up'
	client=$lab/clients/root
	cat <<END
export APPPOT_TEST_GRID=$lab/lab.json SLURM_CONF=$lab/slurm/slurm.conf X509_CERT_DIR=$lab/ca
export X509_USER_CERT=$client/cert.pem X509_USER_KEY=$client/key.pem X509_USER_PROXY=$client/proxy.pem
export ARC=https://localhost:$arc_port/arex
alias lab-ssh='ssh -F $client/ssh_config lab'
END
}

part() {
	find_lab || fail 'there is no lab'
	case $1-$2 in
	stop-arex) stop_arex ;;
	start-arex) start_arex ;;
	stop-slurmctld | stop-slurmd | stop-munged | stop-sshd | stop-web) end "$lab/run/$2.pid" ;;
	start-slurmctld) start_slurmctld ;;
	start-slurmd) start_slurmd ;;
	start-munged) start_munged ;;
	start-sshd) start_sshd ;;
	start-web) start_web ;;
	*) fail "there is no part $2" 2 ;;
	esac
}

mkdir -p "$state"
queue=main lrms=slurm
case ${1-} in
up)
	if [ "${2-}" = --lrms ]; then
		lrms=${3-}
		case $lrms in slurm) ;; fork) queue=fork ;; *) fail 'lrms is slurm or fork' 2 ;; esac
	fi
	up
	;;
down) down ;;
status) status ;;
env) environment ;;
stop | start)
	[ $# -eq 2 ] || fail 'usage: lab.sh stop|start PART' 2
	if find_lab && [ -s "$lab/lrms" ]; then
		lrms=$(cat "$lab/lrms")
	fi
	part "$1" "$2"
	;;
*)
	echo 'usage: lab.sh up [--lrms slurm|fork] | down | status | env | stop PART | start PART' >&2
	exit 2
	;;
esac
