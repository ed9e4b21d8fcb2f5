#!/bin/sh
# Builds the static helper `slirp` (supervisor and network in one) from the C files beside this script, libslirp and
# glib. Debian ships no static libslirp, so that is built from its source package first.
#
#   build.sh --libslirp FILE.orig.tar.XX [--debian FILE.debian.tar.XX] --output FILE --work DIR
#
# --libslirp  libslirp's source, as Debian's source package holds it (apt has checked the digests)
# --debian    Debian's part of that package: its patches (security fixes) are applied
# --output    where the binary goes
# --work      folder for the build, which has to exist; its libslirp/ is used again when it is there
#
# Exit codes: 0 done, 1 the build failed, 2 wrong arguments, 3 a tool or library is missing.
set -eu
export LC_ALL=C

die() {
	code=$1
	shift
	printf 'build.sh: %s\n' "$*" >&2
	exit "$code"
}

libslirp='' debian='' output='' work=''
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || die 2 "$1 needs a value"
	case $1 in
	--libslirp) libslirp=$2 ;;
	--debian) debian=$2 ;;
	--output) output=$2 ;;
	--work) work=$2 ;;
	*) die 2 "unknown option $1" ;;
	esac
	shift 2
done
if [ -z "$libslirp" ] || [ -z "$output" ] || [ -z "$work" ]; then
	die 2 'need --libslirp, --output and --work'
fi

here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-gcc}
for tool in "$cc" meson ninja pkg-config patch tar; do
	command -v "$tool" >/dev/null || die 3 "missing tool: $tool"
done
pkg-config --exists glib-2.0 || die 3 'missing library: libglib2.0-dev'

if [ ! -f "$work/libslirp/libslirp.a" ]; then
	source=$work/libslirp-source
	rm -rf "$source" "$work/libslirp-build"
	mkdir "$source"
	tar -xf "$libslirp" -C "$source" --strip-components=1
	if [ -n "$debian" ]; then
		tar -xf "$debian" -C "$source"
		if [ -f "$source/debian/patches/series" ]; then
			# One file name a line; comments and empty lines are allowed (deb-src-quilt format).
			sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$source/debian/patches/series" | while read -r name; do
				patch -d "$source" -p1 --forward -i "debian/patches/$name" || exit 1
			done
		fi
	fi
	meson setup --default-library=static --buildtype=release "$work/libslirp-build" "$source"
	ninja -C "$work/libslirp-build" libslirp.a
	mkdir -p "$work/libslirp.new"
	cp "$work/libslirp-build/libslirp.a" "$work/libslirp-build/libslirp-version.h" \
		"$source/src/libslirp.h" "$work/libslirp.new/"
	mv "$work/libslirp.new" "$work/libslirp"
fi

# What glib asks of a static link differs between its versions (pcre, pcre2, atomic): pkg-config knows.
# shellcheck disable=SC2046 # one word per library
"$cc" -static -O2 -std=gnu11 -Wall -Wextra -Wl,-s -o "$output.new" "$here"/*.c \
	-I "$work/libslirp" "$work/libslirp/libslirp.a" $(pkg-config --static --libs glib-2.0) -pthread
mv "$output.new" "$output"
