"""Interfaces of network namespaces, bridges, pairs that lead to them. The only user of pyroute2.

pyroute2's core is asyncio. The host's interfaces change through AsyncIPRoute under trio-asyncio; for another
namespace a worker thread goes there and back, for a netlink socket belongs to the namespace it is made in.
It takes 10 MB and 0.2 s to load, and asyncio some more: that is done by a thread for whoever asks first.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
import trio
from attrs import frozen

from tricorn.errors import FailedPrecondition, PermissionDenied, TricornError, Unimplemented
from tricorn.runtime import links, netns, network_ipv6
from tricorn.runtime.links import Interface

if TYPE_CHECKING:
    import asyncio

    from pyroute2 import AsyncIPRoute, IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(4)
T = TypeVar("T")


async def interfaces(pid: int) -> tuple[Interface, ...]:
    """Return the interfaces of a process's network namespace: name, mac, up, addresses, mtu.

    NotFound when the process is gone.
    """
    return await trio.to_thread.run_sync(_look, netns.of_process(pid), links.interfaces, limiter=_LIMITER)


async def ensure_loopback(pid: int) -> bool:
    """Set `lo` up in a process's network namespace; return whether it was down. NotFound as above."""
    return await trio.to_thread.run_sync(_look, netns.of_process(pid), links.loopback_up, limiter=_LIMITER)


async def socket_inside(pid: int, family: int) -> socket.socket:
    """Return an unconnected TCP socket of a process's network namespace. NotFound as above."""
    return await trio.to_thread.run_sync(
        netns.visit,
        netns.of_process(pid),
        lambda: socket.socket(family, socket.SOCK_STREAM),
        limiter=_LIMITER,
    )


async def host_interfaces() -> tuple[Interface, ...]:
    """Return the interfaces of the agent's own network namespace."""
    try:
        return await trio.to_thread.run_sync(links.interfaces, limiter=_LIMITER)
    except OSError as error:
        raise _typed(error, "interfaces can't be listed") from error


# ------------------------------------------------------------ bridges and pairs
@frozen
class Bridge:
    """`addresses` with the lengths of their prefixes; `mtu` 0 is the kernel's default."""

    name: str
    addresses: tuple[str, ...]
    mac: str
    mtu: int = 0
    alias: str = ""


@frozen
class Plug:
    """What connects the network namespace at `netns` with a bridge: `interface` there, `host_interface` here.
    `addresses` with the lengths of their prefixes; `gateways` are the default routes, one of a family.
    """

    netns: str
    bridge: str
    host_interface: str
    interface: str
    addresses: tuple[str, ...]
    mac: str
    gateways: tuple[str, ...]
    mtu: int = 0


def link_exists(name: str) -> bool:
    """Return whether the agent's own network namespace has an interface. Doesn't load pyroute2."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def links_with(prefix: str) -> list[str]:
    """Return the interfaces whose names begin so. Doesn't load pyroute2."""
    return sorted(name for _, name in socket.if_nameindex() if name.startswith(prefix))


async def ensure_bridge(bridge: Bridge) -> None:
    """Make a bridge with its addresses, up, unless it is there. Unimplemented for a kernel without bridges,
    or without IPv6 if it has addresses of it; PermissionDenied for an agent without CAP_NET_ADMIN.
    """
    if any(map(network_ipv6.is_ipv6, bridge.addresses)):
        network_ipv6.need()
    await _on_host(f"bridge {bridge.name} can't be made", lambda route: _bridge(route, bridge))


async def plug(wanted: Plug) -> None:
    """Connect a namespace, in place of whatever connected it before: interfaces, loopback, default routes.
    NotFound for a namespace that isn't there; as `ensure_bridge`.
    """
    what = f"{wanted.host_interface} can't be made"
    await _on_host(what, lambda route: _pair(route, wanted))
    await trio.to_thread.run_sync(
        _inside, wanted.netns, lambda route: _configure(route, wanted), limiter=_LIMITER
    )


async def loopback_up(path: str) -> None:
    """Set `lo` up in the network namespace at `path`. NotFound."""
    await trio.to_thread.run_sync(_look, path, links.loopback_up, limiter=_LIMITER)


async def remove_link(name: str) -> bool:
    """Remove an interface, and the other end of a pair; return whether there was one."""
    if not link_exists(name):
        return False
    return await _on_host(f"interface {name} can't be removed", lambda route: _remove(route, name))


async def _on_host(what: str, work: Callable[[AsyncIPRoute], Awaitable[T]]) -> T:
    """Return what `work` does with a netlink socket of the agent's own namespace."""
    route_class, refusal = await trio.to_thread.run_sync(_pyroute2, limiter=_LIMITER)
    import trio_asyncio  # loaded by now

    results: list[T] = []

    async def attempt() -> Exception | None:
        try:
            async with route_class() as route:
                results.append(await work(route))
        except (refusal, OSError) as error:  # not to go through the loop's nurseries, which wrap it
            return error
        return None

    async with trio_asyncio.open_loop() as loop:
        # the default handler would cancel the whole Trio run for one bad message
        loop.set_exception_handler(_log_exception)
        error = await trio_asyncio.aio_as_trio(attempt)()
    if error is not None:
        raise _typed(error, what)
    return results[0]


