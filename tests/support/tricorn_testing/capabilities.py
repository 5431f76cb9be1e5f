"""What this machine lacks for tests that need more than Python."""

from __future__ import annotations

import functools
import os
import shutil
import sys

from tricorn_testing.images import find_busybox

PROGRAMS = {
    "conmon": "conmon",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "htpasswd": "apache2-utils",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
}


@functools.cache
def missing_for(marker: str) -> str:
    """Return why tests under `marker` can't run here, "" if they can."""
    if marker == "root":
        return _missing_root()
    if marker in {"integration", "faults"}:
        return _missing_root() or _missing_programs()
    return ""


def _missing_root() -> str:
    if sys.platform != "linux":
        return f"needs Linux; this is {sys.platform}"
    return "" if os.geteuid() == 0 else "needs root: run `make test` as root"


def _missing_programs() -> str:
    packages = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if shutil.which("crun") is None and shutil.which("runc") is None:
        packages.append("crun")
    if find_busybox() is None:
        packages.append("busybox-static")
    return f"missing here: apt-get install {' '.join(packages)} (or `make setup`)" if packages else ""
