"""A real containerd, unpacked beside the system, with everything of its own: root, state, socket, runtime.

It runs in a mount namespace of its own, for it and its shims keep sockets below /run/containerd whatever
they are told; so its mounts and those files go with its last process.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tricorn_testing import cgroups
from tricorn_testing.ctr import CACHE, RELEASES, Ctr, ctr_program
from tricorn_testing.packages import Release, make_runnable
from tricorn_testing.processes import kill_naming

RUNC = "bookworm"
_OWN_RUN = "mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && exec "
_TIMEOUT = 60.0


class Containerd:
    """One daemon below `directory`. `plugins` are TOML tables to add to its configuration."""

    def __init__(self, directory: Path, namespace: str, plugins: str = "", version: str = "1.6") -> None:
        self.directory = directory
        self._prefix = prefix_of(version)
        self.address = str(directory / "containerd.sock")
        self.log_file = directory / "containerd.log"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        self._config = directory / "config.toml"
        self._config.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\n  address = "{self.address}"\n[ttrpc]\n  address = "{self.address}.ttrpc"\n{plugins}\n'
        )
        self.ctr = Ctr(version, ctr_program(version), self.address, namespace, directory / "fifos")

    @property
    def environment(self) -> Mapping[str, str]:
        runc = Release(RUNC, CACHE / RUNC).unpack("runc")
        own = [prefix / part for prefix in (self._prefix, runc) for part in ("usr/bin", "usr/sbin")]
        return {**os.environ, "PATH": ":".join([*map(str, own), os.environ["PATH"]])}

    def start(self) -> None:
        program = self._prefix / "usr/bin/containerd"
        shell = f"{_OWN_RUN} {program} --config {self._config} --log-level warn"
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "slave", "sh", "-c", shell],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + _TIMEOUT
        while self.ctr.run("version", check=False).returncode:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def own_mounts(self) -> list[str]:
        """Return the mounts that it and its shims have made below its directory."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/mountinfo").read_text()
        return [line for line in text.splitlines() if f" {self.directory}/" in line]

    def stop(self) -> None:
        """End it and its shims."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        kill_naming(str(self.directory))


def prefix_of(version: str) -> Path:
    """Return where that version's files are, able to run here; raises as `ctr_program` does."""
    release = Release(RELEASES[version], CACHE / RELEASES[version])
    prefix = release.unpack("containerd")
    make_runnable(prefix / "usr/bin/containerd", release)
    return prefix


@contextmanager
def running_containerd(
    directory: Path, namespace: str, plugins: str = "", version: str = "1.6"
) -> Iterator[Containerd]:
    """Run one for the length of the context; its log is printed if the context fails. `namespace` is nobody
    else's: runtimes leave its control group, which is removed at the end.
    """
    daemon = Containerd(directory, namespace, plugins, version)
    try:
        daemon.start()
        yield daemon
    except BaseException:
        print(daemon.log[-6000:])
        raise
    finally:
        daemon.stop()
        cgroups.remove([path for path in cgroups.cgroups_naming(f"/{namespace}") if namespace in path.parts])
