"""Programs of another Debian release, unpacked beside the system: nothing is installed, nothing replaced."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def mirror() -> str:
    """Return the address from which this system takes Debian's own packages. RuntimeError if it takes none."""
    address = _known_mirror()
    if not address:  # the lists were never fetched, or were removed to save room
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        address = _known_mirror()
    if not address:
        raise RuntimeError("apt knows no source of Debian's packages")
    return address


def _known_mirror() -> str:
    command = [
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)/$(LABEL)", "Created-By: Packages"
    ]  # fmt: skip
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        address, _, origin = line.partition(" ")
        if origin == "Debian/Debian":
            return address
    return ""


@frozen
class Release:
    """One release's package lists, kept below `directory` away from the system's."""

    name: str
    directory: Path

    def unpack(self, *names: str) -> Path:
        """Download and unpack the packages once; return the prefix that holds their files.

        Safe beside another process that does the same. Raises OSError or subprocess.CalledProcessError,
        apt's own words on standard error, when they can't be had.
        """
        prefix = self.directory / "-".join(names)
        if prefix.exists():
            return prefix
        for directory in ("lists/partial", "archives/partial", "debs"):
            (self.directory / directory).mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not prefix.exists():
                self._unpack(prefix, names)
        return prefix

    def _unpack(self, prefix: Path, names: tuple[str, ...]) -> None:
        debs = self.directory / "debs"
        self._apt("update", cwd=debs)
        self._apt("download", *names, cwd=debs)
        half = prefix.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        for name in names:
            deb = max(debs.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
            subprocess.run(["dpkg-deb", "-x", str(deb), str(half)], check=True)
        half.rename(prefix)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _apt(self, verb: str, *names: str, cwd: Path) -> None:
        sources = self.directory / "sources.list"
        sources.write_text(f"deb [signed-by={KEYRING}] {mirror()} {self.name} main\n")
        options = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State::Lists": self.directory / "lists",
            "Dir::Cache::archives": self.directory / "archives",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
        }
        settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        subprocess.run(["apt-get", "-qq", *settings, verb, *names], check=True, cwd=cwd)


def make_runnable(program: Path, release: Release, *libraries: str) -> None:
    """If this system's libc is too old for `program`, let it use its own release's.

    `libraries` are the packages it needs beside libc6 and libseccomp2. Runtimes start themselves again through /proc/self/exe, so a wrapper around the loader won't do: the file
    itself is made to name the other loader and library path.
    """
    if subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0:
        return
    prefix = release.unpack("libc6", "libseccomp2", *libraries)
    folder = next((prefix / "usr/lib").glob("*-linux-gnu*")).resolve()
    loader = next(path for path in folder.glob("ld-linux*"))
    change = ["--set-interpreter", str(loader), "--force-rpath", "--set-rpath", str(folder)]
    subprocess.run(["patchelf", *change, str(program)], check=True)
    subprocess.run([program, "--version"], capture_output=True, check=True)
