#!/usr/bin/env bash
# Installs what a target needs and is missing: Debian packages, a virtual environment, this project in it.
# usage: tools/setup.sh demo|test|bench     (each includes the one before)
# Safe to repeat: a second run only looks. Leaves no service running that wasn't.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly STAGE=${1:-demo}
readonly VENV=.venv
readonly MINIMUM='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 LC_ALL=C.UTF-8

step() { printf '  \033[36m•\033[0m %s\n' "$*"; }
fail() {
  printf '\033[31msetup failed:\033[0m %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf '  try: %s\n' "$2" >&2
  exit 1
}

# "package  why", one a line
packages() {
  cat <<'LIST'
python3-venv     the interpreter and its virtual environments
ca-certificates  to trust the package index
conmon           watches each container, so that it outlives the agent
crun             OCI runtime (fast, small)
runc             OCI runtime (the reference)
iproute2         shows network namespaces
nftables         publishes containers' ports
docker-registry  a real registry, run on 127.0.0.1 only
skopeo           pushes images to it
busybox-static   the programs of small images
curl             to look at the API by hand
LIST
  [ "$STAGE" = demo ] || cat <<'LIST'
apache2-utils    htpasswd, for tests of a registry with passwords
containernetworking-plugins  the standard CNI plugins, as others bring them
e2fsprogs        makes the disks of the lab's nodes
openssl          certificates, for tests of a registry with TLS
mmdebstrap       builds the file system of the lab's nodes (and the benchmark's image)
openssh-client   how Ansible reaches the lab's nodes
ruby             reads the Vagrantfile, to see that it is one
shellcheck       lints the shell scripts
umoci            reads and builds images, to be compared with
procps           ps, for looking at processes
LIST
  [ "$STAGE" = demo ] || ! browser_wanted || echo 'chromium-headless-shell  shows the page that tricorn fleet makes'
  [ "$STAGE" = demo ] || [ "${CI:-}" != true ] || echo 'vagrant  validates the Vagrantfile; it brings 40 packages of Ruby'
  [ "$STAGE" != bench ] || cat <<'LIST'
containerd       the peer that the benchmark measures beside us
isal             igzip, with which containerd decompresses fastest
patchelf         lets the newer runc find the libc it was built for
zstd             shows how fast this machine decompresses, at best
LIST
}

# 100 MB and up to a minute: in CI, where apt has it already, or who runs this asks for it. Its tests are skipped elsewhere.
browser_wanted() {
  [ "${CI:-}" = true ] || [ "${TRICORN_BROWSER:-}" = 1 ] || compgen -G '/var/cache/apt/archives/chromium-headless-shell_*.deb' >/dev/null
}

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "this needs Linux; here is $(uname -s)"
  if [ "$(id -u)" -ne 0 ]; then
    [ "$STAGE" = test ] || fail "containers need root" "sudo make $STAGE"
    step "not root: no Debian package is installed, and tests that need root will be skipped"
    return
  fi
  command -v apt-get >/dev/null || fail "this set-up knows Debian's packages only (no apt-get here)" \
    "install conmon, crun, runc, docker-registry and skopeo by hand, then: python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'"
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_packages() {
  local name why
  while read -r name why; do
    if ! installed "$name"; then printf '%s %s\n' "$name" "$why"; fi
  done < <(packages)
}

refresh_lists() {
  step "apt-get update: the package lists are old or absent"
  apt-get update -qq -o Acquire::http::Timeout=30 -o Acquire::Retries=2 >/dev/null 2>&1 || true
}

# Debian starts services when it installs them; policy-rc.d says no for as long as it is there.
forbid_services() {
  [ -e /usr/sbin/policy-rc.d ] && return
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

install_packages() {
  local lines names log
  lines=$(missing_packages)
  [ -n "$lines" ] || return 0
  step "installing Debian packages:"
  while read -r name why; do printf '      %-16s %s\n' "$name" "$why"; done <<<"$lines"
  mapfile -t names < <(cut -d' ' -f1 <<<"$lines")
  log=$(mktemp)
  forbid_services
  [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -2 -print -quit 2>/dev/null)" ] || refresh_lists
  if ! apt_install "${names[@]}" >"$log" 2>&1; then
    refresh_lists
    apt_install "${names[@]}" >"$log" 2>&1 || {
      tail -n 15 "$log" >&2
      rm -f "$log"
      fail "could not install: ${names[*]}" "apt-get update && apt-get install ${names[*]}"
    }
  fi
  rm -f "$log"
  keep_services_off "${names[@]}"
}

apt_install() { apt-get install -qq -o DPkg::Lock::Timeout=120 -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }

# ... and at the next boot: only for packages that this run installed.
keep_services_off() {
  command -v systemctl >/dev/null || return 0
  local name
  for name in "$@"; do
    case $name in
      docker-registry | containerd) systemctl disable --quiet "$name.service" >/dev/null 2>&1 || true ;;
    esac
  done
}

