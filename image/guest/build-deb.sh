#!/bin/sh
# Builds the Debian package apppot.
#
#   build-deb.sh OUTPUT.deb VERSION RUNNER SNAP
#
# RUNNER and SNAP are the static programs apppot-guest and apppot-snap. The same input gives the same bytes: every time stamp is SOURCE_DATE_EPOCH
# (0 when it is not set), owners are root, and dpkg-deb compresses with one thread.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$1
version=$2
runner=$3
snap=$4
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
export SOURCE_DATE_EPOCH
umask 022
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

put() { # MODE SOURCE DESTINATION
	mkdir -p "$tree/${3%/*}"
	cp "$2" "$tree/$3"
	chmod "$1" "$tree/$3"
}
put 755 "$here/apppot-init" usr/lib/apppot/apppot-init
put 755 "$runner" usr/lib/apppot/apppot-guest
put 755 "$snap" usr/bin/apppot-snap
put 644 "$here/inittab" usr/share/apppot/inittab
put 644 "$here/copyright" usr/share/doc/apppot/copyright
put 644 "$here/apppot-snap.exclude" var/lib/apppot/apppot-snap.exclude
put 440 "$here/sudoers" etc/sudoers.d/apppot

mkdir "$tree/DEBIAN"
size=$(du -k -s --apparent-size "$tree" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" -e "s/@SIZE@/$size/" \
	"$here/control.in" >"$tree/DEBIAN/control"
printf '%s\n' /etc/sudoers.d/apppot >"$tree/DEBIAN/conffiles"
put 755 "$here/postinst" DEBIAN/postinst
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$tree" "$output" >/dev/null
