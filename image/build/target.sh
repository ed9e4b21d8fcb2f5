# shellcheck shell=sh
# What several modules need: running programs inside the new system. To be sourced; needs $TARGET.

# Mounts what programs expect inside $TARGET. In a user name space device nodes cannot be made, so the host's are
# bound; where /proc or /sys may not be mounted anew, the host's are bound too.
enter_target() {
	trap leave_target EXIT
	mount -t tmpfs -o mode=0755 none "$TARGET/dev"
	for node in null zero full random urandom tty; do
		: >"$TARGET/dev/$node"
		mount --bind "/dev/$node" "$TARGET/dev/$node"
	done
	mkdir "$TARGET/dev/shm" "$TARGET/dev/pts"
	chmod 1777 "$TARGET/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 none "$TARGET/dev/pts" 2>/dev/null || :
	ln -s pts/ptmx "$TARGET/dev/ptmx"
	ln -s /proc/self/fd "$TARGET/dev/fd"
	ln -s fd/0 "$TARGET/dev/stdin"
	ln -s fd/1 "$TARGET/dev/stdout"
	ln -s fd/2 "$TARGET/dev/stderr"
	mount -t proc none "$TARGET/proc" 2>/dev/null || mount --rbind /proc "$TARGET/proc"
	mount -t tmpfs -o mode=0755 none "$TARGET/run"
	mkdir -m 1777 "$TARGET/run/lock"
	# Nothing that gets installed may start a daemon.
	printf '#!/bin/sh\nexit 101\n' >"$TARGET/usr/sbin/policy-rc.d"
	chmod 755 "$TARGET/usr/sbin/policy-rc.d"
	rm -f "$TARGET/etc/resolv.conf"
	[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >"$TARGET/etc/resolv.conf"
}

# Undoes enter_target. What is still running in there ends with the name space or the guest.
leave_target() {
	trap - EXIT
	rm -f "$TARGET/usr/sbin/policy-rc.d"
	for place in run proc dev; do
		umount -R "$TARGET/$place" 2>/dev/null || umount -R -l "$TARGET/$place"
	done
}

# in_target PROG ARGS...: a program inside, as root, with a known environment and nothing on its standard input.
in_target() {
	env -i \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root USER=root LOGNAME=root SHELL=/bin/sh LC_ALL=C.UTF-8 TERM=dumb \
		DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true \
		SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
		${http_proxy:+"http_proxy=$http_proxy"} \
		${https_proxy:+"https_proxy=$https_proxy"} \
		${ftp_proxy:+"ftp_proxy=$ftp_proxy"} \
		${no_proxy:+"no_proxy=$no_proxy"} \
		chroot "$TARGET" "$@" </dev/null
}
