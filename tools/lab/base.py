"""The file system that all nodes share: a Debian with systemd and sshd, built once per list of packages."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # Ansible brings it, its types are a package apart

from lab.topology import LabError

SUITE = "bookworm"  # with Python 3.11, the oldest that the agent runs on
OWN_PACKAGES = ["docker-registry", "iproute2", "openssh-server", "python3", "systemd-sysv"]
AGENT_ROLE = Path(__file__).parents[2] / "collections/ansible_containerd/roles/agent"
UNUSED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
# What would reach for the machine that the nodes are a part of, or waits for what they have not.
MASKED = [
    "apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "dev-hugepages.mount",
    "dev-mqueue.mount", "getty.target", "kmod-static-nodes.service", "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-logind.service",
    "systemd-modules-load.service", "systemd-pstore.service", "systemd-random-seed.service",
    "systemd-remount-fs.service", "systemd-sysctl.service", "systemd-timesyncd.service",
    "systemd-udev-trigger.service", "systemd-udevd.service", "systemd-update-utmp.service",
]  # fmt: skip
ENABLED = "multi-user.target.wants/docker-registry.service"  # the business of one node alone
SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
MaxSessions 50
MaxStartups 100
"""


def base_directory(cache: Path) -> Path:
    """Return the directory of the file system below `cache`, built now (about a minute) if it isn't there.

    LabError with mmdebstrap's words when it can't be built. Safe beside another process that does the same.
    """
    path = cache / f"base-{_key()}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "base.lock"):
        if not path.exists():
            half = path.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            _build(half)
            _finish(half)
            half.rename(path)
    return path


def packages() -> list[str]:
    """Return what the nodes have installed: the agent's packages too, for no node reaches a mirror."""
    defaults = yaml.safe_load((AGENT_ROLE / "defaults/main.yml").read_text())
    return sorted({*OWN_PACKAGES, *defaults["agent_packages"]})


def is_built(cache: Path) -> bool:
    return (cache / f"base-{_key()}").exists()


def _key() -> str:
    parts = [SUITE, *packages(), *UNUSED, *MASKED, ENABLED, SSHD]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target: Path) -> None:
    """Run mmdebstrap in mounts of its own, so that it leaves none whatever happens to it."""
    excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in UNUSED]
    command = [
        "unshare", "--mount", "--", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
        f"--include={','.join(packages())}", '--aptopt=Acquire::Retries "3"',
        '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io", *excluded, SUITE, str(target),
    ]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=600,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise LabError("mmdebstrap isn't installed here", "make setup") from None
    if done.returncode:
        raise LabError(f"mmdebstrap couldn't build the nodes' system: {done.stderr.strip()[-1500:]}")


def _finish(target: Path) -> None:
    units = target / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / ENABLED).unlink(missing_ok=True)
    for key in target.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    (target / "etc/ssh/sshd_config").write_text(SSHD)
    (target / "etc/machine-id").write_text("")
    (target / "etc/resolv.conf").write_text("")
