#!/bin/sh
# What is tried in the guest. Without hardware of its own everything takes ten times as long.
cd "${0%/*}/../.." || exit 1
export TRICORN_TEST_SLOWNESS=10
echo "Linux $(uname -r)"
.lab/criu/bin/criu check --feature mem_dirty_track || exit 1
while read -r test; do set -- "$@" "$test"; done <.lab/guest-tests
exec .venv/bin/python -m pytest "$@" -p no:cacheprovider --basetemp=/tmp/pytest -o faulthandler_timeout=0 -v -rs
