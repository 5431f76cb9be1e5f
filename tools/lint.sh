#!/usr/bin/env bash
# Every linter and type checker, each with its name; all run, and one failure fails the whole.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH=$PWD/.venv/bin:$PATH
export NO_COLOR=1
failed=()

check() {
  local name=$1 start=$SECONDS
  shift
  if output=$("$@" 2>&1); then
    printf '  \033[32m✓\033[0m %-14s %3d s\n' "$name" $((SECONDS - start))
  else
    printf '  \033[31m✗\033[0m %s\n%s\n' "$name" "$output"
    failed+=("$name")
  fi
}

shell_scripts() { find tools .ci tests -type f \( -name '*.sh' -o -path '.ci/run' \) -print0; }
# Vagrant itself sees more than its language does, but brings 50 packages: it is asked where it is installed.
check_vagrantfile() {
  ruby -c Vagrantfile && { ! command -v vagrant >/dev/null || vagrant validate --ignore-provider; }
}
check_shell() { shell_scripts | xargs -0 shellcheck; }

check 'ruff check' ruff check .
check 'ruff format' ruff format --check .
check 'mypy' mypy
check 'mypy of lab' env MYPYPATH=tools mypy --package lab
check 'shellcheck' check_shell
if [ "$(id -u)" -eq 0 ] || command -v ruby >/dev/null; then check 'Vagrantfile' check_vagrantfile; fi
if [ -f collections/ansible_containerd/galaxy.yml ]; then
  check 'yamllint' yamllint --strict collections/ansible_containerd inventory
  check 'ansible-lint' ansible-lint --offline -q
fi
if [ "${#failed[@]}" -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}" >&2
  exit 1
fi
