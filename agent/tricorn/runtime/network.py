"""The only user of pyroute2: what interfaces a network namespace has.

pyroute2's core is asyncio. The host's interfaces come through AsyncIPRoute under trio-asyncio; for another
namespace a worker thread goes there and back, for a netlink socket belongs to the namespace it is made in.
It takes 10 MB and 0.2 s to load, so that is done by a thread for whoever asks first.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
import trio
import trio_asyncio

from tricorn.errors import Internal, NotFound

if TYPE_CHECKING:
    from pyroute2 import AsyncIPRoute, IPRoute

log = structlog.get_logger(__name__)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000
_IFF_UP: Final = 1
_LOOPBACK_INDEX: Final = 1  # in every network namespace
_LIMITER: Final = trio.CapacityLimiter(4)
Interface = dict[str, Any]
T = TypeVar("T")


async def interfaces(pid: int) -> tuple[Interface, ...]:
    """Return the interfaces of a process's network namespace: name, mac, up, addresses, mtu.

    NotFound when the process is gone.
    """
    return await trio.to_thread.run_sync(_inside, pid, _list, limiter=_LIMITER)


async def ensure_loopback(pid: int) -> bool:
    """Set `lo` up in a process's network namespace; return whether it was down. NotFound as above."""
    return await trio.to_thread.run_sync(_inside, pid, _loopback_up, limiter=_LIMITER)


async def socket_inside(pid: int, family: int) -> socket.socket:
    """Return an unconnected TCP socket of a process's network namespace. NotFound as above."""
    return await trio.to_thread.run_sync(
        _visit, pid, lambda: socket.socket(family, socket.SOCK_STREAM), limiter=_LIMITER
    )


async def host_interfaces() -> tuple[Interface, ...]:
    """Return the interfaces of the agent's own network namespace."""
    route_class = await trio.to_thread.run_sync(_async_route, limiter=_LIMITER)
    async with trio_asyncio.open_loop() as loop:
        # the default handler would cancel the whole Trio run for one bad message
        loop.set_exception_handler(_log_exception)
        links, addresses = await trio_asyncio.aio_as_trio(_dump)(route_class)
    return _describe(links, addresses)


def _async_route() -> type[AsyncIPRoute]:
    from pyroute2 import AsyncIPRoute

    loaded: type[AsyncIPRoute] = AsyncIPRoute
    return loaded


async def _dump(route_class: type[AsyncIPRoute]) -> tuple[list[Any], list[Any]]:
    async with route_class() as route:
        links = [message async for message in await route.get_links()]
        addresses = [message async for message in await route.get_addr()]
    return links, addresses


def _log_exception(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    log.warning("netlink trouble", why=str(context.get("exception") or context.get("message")))


def _inside(pid: int, work: Callable[[IPRoute], T]) -> T:
    """Do `work` with a netlink socket of a process's network namespace."""

    def with_route() -> T:
        from pyroute2 import IPRoute

        with IPRoute() as route:
            return work(route)

    return _visit(pid, with_route)


def _visit(pid: int, work: Callable[[], T]) -> T:
    """Do `work` in a process's network namespace; this thread comes back after."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise NotFound(f"process {pid} has ended") from None
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            return work()
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise Internal("a network namespace can't be entered", why=os.strerror(error))


def _list(route: IPRoute) -> tuple[Interface, ...]:
    return _describe(route.get_links(), route.get_addr())


def _loopback_up(route: IPRoute) -> bool:
    link = next(iter(route.get_links(_LOOPBACK_INDEX)))
    if link["flags"] & _IFF_UP:
        return False
    route.link("set", index=_LOOPBACK_INDEX, state="up")
    return True


def _describe(links: Iterable[Any], addresses: Iterable[Any]) -> tuple[Interface, ...]:
    by_index: dict[int, list[str]] = {}
    for message in addresses:
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if message["family"] in {socket.AF_INET, socket.AF_INET6} and text:
            by_index.setdefault(message["index"], []).append(f"{text}/{message['prefixlen']}")
    return tuple(
        {
            "name": link.get_attr("IFLA_IFNAME"),
            "mac": link.get_attr("IFLA_ADDRESS") or "",
            "up": bool(link["flags"] & _IFF_UP),
            "mtu": link.get_attr("IFLA_MTU") or 0,
            "addresses": by_index.get(link["index"], []),
        }
        for link in links
    )
