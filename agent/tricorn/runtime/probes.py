"""Probes into a container's network: a socket made there, used from here."""

from __future__ import annotations

import socket
from typing import Final

import h11
import trio

from tricorn import limits
from tricorn.errors import TricornError
from tricorn.rules.health import Target
from tricorn.runtime.network import socket_inside

_READ: Final = 4096


async def probe(pid: int, target: Target) -> str | None:
    """Connect, and for a path ask it by GET; return what was wrong, None if all was well.

    `pid` is a process of the container. The caller bounds the time.
    """
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    try:
        with trio.socket.from_stdlib_socket(await socket_inside(pid, family)) as connection:
            await connection.connect((target.host, target.port))
            return await _get(connection, target) if target.path else None
    except TricornError as error:
        return error.one_line()
    except OSError as error:
        return f"{target.host}:{target.port}: {error.strerror or error}"
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
        return f"GET {target.path}: {error}"


async def _get(connection: trio.socket.SocketType, target: Target) -> str | None:
    stream = trio.SocketStream(connection)
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEADERS)
    headers = [("Host", f"{target.host}:{target.port}"), ("Connection", "close"), ("User-Agent", "tricorn")]
    request = http.send(h11.Request(method="GET", target=target.path, headers=headers))
    await stream.send_all((request or b"") + (http.send(h11.EndOfMessage()) or b""))
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(_READ))
        elif isinstance(event, h11.Response):
            well = 200 <= event.status_code < 400
            return None if well else f"GET {target.path} was answered with {event.status_code}"
        elif not isinstance(event, h11.InformationalResponse):
            return f"GET {target.path} was not answered"