def _pyroute2() -> tuple[type[AsyncIPRoute], type[NetlinkError]]:
    import trio_asyncio  # noqa: F401 - so that the loop doesn't have to wait for it
    from pyroute2 import AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    return AsyncIPRoute, NetlinkError


def _number(error: Exception) -> int:
    """Return the errno of an OSError, or of a NetlinkError, which isn't one."""
    return int(getattr(error, "code", None) or getattr(error, "errno", None) or 0)


def _typed(error: Exception, what: str) -> TricornError:
    number = _number(error)
    why = os.strerror(number)
    if number in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT}:
        return Unimplemented(what, why=why, hint="the kernel needs CONFIG_BRIDGE and CONFIG_VETH")
    if number == errno.EPERM:
        return PermissionDenied(what, why=why, hint="the agent needs CAP_NET_ADMIN")
    return FailedPrecondition(what, why=why)


async def _index(route: AsyncIPRoute, name: str) -> int:
    found: list[int] = list(await route.link_lookup(ifname=name))
    if not found:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return found[0]


async def _bridge(route: AsyncIPRoute, bridge: Bridge) -> None:
    if not link_exists(bridge.name):
        mtu = {"mtu": bridge.mtu} if bridge.mtu else {}
        await _unless_there(route.link("add", ifname=bridge.name, kind="bridge", address=bridge.mac, **mtu))
    index = await _index(route, bridge.name)
    with_ipv6 = any(map(network_ipv6.is_ipv6, bridge.addresses))
    network_ipv6.set_up(bridge.name, wanted=with_ipv6)
    for text in bridge.addresses:
        await _unless_there(route.addr("add", index=index, **network_ipv6.address_request(text)))
    alias = {"ifalias": bridge.alias} if bridge.alias else {}
    await route.link("set", index=index, state="up", **alias)
    if with_ipv6:
        await _unless_there(route.route("add", **network_ipv6.answers_to_loopback(index)))


async def _pair(route: AsyncIPRoute, wanted: Plug) -> None:
    if link_exists(wanted.host_interface):  # of a namespace that is gone, or half done
        await _remove(route, wanted.host_interface)
    mtu = {"mtu": wanted.mtu} if wanted.mtu else {}
    descriptor = os.open(wanted.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = {"ifname": wanted.interface, "address": wanted.mac, "net_ns_fd": descriptor, **mtu}
        await route.link("add", ifname=wanted.host_interface, kind="veth", peer=peer, **mtu)
    finally:
        os.close(descriptor)
    bridge = await _index(route, wanted.bridge)
    index = await _index(route, wanted.host_interface)
    await route.link("set", index=index, master=bridge, state="up")


async def _remove(route: AsyncIPRoute, name: str) -> bool:
    found = await route.link_lookup(ifname=name)
    return bool(found) and await _done_unless(errno.ENODEV, route.link("del", index=found[0]))


async def _unless_there(change: Awaitable[object]) -> None:
    await _done_unless(errno.EEXIST, change)


async def _done_unless(number: int, change: Awaitable[object]) -> bool:
    """Make a change; return False if it wasn't needed any more, as the kernel says by `number`."""
    try:
        await change
    except Exception as error:
        if _number(error) != number:
            raise
        return False
    return True


def _configure(route: IPRoute, wanted: Plug) -> None:
    """Set up what is inside the namespace."""
    with_ipv6 = any(map(network_ipv6.is_ipv6, wanted.addresses))
    if with_ipv6:
        network_ipv6.switch_on()
    links.loopback_up()
    network_ipv6.set_up(wanted.interface, wanted=with_ipv6)
    index = route.link_lookup(ifname=wanted.interface)[0]
    for text in wanted.addresses:
        route.addr("add", index=index, **network_ipv6.address_request(text))
    route.link("set", index=index, state="up")
    for gateway in wanted.gateways:
        route.route("add", dst="::/0" if network_ipv6.is_ipv6(gateway) else "0.0.0.0/0", gateway=gateway)


def _log_exception(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    log.warning("netlink trouble", why=str(context.get("exception") or context.get("message")))


def _look(path: str, work: Callable[[], T]) -> T:
    """Do `work` in the network namespace at `path`, for which nothing has to be loaded."""

    def typed() -> T:
        try:
            return work()
        except OSError as error:
            raise _typed(error, f"the network at {path} can't be seen or set up") from error

    return netns.visit(path, typed)


def _inside(path: str, work: Callable[[IPRoute], T]) -> T:
    """Do `work` with a netlink socket of the network namespace at `path`."""

    def with_route() -> T:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            with IPRoute() as route:
                return work(route)
        except (NetlinkError, OSError) as error:
            raise _typed(error, f"the network at {path} can't be set up") from None

    return netns.visit(path, with_route)
