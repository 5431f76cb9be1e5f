#!/usr/bin/env bash
# Every linter and type checker, each with its name; all run, and one failure fails the whole.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH=$PWD/.venv/bin:$PATH
export NO_COLOR=1
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
names=()

# They run beside each other, and are told of in this order.
check() {
  local name=$1 report=$reports/${#names[@]}
  shift
  names+=("$name")
  {
    "$@" >"$report.output" 2>&1
    printf '%d %d\n' $? "$SECONDS" >"$report"
  } &
}

tell() {
  local number name status seconds failed=()
  for number in "${!names[@]}"; do
    name=${names[number]}
    read -r status seconds <"$reports/$number" || status=1 seconds=$SECONDS
    if [ "$status" -eq 0 ]; then
      printf '  \033[32m✓\033[0m %-18s %3d s\n' "$name" "$seconds"
    else
      printf '  \033[31m✗\033[0m %s\n' "$name"
      cat "$reports/$number.output"
      failed+=("$name")
    fi
  done
  [ "${#failed[@]}" -eq 0 ] || {
    printf '\nfailed: %s\n' "${failed[*]}" >&2
    return 1
  }
}

shell_scripts() { find tools .ci tests -type f \( -name '*.sh' -o -path '.ci/run' \) -print0; }
# Vagrant itself sees more than its language does, but brings 40 packages: outside CI it is asked where it is installed.
check_vagrantfile() {
  ruby -c Vagrantfile || return
  if [ "${CI:-}" = true ] || command -v vagrant >/dev/null; then
    local status=0 home
    home=$(mktemp -d)
    VAGRANT_HOME=$home vagrant validate --ignore-provider || status=$?
    rm -rf "$home"
    return "$status"
  fi
}
check_shell() { shell_scripts | xargs -0 shellcheck; }

check_types() { mypy && MYPYPATH=tools mypy --package lab --package guest_kernel; } # one after the other: they share a cache
check_changelog() { cd collections/ansible_containerd && antsibull-changelog lint; }
check_documentation() {
  antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck --disallow-unknown-collection-refs \
    collections/ansible_containerd
}

check 'ruff check' ruff check .
check 'ruff format' ruff format --check .
check 'mypy' check_types
check 'shellcheck' check_shell
if [ "$(id -u)" -eq 0 ] || command -v ruby >/dev/null; then check 'Vagrantfile' check_vagrantfile; fi
check 'yamllint' yamllint --strict collections/ansible_containerd inventory
check 'ansible-lint' ansible-lint --offline -q
check 'antsibull-docs' check_documentation
check 'antsibull-changelog' check_changelog
wait
tell
