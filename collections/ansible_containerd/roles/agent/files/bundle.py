# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the bundle that a node unpacks: the agent and all it imports, for the node's Python and C library.

Its shape is that of a virtual environment (C(pyvenv.cfg), C(bin/python3), C(lib/pythonX.Y/site-packages)), so
that the node's own interpreter runs it isolated and needs neither pip nor the venv module.

Runs on the controller. Prints a JSON object with C(path) of the archive, C(name) of the release, which tells
its content, and C(built), whether this call had to make it. With C(--bundle) it tells the same of one that was
built before, which it refuses if it is for another kind of node.
"""

from __future__ import annotations

import argparse
import compileall
import fcntl
import gzip
import hashlib
import json
import os
import py_compile
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OLDEST_GLIBC = 17  # manylinux2014 and newer; nothing with Python 3.11 has an older C library
KEPT = 8  # bundles in the cache, by age
COMMANDS = {"tricornd": "tricorn", "tricorn": "tricorn.cli"}
# Links to it are resolved once: a running agent goes on with its own release when another becomes the current one.
COMMAND = """\
#!/bin/sh
program=$(readlink -f "$0") || exit 1
exec "${program%%/*}/python3" -I -m %s "$@"
"""
UNUSED = ("tests", "_tests", "include", "bin", "ansible_collections")
RELEASE = "release"  # the file that tells a bundle's name
RELEASE_NAME = re.compile(r"[0-9A-Za-z.!+_]+-[0-9a-f]{12}")
PACKAGE = "lib/python%s/site-packages/tricorn/__init__.py"
NEVER_COMPILED = re.compile(r"pygments/(lexers|styles)/")
# pip notes there where a wheel came from, which differs from controller to controller
PROVENANCE = ("direct_url.json", "REQUESTED", "RECORD", "INSTALLER")


def main() -> None:
    options = parse(sys.argv[1:])
    if options.bundle:
        print(json.dumps({**describe(options), "built": False}))
        return
    cache = Path(options.cache).expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several nodes may ask at once for the same bundle
        note = cache / (key_of(options) + ".json")
        built = not is_usable(note)
        if built:
            note.write_text(json.dumps(build(options, cache)))
            drop_old(cache)
    print(json.dumps({**json.loads(note.read_text()), "built": built}))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build a bundle of the agent for a node.")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--source", help="a checkout, a wheel, or a requirement such as tricorn==0.1.0")
    given.add_argument("--bundle", help="a bundle that was built before")
    parser.add_argument("--python", required=True, help="the node's Python, such as 3.11")
    parser.add_argument("--interpreter", required=True, help="its path on the node, such as /usr/bin/python3.11")
    parser.add_argument("--machine", required=True, help="the node's machine, such as x86_64")
    parser.add_argument("--glibc", required=True, help="the node's C library, such as 2.36")
    parser.add_argument("--cache", default="~/.cache/tricorn/bundles", help="directory of finished bundles")
    return parser.parse_args(arguments)


def is_usable(note: Path) -> bool:
    return note.exists() and os.path.exists(json.loads(note.read_text())["path"])


def key_of(options: argparse.Namespace) -> str:
    """Return what the bundle depends on as a digest; an unchanged key needs no new bundle."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for part in (options.python, options.interpreter, options.machine, options.glibc):
        digest.update(part.encode() + b"\0")
    for name, content in sorted(inputs(options.source).items()):
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:32]


def inputs(source: str) -> dict[str, bytes]:
    """Return what decides the outcome: a checkout's files, a wheel, or the text of a requirement."""
    place = Path(source)
    if place.is_dir():
        code = (path for path in place.joinpath("agent").rglob("*") if "__pycache__" not in path.parts)
        paths = [place / "pyproject.toml", *code]
        return {str(path.relative_to(place)): path.read_bytes() for path in paths if path.is_file()}
    return {place.name: place.read_bytes()} if place.is_file() else {source: b""}


