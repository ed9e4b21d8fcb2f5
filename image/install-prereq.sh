#!/bin/sh
# Installs the Debian packages that AppPot needs and that are missing, printing them first.
# The only place in the project that installs system packages.
#
#   install-prereq.sh [--required-only] [--tests] [--dry-run]

set -eu
self=${0##*/}

usage() {
	cat <<END
usage: $self [--required-only] [--tests] [--dry-run]

Installs the Debian packages that AppPot needs and that are missing, with sudo when you
are not root. Says what is optional, and what is lost without it.

  --required-only  leave out what is optional
  --tests          also what the tests and the benchmark need
  --dry-run        say what would be installed, and install nothing

Exit codes: 0 done, 1 failed, 2 wrong option, 3 not a Debian system.
END
}

# Needed to build the runtime and images.
required='bc bison flex gcc libc6-dev libglib2.0-dev make meson ninja-build patch perl pkg-config python3
	xz-utils mmdebstrap debian-archive-keyring ca-certificates'

# name: what is lost without it
optional='uidmap: images are built by the driver "uml", four times slower, when you are not root
user-mode-linux: no launch without a built runtime
slirp: no network in the guest without a built runtime
zstd: images cannot be compressed with zstd
squashfs-tools: changes files are unpacked at every launch instead of mounted'

tests='acl attr bc busybox-static curl dash e2fsprogs faketime iperf3 munge nordugrid-arc-arcctl nordugrid-arc-arcctl-service nordugrid-arc-arex nordugrid-arc-client nordugrid-arc-plugins-arcrest nordugrid-arc-plugins-needed nordugrid-arc-test-utils openssh-client openssh-server openssl procps qemu-system-x86 shellcheck skopeo slurm-wlm strace tcsh tmux umoci zstd'

required_only=0 tests_too=0 dry_run=0
for option; do
	case $option in
	--required-only) required_only=1 ;;
	--tests) tests_too=1 ;;
	--dry-run) dry_run=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		printf '%s: there is no option %s\n' "$self" "$option" >&2
		usage >&2
		exit 2
		;;
	esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	printf '%s: this is not a Debian system; install what provides: %s\n' "$self" "$(echo "$required" | tr -s '\n\t' '  ')" >&2
	exit 3
fi

is_installed() {
	status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) && [ "$status" = installed ]
}

missing=''
want() {
	is_installed "$1" || missing="$missing $1"
}

for package in $required; do want "$package"; done
if [ "$required_only" = 0 ]; then
	packages=$(printf '%s\n' "$optional" | cut -d : -f 1)
	for package in $packages; do want "$package"; done
fi
if [ "$tests_too" = 1 ]; then
	for package in $tests; do want "$package"; done
fi

for package in $missing; do
	printf '%s\n' "$optional" | while IFS=: read -r name loss; do
		[ "$name" != "$package" ] || printf 'optional: %s; without it%s\n' "$name" ":$loss"
	done
done
if [ -z "$missing" ]; then
	echo 'All Debian packages that AppPot needs are installed.'
	exit 0
fi
echo "To be installed:$missing"
[ "$dry_run" = 0 ] || exit 0

sudo=''
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "$self: you are not root and there is no sudo; ask an administrator for these packages" >&2
		exit 1
	}
	sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
# The tests start daemons of their own; those of the packages must not start by being installed.
policy=/usr/sbin/policy-rc.d
if [ "$tests_too" = 1 ] && [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod 755 "$policy"
	trap '$sudo rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086 # lists of package names
{
	$sudo apt-get update </dev/null
	$sudo apt-get install -y --no-install-recommends $missing </dev/null
}
