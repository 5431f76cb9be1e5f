#!/usr/bin/env bash
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Packs CRIU on the controller, for nodes that reach no mirror: CACHE/criu as criu_beside.sh makes it, packed as
# CACHE/criu.tar.gz. The stamp `release` comes last in the archive, so that half an unpacked one isn't taken for whole.
#
# usage: criu_archive.sh CRIU_BESIDE CACHE RELEASE
# Prints what criu_beside.sh prints, and "packed" if the archive is new. Safe to repeat, and side by side.
set -euo pipefail

CRIU_BESIDE=${1:?"usage: criu_archive.sh CRIU_BESIDE CACHE RELEASE"}
CACHE=${2:?}
RELEASE=${3:?}
export LC_ALL=C

mkdir -p "$CACHE"
exec 9>"$CACHE/criu.lock"
flock 9
sh "$CRIU_BESIDE" "$CACHE/criu" "$RELEASE"
archive=$CACHE/criu.tar.gz
if [[ ! -e $archive || $CACHE/criu/release -nt $archive || $CACHE/criu/bin/criu -nt $archive ]]; then
  tar -C "$CACHE/criu" --owner=0 --group=0 -czf "$archive.new" bin usr release
  mv "$archive.new" "$archive"
  echo "packed"
fi
