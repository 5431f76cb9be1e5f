"""A read-only registry over an image layout that counts what is taken from it, and may take its time."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tricorn_testing.images import ImageLayout


class CountingRegistry:
    """Serves every blob of `layout` under every repository, and its tags. `blobs` counts whole answers to GET
    by digest; `seconds` is what each blob takes at least.
    """

    def __init__(self, layout: ImageLayout, *, seconds: float = 0.0) -> None:
        self.layout = layout
        self.seconds = seconds
        self.blobs: Counter[str] = Counter()
        self.address = ""

    def reference(self, name: str) -> str:
        return f"{self.address}/{name}"

    def answer(self, path: str, *, head: bool) -> tuple[int, str, str, bytes]:
        """Return status, media type, digest and body."""
        *_, kind, which = path.partition("?")[0].split("/")
        entries = json.loads((self.layout.path / "index.json").read_text())["manifests"]
        if kind == "manifests" and ":" not in which:
            found = [e for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == which]
            if not found:
                return 404, "application/json", "", b"{}"
            which = found[0]["digest"]
        file = self.layout.blob(which)
        if not file.exists():
            return 404, "application/json", "", b"{}"
        data = file.read_bytes()
        media_type = "application/octet-stream"
        if kind == "manifests":
            media_type = json.loads(data)["mediaType"]
        if not head:
            self.blobs[which] += 1
            if kind == "blobs":
                time.sleep(self.seconds)
        return 200, media_type, which, data


@contextmanager
def counting_registry(layout: ImageLayout, *, seconds: float = 0.0) -> Iterator[CountingRegistry]:
    """Run one on a free loopback port, plain HTTP."""
    registry = CountingRegistry(layout, seconds=seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(head=False)

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def _answer(self, *, head: bool) -> None:
            status, media_type, digest, body = registry.answer(self.path, head=head)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if digest:
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()
            if not head:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
