"""The agent as a process: one per root, told what to do by signals, watched by systemd."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog
import trio
from attrs import frozen

import tricorn
from tricorn import failpoints, logs, memory
from tricorn.api.access import build_authoriser
from tricorn.api.grpc.door import GrpcDoor
from tricorn.api.http.site import HttpApi
from tricorn.api.listen import Listener
from tricorn.api.metrics import Metrics
from tricorn.api.socketfile import inherit, listen
from tricorn.app import Agent, open_agent
from tricorn.config import LIVE_KEYS, Config, changed_keys
from tricorn.directories import prepare_directories, root_lock
from tricorn.errors import TricornError
from tricorn.systemd import Systemd

if TYPE_CHECKING:
    from tricorn.api.registry.migrations import MigrationSite
    from tricorn.api.registry.serving import PeerRegistry

log = structlog.get_logger(__name__)
Reload = Callable[[], Config]
_YOUNG = 5000  # objects between two looks at the youngest ones; 700, as usual, are a few requests' own


def run(config: Config, reload: Reload) -> int:
    """Run an agent in this process until a signal ends it; return the exit status."""
    os.umask(0o077)
    memory.use_few_arenas()
    failpoints.arm(os.environ)
    systemd = Systemd(os.environ)
    logs.configure(config.log_level, config.log_format)
    prepare_directories(config.root, config.state)
    os.chdir(config.state)  # monitors leave notes (conmon's `oom`) in their working directory
    with root_lock(config.root):
        trio.run(serve, config, reload, systemd, strict_exception_groups=True)
    return 0


async def serve(config: Config, reload: Reload, systemd: Systemd) -> None:
    """Open the agent, bring it up to date, open the doors, and wait for a signal."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(open_agent(config, dict(os.environ)))
            doors = await stack.enter_async_context(open_doors(config, agent, systemd))
            systemd.notify(STATUS="recovering")
            await agent.recovery.run()
            await agent.services.migrations.recover()
            nursery = await stack.enter_async_context(trio.open_nursery())
            if config.gc.schedule:
                await nursery.start(agent.collector.run)
            if config.scrub.enabled:
                await nursery.start(agent.services.scrub.run)
            nursery.start_soon(systemd.feed_watchdog)
            nursery.start_soon(agent.figures.keep_fresh)
            nursery.start_soon(agent.restarter.run)
            nursery.start_soon(agent.services.migrations.run)
            nursery.start_soon(agent.services.health.run)
            peers = await stack.enter_async_context(open_peers(config, agent))
            settle_memory()
            doors.ready.set()
            systemd.notify(READY="1", STATUS="serving")
            log.info("ready", version=tricorn.__version__, socket=config.socket_path, root=config.root)
            await obey(received, config, reload, agent, doors, peers, systemd)
            nursery.cancel_scope.cancel()
        log.info("stopped")


def settle_memory() -> None:
    """Spare collections of cyclic garbage what stays for the agent's life: modules, and what was set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
    memory.give_back()


@frozen
class Doors:
    """Both ways in; they answer `not ready` until `ready` is set."""

    http: HttpApi
    grpc: GrpcDoor
    ready: trio.Event

    def authorise(self, config: Config) -> None:
        """Put the configuration's access rules into force."""
        authoriser = build_authoriser(config.access, config.socket_group)
        self.http.authoriser = self.grpc.authoriser = authoriser


