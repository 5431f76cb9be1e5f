#!/usr/bin/env bash
# What is handed out: the wheel (agent, command line, collection), the collection's own archive, their sums.
#   tools/release.sh [directory, dist by default]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-dist}
bin=$PWD/.venv/bin

mkdir -p "$target"
rm -f "$target"/tricorn-*.whl "$target"/tricorn-containerd-*.tar.gz "$target/SHA256SUMS"
# The same sources make the same wheel, whenever it is built.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1577836800)}
export SOURCE_DATE_EPOCH
# What builds is there in a development environment; elsewhere pip fetches it from the package index.
how=()
if "$bin/python" -c 'import hatchling' 2>/dev/null; then how=(--no-build-isolation --no-index); fi
"$bin/python" -m pip wheel -qq --disable-pip-version-check --no-deps "${how[@]}" --wheel-dir "$target" .
"$bin/ansible-galaxy" collection build --force --output-path "$target" collections/ansible_containerd >/dev/null
cd "$target"
sha256sum ./*.whl ./*.tar.gz >SHA256SUMS
