"""Debian's docker-registry on a free loopback port, and a small client that pushes layouts to it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from tricorn_testing.images import ImageLayout

CONFIG = """\
version: 0.1
log: {{level: {level}, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: {deletes}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "{address}", secret: not-a-secret}}
"""
MANIFEST_TYPES = ", ".join(  # noqa: FLY002 - one line a type reads best
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)
_SHARE = 10_000
_PORTS = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port that nobody listens at, and that nobody else takes meanwhile: below those that the kernel gives
    to connections, and of this test process's own share of them.
    """
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
    for _ in range(_SHARE):
        port = 10_000 + share * _SHARE + next(_PORTS) % _SHARE
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("every port is taken")


@frozen
class Registry:
    """A registry that answers on `address` (host:port), plain HTTP, no password."""

    address: str
    process: int = 0  # its id, of those that were started here

    def push(self, layout: ImageLayout, tag: str, name: str) -> str:
        """Push what `tag` names in the layout as `name` (repository:tag).

        Return the reference that pulls it. Blobs go first, then manifests from the leaves up.
        """
        repository, _, remote_tag = name.rpartition(":")
        index = json.loads((layout.path / "index.json").read_text())
        entry = next(
            item
            for item in index["manifests"]
            if item["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        self._push_document(layout, repository, entry, remote_tag)
        return f"{self.address}/{name}"

    def _push_document(
        self, layout: ImageLayout, repository: str, entry: Mapping[str, Any], reference: str
    ) -> None:
        document = layout.document(entry["digest"])
        for child in document.get("manifests", []):
            self._push_document(layout, repository, child, child["digest"])
        for blob in [*document.get("layers", []), *([document["config"]] if "config" in document else [])]:
            self._push_blob(layout, repository, blob["digest"])
        data = layout.blob(entry["digest"]).read_bytes()
        path = f"/v2/{repository}/manifests/{reference}"
        self.request("PUT", path, data, {"Content-Type": entry["mediaType"]}, expect=201)

    def _push_blob(self, layout: ImageLayout, repository: str, digest: str) -> None:
        status, _, _ = self.request("HEAD", f"/v2/{repository}/blobs/{digest}")
        if status == 200:
            return
        _, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"", expect=202)
        target = urlsplit(headers["location"])
        path = f"{target.path}?{target.query}&digest={digest}"
        binary = {"Content-Type": "application/octet-stream"}
        self.request("PUT", path, layout.blob(digest).read_bytes(), binary, expect=201)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        expect: int | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; returns status, lower-case headers, body. RuntimeError if not `expect`."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if expect is not None and answer.status != expect:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, data

    def digest(self, name: str) -> str:
        """Return the digest that the registry gives for repository:tag."""
        repository, _, tag = name.rpartition(":")
        path = f"/v2/{repository}/manifests/{tag}"
        _, headers, _ = self.request("HEAD", path, headers={"Accept": MANIFEST_TYPES}, expect=200)
        return headers["docker-content-digest"]

    def answers(self) -> bool:
        try:
            return self.request("GET", "/v2/")[0] == 200
        except OSError:
            return False


def write_config(directory: Path, address: str, level: str = "error", *, deletes: bool = True) -> Path:
    """Write a registry's configuration below `directory`, with its storage there; return the file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "registry.yml"
    text = CONFIG.format(
        level=level, storage=directory / "storage", address=address, deletes=str(deletes).lower()
    )
    file.write_text(text)
    return file


def registry_program() -> str:
    program = shutil.which("docker-registry")
    if program is None:
        raise FileNotFoundError("docker-registry is not installed: apt-get install docker-registry")
    return program


def wait_for(registry: Registry, timeout: float = 15.0) -> None:
    """Return once the registry answers; TimeoutError otherwise."""
    deadline = time.monotonic() + timeout
    while not registry.answers():
        if time.monotonic() > deadline:
            raise TimeoutError(f"docker-registry doesn't answer on {registry.address}")
        time.sleep(0.05)


@contextlib.contextmanager
def running_registry(directory: Path, *, deletes: bool = True) -> Iterator[Registry]:
    """Run a registry with its data in `directory` for the length of the context."""
    address = f"127.0.0.1:{free_port()}"
    config = write_config(directory, address, deletes=deletes)
    with open(directory / "registry.log", "wb") as log:
        command = [registry_program(), "serve", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    registry = Registry(address, process.pid)
    try:
        wait_for(registry)
        yield registry
    finally:
        process.kill()
        process.wait()