# A version manager's shim may stand before Debian's interpreter and may even be broken: ask each.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$MINIMUM" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no python3 of version 3.11 or newer with the venv module" "apt-get install python3-venv (Debian 12 or newer)"
}

make_environment() {
  if [ -x $VENV/bin/python ] && $VENV/bin/python -c "$MINIMUM" 2>/dev/null && $VENV/bin/python -m pip --version >/dev/null 2>&1; then
    return
  fi
  local python
  python=$(find_python)
  step "virtual environment in $VENV ($("$python" --version))"
  rm -rf $VENV
  "$python" -m venv $VENV || fail "could not make $VENV with $python" "apt-get install python3-venv"
}

# Keyed by what decides the outcome, so that only a changed pyproject.toml installs again.
install_project() {
  local extra=$1 stamp
  stamp=$VENV/.installed-$extra-$(cat pyproject.toml $VENV/pyvenv.cfg <(pwd) | sha256sum | cut -c1-16)
  [ -e "$stamp" ] && return
  step "this project with its [$extra] dependencies, from the package index (a minute or two)"
  $VENV/bin/python -m pip install -qq --editable ".[$extra]" ||
    fail "pip could not install this project" "$VENV/bin/python -m pip install --editable '.[$extra]'"
  rm -f "$VENV/.installed-$extra-"*
  touch "$stamp"
}

# Tests start the agent hundreds of times, and its confined children never write what they had to compile.
compile_sources() { $VENV/bin/python -m compileall -q agent tests/support; }

# On hosts with cgroup v1 plus a v2 mount that holds hugetlb alone, crun refuses to start anything
# ("cgroups in hybrid mode not supported, drop all controllers from cgroupv2"). Mounting hugetlb as v1
# takes it out of the v2 tree. Every other kind of host is left as it is.
free_hybrid_hugetlb() {
  local unified=/sys/fs/cgroup/unified v1=/sys/fs/cgroup/hugetlb
  [ "$(cat $unified/cgroup.controllers 2>/dev/null)" = hugetlb ] || return 0
  [ -d /sys/fs/cgroup/memory ] || return 0
  step "cgroups: moving hugetlb to its v1 hierarchy, because crun refuses this host's hybrid mode without that"
  echo -hugetlb >$unified/cgroup.subtree_control 2>/dev/null || true
  mkdir -p $v1
  local attempt
  for attempt in 1 2 3 4 5 6 7 8; do
    if mount -t cgroup -o hugetlb none $v1 2>/dev/null; then return 0; fi
    sleep "$((attempt > 3 ? 2 : 1))"
  done
  echo "    not possible now (a container of another program uses hugetlb in v2): runc is used instead of crun" >&2
}

# Debian 12's criu doesn't work on newer kernels: a newer one goes beside the system, as the role does it on nodes.
# Without it the tests of checkpoints are skipped; in CI they fail, and say why.
put_criu_beside() {
  local said
  said=$(collections/ansible_containerd/roles/agent/files/criu_beside.sh "$PWD/.lab/criu" 2>&1) ||
    echo "    no CRIU, so checkpoints can't be tested: $said" >&2
  case $said in installed*) step "CRIU beside the system: $said" ;; esac
}

main() {
  case $STAGE in
    demo) local extras='fleet' ;;
    test) local extras='dev' ;;
    bench) local extras='dev bench' ;;
    *) fail "unknown stage '$STAGE': demo, test or bench" ;;
  esac
  check_machine
  [ "$(id -u)" -ne 0 ] || install_packages
  make_environment
  local extra
  for extra in $extras; do install_project "$extra"; done
  [ "$STAGE" = demo ] || compile_sources
  [ "$(id -u)" -ne 0 ] || free_hybrid_hugetlb
  [ "$STAGE" = demo ] || [ "$(id -u)" -ne 0 ] || put_criu_beside
}

main
