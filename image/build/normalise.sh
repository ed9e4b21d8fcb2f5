# shellcheck shell=sh
# Puts a finished system into a state that depends on its packages and recipes alone. To be sourced; needs $TARGET
# and $SOURCE_DATE_EPOCH.

# Removes or fixes what tells when, where and on which machine the system was made.
normalise() (
	cd "$TARGET"
	# Lists, caches and logs: made again when needed.
	rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/apt/archives/partial/* \
		var/cache/ldconfig/aux-cache var/cache/debconf/*-old var/lib/dpkg/*-old var/lib/systemd/random-seed \
		var/cache/man/* var/lib/urandom/random-seed run/* tmp/* tmp/.[!.]* var/tmp/* dev/* \
		etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid- etc/.pwd.lock \
		etc/ssh/ssh_host_*_key etc/ssh/ssh_host_*_key.pub root/.bash_history root/.wget-hsts root/.cache \
		var/lib/dbus/machine-id etc/adjtime
	find var/log -xdev -type f -delete
	mkdir -p var/lib/apt/lists/partial var/lib/apt/lists/auxfiles
	# Empty, not missing: systemd then makes one up at boot instead of taking it for a first boot.
	: >etc/machine-id
	chmod 444 etc/machine-id
	# apppot-init writes the real one at boot.
	rm -f etc/resolv.conf
	printf 'nameserver 10.0.2.3\n' >etc/resolv.conf
	chmod 644 etc/resolv.conf
	mkdir -p var/lib/apppot
	: >var/lib/apppot/apppot-snap.base
	: >var/lib/apppot/apppot-snap.index
	: >var/lib/apppot/base-id
	# The day of the last change of a password would be the day of the build.
	sed -i 's/^\([^:]*:[^:]*\):[0-9]*:/\1:19000:/' etc/shadow
	chown 0:42 etc/shadow
	chmod 640 etc/shadow
	sort_boot_order
	settle_times
)

# insserv writes its dependency files in the order in which the file system lists /etc/init.d. The words of a line are
# sets, so they can be sorted; startpar goes by the dependencies.
sort_boot_order() {
	for file in etc/init.d/.depend.boot etc/init.d/.depend.start etc/init.d/.depend.stop; do
		[ -f "$file" ] || continue
		LC_ALL=C awk '{
			for (i = start = ($2 == "=") ? 3 : 2; i <= NF; i++)
				for (j = i; j > start && $(j - 1) > $j; j--) { word = $j; $j = $(j - 1); $(j - 1) = word }
			print ($1 == "TARGETS" ? 1 : $2 == "=" ? 2 : 3) "\t" $0
		}' "$file" | LC_ALL=C sort | cut -f 2- >"$file.new"
		cat "$file.new" >"$file"
		rm "$file.new"
	done
}

# Every time stamp at or before the epoch and in whole seconds, as the packer writes them.
settle_times() {
	find "$TARGET" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	find "$TARGET" -xdev -printf '%T@ %p\0' | LC_ALL=C sed -z -n '/^[-0-9]*\.0* /d; s/^\([-0-9]*\)[^ ]* /@\1 /p' |
		xargs -0 -r sh -c 'for entry; do touch -h -d "${entry%% *}" -- "${entry#* }"; done' sh
}