def drop_old(cache: Path) -> None:
    bundles = sorted(cache.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    for path in bundles[:-KEPT]:
        path.unlink()


def build(options: argparse.Namespace, cache: Path) -> dict[str, str]:
    """Install into an empty directory, pack it, and name it after its content."""
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        tree = Path(scratch, "tree")
        packages = tree / "lib" / ("python" + options.python) / "site-packages"
        install(options, wheel_of(options.source, scratch), packages)
        make_environment(tree, options.interpreter)
        version = version_of(packages)
        name = "%s-%s" % (version, digest_of(tree))
        (tree / RELEASE).write_text(name + "\n")
        if options.python == "%d.%d" % sys.version_info[:2]:
            compile_all(tree / "lib")
        packed = Path(scratch, "bundle.tar.gz")
        pack(tree, packed)
        path = cache / ("tricorn-%s.tar.gz" % name)
        os.replace(packed, path)
    return {"path": str(path), "name": name, "version": version}


def digest_of(tree: Path) -> str:
    """Return what tells one release from another: a digest of its files before they are compiled."""
    digest = hashlib.sha256()
    for path in wanted(tree):
        name = str(path.relative_to(tree))
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest.update(b"%s\0%d\0" % (name.encode(), len(content)) + content)
    return digest.hexdigest()[:12]


def compile_all(directory: Path) -> None:
    """Compile for a node with this very version of Python, which then trusts the result as it is."""
    compileall.compile_dir(
        directory, quiet=1, rx=NEVER_COMPILED, stripdir=directory.parent, optimize=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def describe(options: argparse.Namespace) -> dict[str, str]:
    """Return what C(build) would say of a finished bundle; exit if it isn't for this kind of node."""
    path = Path(options.bundle).expanduser().absolute()
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            links = {member.name: member.linkname for member in tar if member.issym()}
            names = set(tar.getnames())
            name = tar.extractfile(RELEASE).read().decode().strip() if RELEASE in names else ""
    except (OSError, EOFError, tarfile.TarError) as error:
        sys.exit("%s is no bundle of the agent: %s" % (path, error))
    if not RELEASE_NAME.fullmatch(name) or "bin/python3" not in links:
        sys.exit("%s is no bundle of the agent: it names no release" % path)
    if links["bin/python3"] != options.interpreter or PACKAGE % options.python not in names:
        sys.exit("%s is for %s; the node has %s" % (path, links["bin/python3"], options.interpreter))
    libraries = [each for each in names if each.endswith(".so") and "-linux-gnu" in each]
    if not all("-%s-linux-gnu" % options.machine in each for each in libraries):
        sys.exit("%s is for another machine; the node is %s" % (path, options.machine))
    return {"path": str(path), "name": name, "version": name.rpartition("-")[0]}


def wheel_of(source: str, scratch: str) -> str:
    """Return what pip shall install: a checkout becomes a wheel first, as only those can be cross-installed."""
    if not os.path.isdir(source):
        return source
    wheels = Path(scratch, "wheels")
    pip("wheel", "--no-deps", "--wheel-dir", str(wheels), source)
    return str(next(wheels.glob("tricorn-*.whl")))


def install(options: argparse.Namespace, wheel: str, packages: Path) -> None:
    arguments = ["--target", str(packages), "--only-binary", ":all:", "--no-compile", "--implementation", "cp"]
    arguments += ["--python-version", options.python]
    for platform in platforms(options.machine, options.glibc):
        arguments += ["--platform", platform]
    pip("install", *arguments, wheel)


def make_environment(tree: Path, interpreter: str) -> None:
    """Make the tree a virtual environment of the node's interpreter."""
    (tree / "pyvenv.cfg").write_text("home = %s\n" % os.path.dirname(interpreter))
    (tree / "bin").mkdir()
    (tree / "bin" / "python3").symlink_to(interpreter)
    for name, module in COMMANDS.items():
        (tree / "bin" / name).write_text(COMMAND % module)
        (tree / "bin" / name).chmod(0o755)


def platforms(machine: str, glibc: str) -> list[str]:
    """Return the wheel platforms that run with a C library, newest first (PEP 600)."""
    major, minor = (int(part) for part in glibc.split(".")[:2])
    tags = ["manylinux_%d_%d_%s" % (major, older, machine) for older in range(minor, OLDEST_GLIBC - 1, -1)]
    return [*tags, "manylinux2014_" + machine, "linux_" + machine]


def version_of(packages: Path) -> str:
    return next(packages.glob("tricorn-*.dist-info")).name[len("tricorn-"):-len(".dist-info")]


def pack(tree: Path, archive: Path) -> None:
    """Pack reproducibly: the same files give the same bytes."""
    with open(archive, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for path in wanted(tree):
                tar.add(path, str(path.relative_to(tree)), recursive=False, filter=anonymous)


def wanted(tree: Path) -> list[Path]:
    return [path for path in sorted(tree.rglob("*")) if is_wanted(path.relative_to(tree).parts)]


def is_wanted(parts: tuple[str, ...]) -> bool:
    inside = parts[3:]  # below lib/pythonX.Y/site-packages
    return not any(part in UNUSED for part in inside) and parts[-1] not in PROVENANCE


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def pip(*arguments: str) -> None:
    """Run this interpreter's pip; its output goes to standard error, where a failure is looked for."""
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode:
        sys.exit("pip failed: " + " ".join(arguments))


if __name__ == "__main__":
    main()
