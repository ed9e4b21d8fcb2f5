#!/bin/sh
# Boots the kernel of a Debian release in a virtual machine, with that machine as the host of guests: launches by an account
# without privileges, with ptrace, user namespaces and executable temporary folders forbidden, and with low limits.
#
#   run.sh RELEASE RUNTIME IMAGE MEMORY-PROGRAM CACHE
#
# RUNTIME is the folder of a built runtime, MEMORY-PROGRAM the static program of test/fixtures/c/memory.c; the kernel and busybox of
# RELEASE are fetched into CACHE once. Needs mmdebstrap, cpio of busybox, mke2fs, qemu-system-x86_64 (with /dev/kvm, else slowly).
# APPPOT_HOSTS_FORM=short is a quarter of it. Prints the lines of checks.sh. Exit codes: 0 all is well, 1 a check failed or the machine did not end, 3 something is missing.
set -eu
export LC_ALL=C
[ $# -eq 5 ] || {
	echo 'usage: run.sh RELEASE RUNTIME IMAGE MEMORY-PROGRAM CACHE' >&2
	exit 2
}
release=$1 runtime=$2 image=$3 memory=$4 cache=$5
here=$(cd "$(dirname "$0")" && pwd)
for tool in mmdebstrap mke2fs qemu-system-x86_64; do
	command -v "$tool" >/dev/null || {
		printf 'run.sh: %s is not installed\n' "$tool" >&2
		exit 3
	}
done
scratch=$(mktemp -d "${TMPDIR:-/tmp}/apppot-hosts.XXXXXX")
machine=
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

tree=$cache/host-$release
if [ ! -d "$tree" ]; then
	mkdir -p "$cache"
	work=$tree.$$
	if ! mmdebstrap --quiet --variant=extract --include=linux-image-amd64,busybox-static --format=directory "$release" "$work" 2>"$scratch/log"; then
		cat "$scratch/log" >&2
		rm -rf "$work"
		exit 3
	fi
	# What no virtual machine needs.
	for part in "$work"/usr/share "$work"/lib/modules/*/kernel/sound "$work"/usr/lib/modules/*/kernel/sound; do
		rm -rf "$part"
	done
	mv "$work" "$tree"
fi
modules=$tree/lib/modules
[ -d "$modules" ] || modules=$tree/usr/lib/modules
version=$(cd "$modules" && echo *)
busybox=$tree/bin/busybox
[ -x "$busybox" ] || busybox=$tree/usr/bin/busybox

# The first file system: busybox, and the modules that reach the disk.
root=$scratch/root
mkdir -p "$root/bin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/lib/modules/$version/kernel"
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
from=$modules/$version
for part in drivers/virtio drivers/block fs/ext4 fs/jbd2 fs/mbcache.ko fs/mbcache.ko.xz lib crypto arch/x86/crypto; do
	[ -e "$from/kernel/$part" ] || continue
	mkdir -p "$root/lib/modules/$version/kernel/${part%/*}"
	cp -r "$from/kernel/$part" "$root/lib/modules/$version/kernel/${part%/*}"
done
for list in modules.builtin modules.order modules.builtin.modinfo; do
	[ ! -e "$from/$list" ] || cp "$from/$list" "$root/lib/modules/$version/"
done
"$busybox" depmod -b "$root" "$version"
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$scratch/initrd"

# The disk: runtime, image and checks.
data=$scratch/data
mkdir -p "$data/runtime"
for name in linux linux-smp slirp apppot-start; do
	ln "$runtime/$name" "$data/runtime/$name" 2>/dev/null || cp "$runtime/$name" "$data/runtime/$name"
done
cp --sparse=always "$image" "$data/image"
cp "$memory" "$data/memory"
cp "$here/checks.sh" "$data/checks.sh"
chmod -R a+rX "$data"
chmod 755 "$data/checks.sh" "$data/memory"
mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$data" "$scratch/disk" "$(($(du -sm "$data" | cut -f 1) * 5 / 4 + 64))M" >/dev/null

# boot ACCELERATOR CONSOLE WORD...: starts the machine in the background.
boot() {
	accelerator=$1 console=$2
	shift 2
	qemu-system-x86_64 -machine q35 -accel "$accelerator" -cpu max,arch-capabilities=off -smp 2 -m 4096 -nodefaults -no-reboot \
		-display none -kernel "$tree/boot/vmlinuz-$version" -initrd "$scratch/initrd" \
		-drive "file=$scratch/disk,format=raw,if=virtio,readonly=on" -serial "file:$console" \
		-append "console=ttyS0 panic=-1 rdinit=/init $*" </dev/null 2>>"$scratch/qemu" &
	machine=$!
}

# Not every /dev/kvm of a virtual machine can start an ordinary kernel: it is believed when the kernel says its first words.
accelerate=tcg,thread=multi
if [ -w /dev/kvm ]; then
	boot kvm "$scratch/probe"
	for _ in 1 2 3 4 5 6; do
		sleep 1
		if grep -aq 'Linux version' "$scratch/probe" 2>/dev/null; then
			accelerate=kvm
			break
		fi
	done
	kill "$machine" 2>/dev/null || true
	wait "$machine" 2>/dev/null || true
fi
printf 'hosts: %s, %s\n' "$release" "${accelerate%%,*}"
boot "$accelerate" "$scratch/console" quiet "apppot_hosts=${APPPOT_HOSTS_FORM:-full}"
left=${APPPOT_HOSTS_LIMIT:-900}
while kill -0 "$machine" 2>/dev/null && [ "$left" -gt 0 ]; do
	sleep 1
	left=$((left - 1))
done
tr -d '\r' <"$scratch/console" >"$scratch/said"
grep -a '^ok \|^not ok \|^hosts: ' "$scratch/said" || true
if ! grep -aq '^hosts: end' "$scratch/said" || grep -aq '^not ok ' "$scratch/said"; then
	printf 'run.sh: on the kernel of %s something failed; the last words of the machine:\n' "$release" >&2
	tail -n 40 "$scratch/said" "$scratch/qemu" >&2
	exit 1
fi
