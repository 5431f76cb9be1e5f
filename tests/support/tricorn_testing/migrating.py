"""Two agents that move containers between each other, with a wire between them that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, frozen

from tricorn_testing.certificates import Certificates, issue, make_certificates
from tricorn_testing.criu import criu_config, need_criu
from tricorn_testing.daemon import Daemon
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import free_port

NS = "default"


class Wire:
    """A TCP proxy on loopback. `cut` ends all connections and lets none begin until `mend`; with `after` it
    is cut as soon as so many bytes have gone to the target.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._whole = True
        self._left: int | None = None
        self._deaf = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._whole = False
            self._left = None
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def cut_after(self, count: int) -> None:
        """Cut it once the target has been sent `count` more bytes."""
        self._left = count

    def mend(self) -> None:
        self._whole = True
        self._left = None

    def close(self) -> None:
        self.cut()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if not self._whole:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=30)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open += [client, server]
            for source, sink, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._copy, args=(source, sink, counted), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted and self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0:
                        self.cut()
                        break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open = [each for each in self._open if each not in (source, sink)]
        source.close()


@define
class Pair:
    """`source` knows `target` as the node `there`, through `wire`."""

    source: Daemon
    target: Daemon
    wire: Wire
    certificates: Certificates
    port: int

    @property
    def both(self) -> tuple[Daemon, Daemon]:
        return self.source, self.target

    def migrate(self, name: str, *, timeout: float = 60.0, **wanted: Any) -> dict[str, Any]:
        path = f"/v1/{NS}/containers/{name}/migrate"
        return dict(self.source.post(path, {"to": "there", **wanted}, timeout=timeout))

    def migrations(self, agent: Daemon) -> list[dict[str, Any]]:
        return list(agent.get(f"/v1/{NS}/migrations")["items"])

    def status(self, agent: Daemon, name: str) -> str:
        """Return the status of a container there, "" for none."""
        for item in agent.get(f"/v1/{NS}/containers")["items"]:
            if item["id"] == name:
                return str((item["task"] or {}).get("status", "created"))
        return ""


@frozen
class _Place:
    directory: Path
    name: str
    port: int
    criu: str = ""


def _config(place: _Place, certificates: Certificates, more: str) -> str:
    files = certificates.file
    return f"""cgroup = "/{place.directory.name}"
{criu_config(place.directory, place.criu)}
[peers]
listen = "127.0.0.1:{place.port}"
certificate = "{files(f"{place.name}.crt")}"
key = "{files(f"{place.name}.key")}"
client_ca = "{certificates.ca}"
{more}"""


@contextlib.contextmanager
def migrating_pair(
    rule: str = "", *, criu: str = "", source_criu: str = "", source_runc: str = ""
) -> Iterator[Pair]:
    """Run two agents for the length of the context, or skip where containers can't be dumped. `rule` is what
    the target grants besides names for images, `criu` a program that it runs instead of CRIU itself; the source
    has others.
    """
    need_criu()
    with contextlib.ExitStack() as stack:
        directories = [stack.enter_context(short_directory()) for _ in range(3)]
        certificates = make_certificates(directories[2] / "pki")
        for name in ("here", "there", "stranger"):
            issue(certificates, name, f"DNS:{name}.example,IP:127.0.0.1")
        ports = free_port(), free_port()
        wire = Wire(ports[1])
        stack.callback(wire.close)
        source = _config(
            _Place(directories[0], "here", ports[0], source_criu), certificates,
            f'patience = 1.0\n[peers.nodes]\nthere = "127.0.0.1:{wire.port}"\n'
            + (f'[runtimes.paths]\nrunc = "{source_runc}"\n' if source_runc else ""),
        )  # fmt: skip
        target = _config(
            _Place(directories[1], "there", ports[1], criu), certificates,
            '[[peers.migrations]]\nnames = ["here.example"]\nimages = true\n' + rule,
        )  # fmt: skip
        agents = [
            Daemon(directory, config=config)
            for directory, config in zip(directories, (source, target), strict=False)
        ]
        try:
            for agent in agents:
                stack.callback(agent.clean_up)
                agent.start()
            yield Pair(agents[0], agents[1], wire, certificates, ports[1])
        except BaseException:
            for agent in agents:
                print(agent.log[-6000:])
            raise
