#!/bin/sh
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Puts CRIU of a newer Debian release beside the system: downloaded by apt with its signatures checked, unpacked
# below PREFIX with the C library and all else that it was built for, started by a wrapper PREFIX/bin/criu.
# Nothing is installed, no library of the system is replaced. Debian 12's own criu (3.17) can't dump processes
# of kernels from 6.13 on, and installing a newer one with apt would replace the C library.
#
# PREFIX can be copied elsewhere, to a machine that reaches no mirror, for example.
#
# usage: criu_beside.sh PREFIX [RELEASE]
# Prints "unchanged" or "installed", and the version. Safe to repeat; a run that is cut short leaves the old one.
set -eu

PREFIX=${1:?"usage: criu_beside.sh PREFIX [RELEASE]"}
RELEASE=${2:-sid}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
export LC_ALL=C

fail() {
  echo "criu_beside: $1" >&2
  exit 1
}

write_wrapper() { # DIRECTORY: in one step, for another may be starting it
  mkdir -p "$1/bin"
  cat >"$1/bin/.criu" <<WRAPPER
#!/bin/sh
# CRIU of Debian $RELEASE with the libraries of that release, none of this system's. While it dumps it holds up
# packets, by iptables or, where that isn't installed, with the libraries that it has along.
command -v iptables-restore >/dev/null || set -- --network-lock nftables "\$@"
here=\$(readlink -f "\$0")
here=\${here%/bin/criu}
exec "\$here/$loader" --library-path "\$here/$library" "\$here/usr/sbin/criu" "\$@"
WRAPPER
  chmod 755 "$1/bin/.criu"
  mv "$1/bin/.criu" "$1/bin/criu"
}

find_libraries() { # DIRECTORY
  library=$(cd "$1" && echo usr/lib/*-linux-gnu*)
  loader=$(cd "$1" && echo "$library"/ld-linux*.so.*)
}

if [ -x "$PREFIX/bin/criu" ] && [ "$(cat "$PREFIX/release" 2>/dev/null)" = "$RELEASE" ] &&
  "$PREFIX/bin/criu" --version >/dev/null 2>&1; then
  if ! grep -q network-lock "$PREFIX/bin/criu"; then # of an earlier version
    find_libraries "$PREFIX"
    write_wrapper "$PREFIX"
  fi
  echo "unchanged: criu $("$PREFIX/bin/criu" --version | sed -n 's/^Version: //p')"
  exit 0
fi

for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "this needs Debian's $tool"
done
[ -r "$KEYRING" ] || fail "no $KEYRING to check signatures with: apt-get install debian-archive-keyring"

# shellcheck disable=SC2016  # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)/$(LABEL)' 'Created-By: Packages' 2>/dev/null |
  sed -n 's,^\([^ ]*\) Debian/Debian$,\1,p' | head -n 1)

mkdir -p "$(dirname "$PREFIX")"
work=$(mktemp -d "$PREFIX.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/tree"
: >"$work/status" # apt takes the system for empty: so every library comes along
echo "deb [signed-by=$KEYRING] ${mirror:-http://deb.debian.org/debian/} $RELEASE main" >"$work/sources.list"

apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" \
    -o Dir::Cache::archives="$work/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none \
    -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Debug::NoLocking=1 "$@" >"$work/log" 2>&1 ||
    fail "apt-get $1 failed: $(tail -n 5 "$work/log")"
}
apt update
apt install --download-only -y criu

for package in "$work"/archives/*.deb; do
  dpkg-deb -x "$package" "$work/tree"
done
rm -rf "$work/tree/usr/share" "$work/tree/usr/lib"/*/gconv "$work/tree/etc"
find_libraries "$work/tree"
write_wrapper "$work/tree"
echo "$RELEASE" >"$work/tree/release"
chmod 755 "$work/tree"

old=$PREFIX.old
rm -rf "$old"
[ ! -e "$PREFIX" ] || mv "$PREFIX" "$old"
mv "$work/tree" "$PREFIX"
version=$("$PREFIX/bin/criu" --version 2>"$work/log" | sed -n 's/^Version: //p')
if [ -z "$version" ]; then
  rm -rf "$PREFIX"
  [ ! -e "$old" ] || mv "$old" "$PREFIX"
  fail "the criu of $RELEASE doesn't start here: $(tail -n 5 "$work/log")"
fi
rm -rf "$old"
echo "installed: criu $version"
