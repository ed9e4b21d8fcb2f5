# shellcheck shell=bash disable=SC2154
# Part of lab.sh: A-REX, its configuration, and copies of its start scripts that suit a test.

configure_arex() {
	local scanner
	mkdir -p "$lab"/{control,session,cache,rte/ENV}
	echo "$lrms" >"$lab/lrms"
	# Without it the start script works out parameters for minutes.
	(umask 077 && logged 'Diffie-Hellman parameters' openssl genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048 \
		-out "$lab/control/dhparam.pem")
	if [ "$lrms" = slurm ]; then
		scanner=fast-scan-SLURM
	else
		scanner=fast-scan-fork
	fi
	cat >"$lab/arc.conf" <<END
[common]
hostname = localhost
x509_host_key = $lab/creds/host-localhost-key.pem
x509_host_cert = $lab/creds/host-localhost-cert.pem
x509_cert_dir = $lab/ca

[authgroup:all]
subject = $subject

[mapping]
map_to_user = all griduser:griduser

[lrms]
$(if [ "$lrms" = slurm ]; then
		printf 'lrms = slurm main\nslurm_bin_path = /usr/bin\nslurm_use_sacct = no\nslurm_wakeupperiod = 3600\n'
	else
		printf 'lrms = fork\n'
	fi)

[arex]
controldir = $lab/control
sessiondir = $lab/session
logfile = $lab/log/arex.log
joblog = $lab/log/arex-jobs.log
pidfile = $lab/run/arched-arex.pid
helperlog = $lab/log/job.helper.errors
runtimedir = $lab/rte
helper = . $lab/bin/$scanner --config %F %C
tmpdir = /tmp
wakeupperiod = 2
loglevel = 4
$([ "$lrms" = slurm ] || printf 'statecallout = FINISHED timeout=10,onfailure=pass,ontimeout=pass %s/bin/reap-job %%I\n' "$lab")

[arex/cache]
cachedir = $lab/cache

[arex/data-staging]

[arex/ws]
wsurl = https://localhost:$arc_port/arex
logfile = $lab/log/ws-interface.log
pidfile = $lab/run/arched-arex-ws.pid

[arex/ws/jobs]
allowaccess = all

[infosys]
logfile = $lab/log/infoprovider.log

[infosys/glue2]

[infosys/cluster]

[queue:$queue]
END
	make_scripts
}

# A-REX's own start scripts, with three differences: the loopback only, job states that are renewed each second instead of each
# minute, and batch systems that are asked twice a second instead of twice a minute.
make_scripts() {
	local from=/usr/share/arc bin=$lab/bin name
	sed "s#<arex:gmconfig>\\\$ARC_RUNTIME_CONFIG</arex:gmconfig>#&<arex:InfoproviderWakeupPeriod>50</arex:InfoproviderWakeupPeriod>#" \
		"$from/arc-arex-start" >"$bin/arc-arex-start"
	sed 's#<tcp:Listen><tcp:Port>#<tcp:Listen><tcp:Interface>127.0.0.1</tcp:Interface><tcp:Port>#' \
		"$from/arc-arex-ws-start" >"$bin/arc-arex-ws-start"
	grep -q 127.0.0.1 "$bin/arc-arex-ws-start" || fail "the start script of A-REX's web service is not as expected"
	sed -e "s#^basedir=\`dirname \\\$0\`#basedir=$from#" -e 's#^sleep 10$#:#' "$from/scan-fork-job" >"$bin/scan-fork-once"
	# This version of A-REX waits for ever for jobs in states that it does not know.
	# shellcheck disable=SC2016 # text of the script
	sed -e "s#^basedir=\`dirname \\\$0\`#basedir=$from#" -e 's#^sleep \${CONFIG_slurm_wakeupperiod:-30}#:#' \
		-e 's/^            NODE_FAIL)/            NODE_FAIL|OUT_OF_MEMORY|DEADLINE|PREEMPTED|BOOT_FAIL)/' \
		"$from/scan-SLURM-job" >"$bin/scan-SLURM-once"
	for name in fork SLURM; do
		# Its own TMPDIR holds its own lock: the scanner that A-REX starts itself sleeps for an hour.
		cat >"$bin/fast-scan-$name" <<END
#!/bin/sh
mkdir -p "$lab/run/scan"
export TMPDIR="$lab/run/scan"
rm -f "$lab/run/scan/scan-slurm-job.lock"
while kill -0 \$PPID 2>/dev/null; do
	"$lab/bin/scan-$name-once" "\$@"
	sleep 0.5
done
END
	done
	# The fork back end leaves the program of a cancelled job running.
	cat >"$bin/reap-job" <<'END'
#!/bin/bash
for file in /proc/[0-9]*/environ; do
	pid=${file#/proc/} pid=${pid%/environ}
	if [ "$pid" != $$ ] && tr '\0' '\n' <"$file" 2>/dev/null | grep -qx "GRID_GLOBAL_JOBID=$1"; then
		kill -KILL "$pid" 2>/dev/null
	fi
done
exit 0
END
	chmod 755 "$bin"/*
}

start_arex() {
	local environment=(ARC_CONFIG="$lab/arc.conf" SLURM_CONF="$lab/slurm/slurm.conf")
	# Left by an A-REX that was killed, it makes the next one sleep.
	rm -f /tmp/scan-slurm-job.lock
	logged 'A-REX' "${clean[@]}" "${environment[@]}" "$lab/bin/arc-arex-start" 9>&-
	logged "A-REX's web service" "${clean[@]}" "${environment[@]}" "$lab/bin/arc-arex-ws-start" 9>&-
	listening "$arc_port"
}

stop_arex() {
	end "$lab/run/arched-arex-ws.pid"
	end "$lab/run/arched-arex.pid"
}
