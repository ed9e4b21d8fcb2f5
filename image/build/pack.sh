# shellcheck shell=sh
# Packs a system into a tar file and writes that into a file system image. To be sourced; needs $TARGET,
# $SOURCE_DATE_EPOCH and $APPPOT_TOOLS.

# pack TAR: the same entries in the same order with the same headers, whatever file system they come from. The
# names of pax headers hold a process number by default.
pack() {
	tar --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
		--sort=name --numeric-owner --clamp-mtime --mtime="@$SOURCE_DATE_EPOCH" \
		--xattrs --xattrs-include='*' --xattrs-exclude=security.selinux \
		--exclude='./dev/*' --exclude=./lost+found -C "$TARGET" -cf "$1" .
}

# make_image TAR FILE: a new file system of $fstype and $initialsize MB with the entries of TAR. Label, UUID and hash
# seed are fixed; features are those that kernels since 5.10 and e2fsprogs since 1.46 know.
make_image() {
	rm -f "$APPPOT_SCRATCH/mke2fs.log"
	journal=
	[ "${fstype:-ext4}" = ext2 ] || journal='-J size=4'
	# shellcheck disable=SC2086 # two words or none
	if ! tool mke2fs -q -F -t "${fstype:-ext4}" -d "$1" -L apppot -m 0 -i 8192 -b 4096 -I 256 $journal \
		-O '^metadata_csum_seed,^orphan_file' -U "$image_id" \
		-E "hash_seed=$image_id,root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,no_copy_xattrs" \
		"$2" "${initialsize:-1024}M" >"$APPPOT_SCRATCH/mke2fs.log" 2>&1; then
		cat "$APPPOT_SCRATCH/mke2fs.log" >&2
		if grep -qi -e 'could not allocate' -e 'no space' -e 'not enough' -e 'too small' "$APPPOT_SCRATCH/mke2fs.log"; then
			printf '=== image full: %s\n' "$(needed_size "$1")" >&2
			exit 4
		fi
		exit 1
	fi
	cat "$APPPOT_SCRATCH/mke2fs.log"
}

# One UUID for all images: which base it is says the digest in /etc/apppot-release.
image_id=6170706f-7400-4d69-8e00-000000000001

# tool NAME ARGS...: a program of the private tools folder, by its own loader, so that the host's C library does
# not matter.
tool() {
	tool_name=$1
	shift
	for loader in "$APPPOT_TOOLS"/usr/lib*/ld-linux*.so.[0-9]* "$APPPOT_TOOLS"/usr/lib/*/ld-linux*.so.[0-9]*; do
		[ -x "$loader" ] && break
	done
	tool_lib=$(echo "$APPPOT_TOOLS"/usr/lib/*-linux-*)
	MKE2FS_CONFIG="$APPPOT_LIB/mke2fs.conf" TZ=UTC \
		"$loader" --library-path "$tool_lib" "$APPPOT_TOOLS/usr/sbin/$tool_name" "$@"
}

# needed_size TAR: megabytes that an image for this system needs: its blocks and inodes, and a tenth to work in.
needed_size() {
	tar -tvf "$1" --numeric-owner --full-time | awk '
		{ bytes += int(($3 + 4095) / 4096) * 4096; entries++ }
		END { mega = (bytes + entries * 512) / 1048576; print int((mega * 1.1 + 32) / 64 + 1) * 64 }'
}
