"""What standard tools take for the same work, without a daemon, a database or a snapshot: curl alone for a push, one
pipe for each layer of a pull. All layers are under way at once.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

from rig import CpuMeter
from shapes import Shape

from tricorn_testing.registry import Registry

UPLOADS: Final = "curl, the blobs alone"
PIPES: Final = "curl, sha256sum, tar"
_CURL: Final = ("curl", "-sSf", "-o", "/dev/null")
# to the disk, as every side does it, and on: two digests, as every side makes them
_PIPE: Final = """set -e -o pipefail
mkdir "$2"
curl -sSf "$1" | tee "$2.blob" >(sha256sum >/dev/null) | $3 | tee >(sha256sum >/dev/null) |
    tar -x --numeric-owner -f - -C "$2"
wait
"""
_UNPACKERS: Final = {"gzip": "igzip -dc", "zstd": "zstd -dcq"}


class PlainClient:
    """A client that knows what it has to send, and looks at nothing of it."""

    def __init__(self) -> None:
        self.meter = CpuMeter("tricorn-bench-curl")

    def push(self, shape: Shape, base: str) -> None:
        """Upload the packed layers into the repository at `base`, an URL. CalledProcessError if one fails."""
        self._side_by_side([self._upload(blob, base) for blob in shape.blobs()])

    def pull(self, shape: Shape, registry: Registry, place: Path) -> None:
        """Unpack each layer into a directory of its own in `place`, which is made. Raises as `push`."""
        place.mkdir()
        unpack = _UNPACKERS[shape.compression]
        self._side_by_side([
            self.meter.wrap(["bash", "-c", _PIPE, "bash", url, str(place / str(number)), unpack])
            for number, url in enumerate(shape.addresses(registry))
        ])  # fmt: skip

    def _side_by_side(self, commands: list[list[str]]) -> None:
        running = [subprocess.Popen(command) for command in commands]
        for process in running:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)

    def _upload(self, blob: Path, base: str) -> list[str]:
        begin = [*_CURL, "-X", "POST", "-w", "%header{location}", f"{base}/blobs/uploads/"]
        place = urljoin(base, subprocess.run(begin, check=True, capture_output=True, text=True).stdout)
        url = f"{place}{'&' if '?' in place else '?'}digest=sha256:{blob.name}"
        kind = ["-H", "Content-Type: application/octet-stream", "-H", "Expect:"]
        return self.meter.wrap([*_CURL, *kind, "-T", str(blob), url])
