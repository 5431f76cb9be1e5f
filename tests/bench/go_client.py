"""The Go client that asks every server the same, built once with Debian's own compiler and gRPC library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from containerd_peer import NAMESPACE

from tricorn_testing.packages import Release

SOURCE = Path(__file__).with_name("goclient")
GO = "go-1.19"
RELEASE = "bookworm"  # the compiler's; the program is static and runs anywhere
PACKAGES = (
    "golang-1.19-go", "golang-1.19-src", "golang-google-grpc-dev", "golang-google-genproto-dev",
    "golang-github-golang-protobuf-1-3-dev", "golang-golang-x-net-dev", "golang-golang-x-sys-dev",
    "golang-golang-x-text-dev",
)  # fmt: skip


@frozen
class GoClient:
    program: Path

    @classmethod
    def build(cls, work: Path) -> GoClient:
        """Compile the client into `work` unless it is newer than its source."""
        program, source = work / "goclient", SOURCE / "main.go"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            prefix = Release(RELEASE, work / RELEASE).unpack(*PACKAGES)
            root = prefix / "usr/lib" / GO
            environment = {
                **os.environ, "GO111MODULE": "off", "CGO_ENABLED": "0", "GOROOT": str(root),
                "GOPATH": str(prefix / "usr/share/gocode"), "GOCACHE": str(work / RELEASE / "cache"),
            }  # fmt: skip
            command = [str(root / "bin/go"), "build", "-o", str(program), "."]
            subprocess.run(command, cwd=SOURCE, env=environment, check=True)
        return cls(program)

    def _command(self, address: str, *words: object) -> list[str]:
        return [str(self.program), address, NAMESPACE, *map(str, words)]

    def _call(self, address: str, *words: object) -> dict[str, Any]:
        outcome = subprocess.run(
            self._command(address, *words), capture_output=True, text=True, check=False, timeout=300
        )
        if outcome.returncode:
            raise RuntimeError(f"goclient {' '.join(map(str, words))}: {outcome.stderr[-500:]}")
        document: dict[str, Any] = json.loads(outcome.stdout)
        return document

    def unary(
        self, address: str, path: str, request: bytes, count: int, concurrency: int = 1
    ) -> dict[str, Any]:
        """Return p50 and p99 in microseconds, and calls per second."""
        encoded = base64.b64encode(request).decode("ascii")
        return self._call(address, "unary", path, encoded, count, concurrency)

    def write(self, address: str, ref: str, size: int, chunk: int) -> tuple[float, str]:
        """Write a blob of `size` bytes, each message acknowledged; return the seconds and its digest."""
        document = self._call(address, "write", ref, size, chunk)
        return float(document["seconds"]), str(document["digest"])

    def read(self, address: str, digest: str, size: int) -> float:
        """Read a blob whole; return the seconds."""
        document = self._call(address, "read", digest)
        assert document["bytes"] >= size, document
        return float(document["seconds"])

    @contextlib.contextmanager
    def subscribed(self, address: str, count: int) -> Iterator[None]:
        """Hold `count` idle event streams."""
        client = subprocess.Popen(
            self._command(address, "subscribe", count),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert client.stderr is not None
            line = client.stderr.readline()
            if line.strip() != "subscribed":
                raise RuntimeError(f"goclient subscribe: {line}")
            yield
        finally:
            client.kill()
            client.communicate()