@asynccontextmanager
async def open_doors(config: Config, agent: Agent, systemd: Systemd) -> AsyncIterator[Doors]:
    """Serve both APIs on the agent's socket, or on those that systemd has opened."""
    ready = trio.Event()
    metrics = Metrics(agent.services.node.statistics, version=tricorn.__version__)
    metrics.containers = agent.services.samples.take
    keeper = memory_keeper(agent)

    def noticed() -> None:
        agent.tidier.noticed()
        keeper.noticed()

    metrics.noticed = noticed
    authoriser = build_authoriser(config.access, config.socket_group)
    http = HttpApi(
        agent.services,
        authoriser=authoriser,
        metrics=metrics,
        ready=ready.is_set,
        version=tricorn.__version__,
    )
    grpc = GrpcDoor(agent.services, authoriser=authoriser, metrics=metrics, ready=ready)
    if systemd.listen_fds:
        sockets = inherit(systemd.listen_fds)
    else:
        sockets = [listen(config.socket_path, config.socket_group)]
    listener = Listener(sockets, http1_handler=http, http2_handler=grpc)
    metrics.watch("listener", listener.statistics)
    metrics.watch("restarts", agent.restarter.statistics)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        nursery.start_soon(keeper.run)
        try:
            yield Doors(http, grpc, ready)
        finally:
            with trio.CancelScope(shield=True):
                await listener.stop()
            nursery.cancel_scope.cancel()


def memory_keeper(agent: Agent) -> memory.MemoryKeeper:
    """Return what gives memory back once nothing long is under way."""
    content, extractor = agent.workers.content, agent.workers.extractor

    def busy() -> bool:
        running = agent.services.operations.running() + extractor.statistics()["running"]
        return bool(content.active) or running > 0

    return memory.MemoryKeeper(busy, [agent.workers.registry.forget_buffers])


@asynccontextmanager
async def open_peers(config: Config, agent: Agent) -> AsyncIterator[PeerRegistry | None]:
    """Serve other nodes, where the configuration says so; it takes no memory where it doesn't."""
    if not config.peers.listen:
        yield None
        return
    from tricorn.api.registry.serving import open_peer_registry

    async with AsyncExitStack() as stack:
        node = agent.services.node
        try:
            registry = await stack.enter_async_context(
                open_peer_registry(config.peers, agent.peers, arrivals_of(config, agent))
            )
        except TricornError as error:  # a certificate that has expired must not take the containers along
            why = {"listen": config.peers.listen, "error": error.one_line()}
            log.error("other nodes are not served", **why)
            node.facts["peers"] = lambda: why
            yield None
            return
        node.facts["peers"] = registry.facts
        node.watch("peers", registry.door.statistics)
        yield registry


def arrivals_of(config: Config, agent: Agent) -> MigrationSite | None:
    """Return what answers nodes that bring containers, where any may."""
    if not config.peers.migrations:
        return None
    from tricorn.api.registry.migrations import MigrationSite

    return MigrationSite(agent.services.migrations, config.peers.migrations)


async def obey(
    received: AsyncIterator[int],
    config: Config,
    reload: Reload,
    agent: Agent,
    doors: Doors,
    peers: PeerRegistry | None,
    systemd: Systemd,
) -> None:
    """Return at the first SIGTERM or SIGINT; read the configuration, the image policy and the certificates
    for other nodes again at each SIGHUP. A policy that has become unusable closes its gate, while a bad
    configuration changes nothing.
    """
    async for number in received:
        if number != signal.SIGHUP:
            log.info("stopping", signal=signal.Signals(number).name)
            systemd.notify(STOPPING="1", STATUS="stopping")
            return
        systemd.notify(STATUS="reloading")
        config = await apply_reload(config, reload, doors)
        await agent.services.policy.load(config.policy.file)
        if peers is not None:
            await peers.reload()
        systemd.notify(STATUS="serving")


async def apply_reload(config: Config, reload: Reload, doors: Doors) -> Config:
    """Put a valid new configuration into force; a bad one is refused and the old one stays."""
    try:
        new = await trio.to_thread.run_sync(reload)
    except TricornError as error:
        log.error("configuration refused, the old one stays", error=error.one_line())
        return config
    changed = changed_keys(config, new)
    logs.configure(new.log_level, new.log_format)
    doors.authorise(new)
    waiting = [key for key in changed if key not in LIVE_KEYS]
    log.info("configuration reloaded", changed=changed, needs_restart=waiting)
    return new
