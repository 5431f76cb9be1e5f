#!/usr/bin/env bash
# The collection's CHANGELOG.rst from its fragments, which it takes up, for the version in its galaxy.yml.
#   tools/changelog.sh [the collection's directory]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
cd "${1:-collections/ansible_containerd}"

version=$(sed -n 's/^version: *//p' galaxy.yml)
summaries=$(grep -ls '^release_summary:' changelogs/fragments/*.y*ml | wc -l || true)
known=$("$bin/python" -c '
import sys, yaml
release = (yaml.safe_load(open("changelogs/changelog.yaml")).get("releases") or {}).get(sys.argv[1]) or {}
print(int(bool((release.get("changes") or {}).get("release_summary"))))' "$version")
if [ $((summaries + known)) -ne 1 ]; then
  echo "release $version has $((summaries + known)) summaries, and needs one: release_summary in a fragment" >&2
  exit 1
fi
trap 'rm -f changelogs/.plugin-cache.yaml' EXIT
PATH=$bin:$PATH antsibull-changelog release --update-existing --reload-plugins
