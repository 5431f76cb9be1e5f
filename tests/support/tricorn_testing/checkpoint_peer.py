"""A real containerd that dumps and restores containers, with `ctr` in its mount namespace."""

from __future__ import annotations

from collections.abc import Mapping

from tricorn_testing.containerd import Containerd
from tricorn_testing.criu import PREFIX
from tricorn_testing.ctr import Ctr


class CheckpointingContainerd(Containerd):
    """One that finds CRIU."""

    @property
    def environment(self) -> Mapping[str, str]:
        known = super().environment
        return {**known, "PATH": f"{PREFIX}/bin:{known['PATH']}"}

    def inside(self) -> Ctr:
        """Return `ctr` in the daemon's mount namespace, where the FIFOs of a restore are made."""
        assert self.process is not None
        wrapper = self.directory / "ctr"
        wrapper.write_text(
            f'#!/bin/sh\nexec nsenter --mount --target {self.process.pid} {self.ctr.program} "$@"\n'
        )
        wrapper.chmod(0o755)
        return Ctr(self.ctr.version, wrapper, self.address, self.ctr.namespace, self.directory / "fifos")
