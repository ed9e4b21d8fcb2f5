# shellcheck shell=bash disable=SC2154
# Part of lab.sh: munge, slurmctld and slurmd by hand, without systemd.

# Whether Slurm can limit the memory of jobs by control groups here: version 1, writable. APPPOT_LAB_CGROUPS=no: it cannot.
has_cgroups() {
	local controller probe
	[ "${APPPOT_LAB_CGROUPS-}" != no ] || return 1
	for controller in memory freezer; do
		probe=/sys/fs/cgroup/$controller/apppot-lab.$$
		[ -e "/sys/fs/cgroup/$controller/release_agent" ] && mkdir "$probe" 2>/dev/null || return 1
		rmdir "$probe"
	done
}

write_slurm_conf() {
	local host enforcement
	host=$(hostname -s)
	if has_cgroups; then
		enforcement='ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/linux'
		cat >"$lab/slurm/cgroup.conf" <<END
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainDevices=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
AllowedRAMSpace=100
END
	else
		# Slurm counts itself, each second, and kills.
		enforcement='ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss'
	fi
	cat >"$lab/slurm/slurm.conf" <<END
ClusterName=apppotlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$lab/slurm/munge/munge.socket
CryptoType=crypto/munge
# The loopback only.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$lab/slurm/state
SlurmdSpoolDir=$lab/slurm/spool
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.log
$enforcement
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
# The defaults would make a job of a second take five.
SchedulerParameters=sched_min_interval=50000,batch_sched_delay=0,sched_interval=1,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$lab/log/jobcomp.log
MinJobAge=3600
# Tests lower it.
SlurmdTimeout=300
MaxArraySize=2001
MaxJobCount=20000
KillWait=5
DefMemPerCPU=500
# More processors than there are: tests wait more than they compute.
SlurmdParameters=config_overrides
# Its name is the lab's: control groups of two labs on a machine would share theirs.
NodeName=lab$base NodeHostname=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
# Jobs of the second one push those of the first one out.
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=main Nodes=lab$base Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=lab$base MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=short Nodes=lab$base MaxTime=10 State=UP PriorityTier=1
END
	chmod 644 "$lab/slurm/slurm.conf"
}

start_munged() {
	logged munged "${clean[@]}" munged --force --key-file="$lab/slurm/munge/munge.key" \
		--socket="$lab/slurm/munge/munge.socket" --pid-file="$lab/run/munged.pid" --log-file="$lab/log/munged.log" \
		--seed-file="$lab/slurm/munge/munge.seed" --num-threads=2
}

start_slurmctld() {
	logged slurmctld "${clean[@]}" SLURM_CONF="$lab/slurm/slurm.conf" slurmctld
}

start_slurmd() {
	logged slurmd "${clean[@]}" SLURM_CONF="$lab/slurm/slurm.conf" slurmd
}

start_slurm() {
	local tries
	mkdir -p "$lab/slurm"/{state,spool,munge}
	chmod 755 "$lab/slurm/munge"
	(umask 077 && head -c 1024 /dev/urandom >"$lab/slurm/munge/munge.key")
	write_slurm_conf
	start_munged
	start_slurmctld
	start_slurmd
	for ((tries = 0; tries < 200; tries++)); do
		[ "$(SLURM_CONF=$lab/slurm/slurm.conf sinfo -h -p main -o %T 2>/dev/null)" = idle ] && return
		sleep 0.1
	done
	fail "the node of Slurm does not become idle: see $lab/log"
}

stop_slurm() {
	local partition group pid tries
	for partition in main urgent short; do
		SLURM_CONF=$lab/slurm/slurm.conf timeout 10 scancel --partition="$partition" --quiet 2>/dev/null || true
	done
	end "$lab/run/slurmctld.pid"
	end "$lab/run/slurmd.pid"
	end "$lab/run/munged.pid"
	# What is left of jobs, and then their groups, from the leaves up.
	for group in /sys/fs/cgroup/{freezer,memory}/slurm_lab$base; do
		[ -d "$group" ] || continue
		for ((tries = 0; tries < 50; tries++)); do
			while read -r pid; do
				kill -KILL "$pid" 2>/dev/null || true
			done < <(find "$group" -name cgroup.procs -exec cat {} +)
			! find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || break
			sleep 0.1
		done
	done
}
