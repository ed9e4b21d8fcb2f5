#!/bin/sh
# Builds the static User-Mode Linux kernel in two flavours, `linux` (one CPU) and `linux-smp`, from a source tarball,
# the patches and the configuration beside this script.
#
#   build.sh --source TARBALL --output DIR --work DIR [--jobs N] [--patches DIR] [--config FILE]
#
# --source   Debian's linux-source-VERSION.tar.xz or any other tarball of the kernel's source, 7.3 or newer
# --output   existing folder that gets linux, linux-smp and linux.version
# --work     existing empty folder for the build (2.5 GB)
# --jobs     parallel compilers; all CPUs by default
# --patches  other folder with *.patch files, for trying some out
# --config   other fragment in the place of apppot.config
#
# Lines that begin with "== " tell the step, for who shows progress; the rest is for the log.
# Exit codes: 0 done, 1 the build failed, 2 wrong arguments, 3 a tool is missing, 4 not a source that can be used,
# 5 a patch does not apply, 6 the configuration lost a symbol.
set -eu
export LC_ALL=C
umask 022

floor_version=7
floor_patchlevel=3

die() {
	code=$1
	shift
	printf 'build.sh: %s\n' "$*" >&2
	exit "$code"
}

here=$(cd "$(dirname "$0")" && pwd)
source='' output='' work='' jobs='' patches=$here/patches config=$here/apppot.config
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || die 2 "$1 needs a value"
	case $1 in
	--source) source=$2 ;;
	--output) output=$2 ;;
	--work) work=$2 ;;
	--jobs) jobs=$2 ;;
	--patches) patches=$2 ;;
	--config) config=$2 ;;
	*) die 2 "unknown option $1" ;;
	esac
	shift 2
done
if [ -z "$source" ] || [ -z "$output" ] || [ -z "$work" ]; then
	die 2 'need --source, --output and --work'
fi
[ -n "$jobs" ] || jobs=$(nproc)
missing=''
for tool in gcc make flex bison bc tar xz patch strip; do
	command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -z "$missing" ] || die 3 "missing tools:$missing"

# make splits its paths at blanks and colons, whatever is done about it: work in the folder, name nothing else.
cd "$work"

echo '== unpack the source'
mkdir source
# Large parts that a configuration without drivers never compiles.
tar -xf "$source" -C source --strip-components=1 --no-same-owner \
	--exclude='*/tools/testing' --exclude='*/boot/dts' --exclude='*/drivers/gpu/*.[ch]' \
	--exclude='*/drivers/media/*.[ch]' --exclude='*/drivers/staging/*.[ch]' --exclude='*/sound/*.[ch]' ||
	die 4 "cannot unpack $source"
if ! [ -f source/arch/um/Makefile ] || ! [ -f source/Makefile ]; then
	die 4 "$source is no source of the Linux kernel"
fi
make_variable() {
	sed -n "s/^$1 *= *//p" source/Makefile | head -n 1
}
version=$(make_variable VERSION)
patchlevel=$(make_variable PATCHLEVEL)
case $version.$patchlevel in
*[!0-9.]* | .* | *.) die 4 "cannot read the version in $source" ;;
esac
if [ "$version" -lt $floor_version ] ||
	{ [ "$version" -eq $floor_version ] && [ "$patchlevel" -lt $floor_patchlevel ]; }; then
	die 4 "$source is Linux $version.$patchlevel; $floor_version.$floor_patchlevel or newer is needed"
fi

echo '== apply the patches'
for file in "$patches"/*.patch; do
	[ -f "$file" ] || continue
	printf 'patch %s\n' "${file##*/}"
	patch -d source -p1 --forward --batch --no-backup-if-mismatch <"$file" ||
		die 5 "${file##*/} does not apply to Linux $version.$patchlevel"
done

# The same input gives the same binary: no clock, no user, no host.
KBUILD_BUILD_TIMESTAMP=$(date -u -d "@$(stat -c %Y source/Makefile)")
export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER=apppot KBUILD_BUILD_HOST=apppot

# configure FLAVOUR FRAGMENT...
configure() {
	flavour=$1
	shift
	echo "== configure $flavour"
	mkdir "$flavour"
	cat "$@" >"$flavour.fragment"
	make -C source ARCH=um O="../$flavour" KCONFIG_ALLCONFIG="../$flavour.fragment" allnoconfig
	lost=''
	while IFS= read -r line; do
		case $line in
		CONFIG_*) grep -qxF -e "$line" "$flavour/.config" || lost="$lost ${line%%=*}" ;;
		esac
	done <"$flavour.fragment"
	[ -z "$lost" ] || die 6 "Linux $version.$patchlevel lost from the configuration of $flavour:$lost"
}

case $output in
/*) ;;
*) die 2 '--output has to be an absolute path' ;;
esac
configure linux "$config"
configure linux-smp "$config" "$here/smp.config"

# Both at once, with one pool of jobs: no processor is idle while the other one links.
cat >both.mk <<'END'
.PHONY: both linux linux-smp
both: linux linux-smp
linux linux-smp:
	+$(MAKE) -C source ARCH=um O=../$@ linux
END
echo '== compile'
make -f both.mk -j"$jobs" both
for flavour in linux linux-smp; do
	strip -o "$flavour.stripped" "$flavour/linux"
	mv "$flavour.stripped" "$output/$flavour"
done
make -s -C source ARCH=um O=../linux-smp kernelrelease >linux.version
mv linux.version "$output/linux.version"
echo '== done'
