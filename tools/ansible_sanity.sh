#!/usr/bin/env bash
# ansible-test's sanity tests of the collection, each in its own virtual environment, without containers.
#   tools/ansible_sanity.sh [tests or options of `ansible-test sanity`]
# Needs nothing but the package index. The environments stay in .ansible/sanity: minutes at first, seconds after.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
PATH=$project/.venv/bin:$PATH
home=$project/.ansible/sanity
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ansible-test takes no PIP_* variables over; a configuration file in its HOME it does read.
pip_settings() {
  python -m pip config list | python -c '
import ast, sys
settings = {}
for line in sys.stdin:
    name, _, value = line.strip().partition("=")
    settings[name.partition(".")[2]] = ast.literal_eval(value).replace("\n", " ")
print("[global]\nquiet = 1")
for name, value in settings.items():
    print(name, "=", value)
'
}

# ansible-test downloads the bootstrap of pip from a site of its own, for each of ten environments; this one takes
# the bundled pip to get the wanted one from the index, once, and gives the others a copy.
bootstrap() {
  cat <<'PYTHON'
import os, shutil, subprocess, sys, sysconfig
wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
kept = os.path.join(os.path.dirname(os.path.abspath(__file__)), "-".join(["bootstrapped", *sorted(wanted)]))
if not os.path.isdir(kept):
    shutil.rmtree(kept + ".half", ignore_errors=True)
    subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.check_call([*install, "--target", kept + ".half", *wanted])
    os.rename(kept + ".half", kept)
shutil.copytree(kept, sysconfig.get_path("purelib"), dirs_exist_ok=True)
PYTHON
}

pip_version() {
  python -c '
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version="3.11"))["pip"].replace(".", "_"))
'
}

mkdir -p "$home/.config/pip" "$home/.ansible/test/cache"
pip_settings >"$home/.config/pip/pip.conf"
bootstrap >"$home/.ansible/test/cache/get_pip_$(pip_version).py"

# The path decides which collection it is, and links count by where they lead: hence a copy.
copy=$work/ansible_collections/tricorn/containerd
mkdir -p "$copy"
tar -C collections/ansible_containerd --exclude=__pycache__ --exclude=./tests/output -cf - . | tar -C "$copy" -xf -
cd "$copy"

python_version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
HOME=$home ansible-test sanity --venv --python "$python_version" --color yes "$@"
