"""What this node is and can do, each missing thing with its reason and remedy."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

import tricorn
from tricorn.model.oci import Platform
from tricorn.ports import Capability, Checkpointer, CriuInfo, Runtime, RuntimeInfo
from tricorn.runtime.kernel import kernel_capabilities
from tricorn.runtime.network import host_interfaces
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database

_CAP_SYS_RESOURCE = 24
_DIRTY, _LAZY = "mem_dirty_track", "uffd-noncoop"  # of `criu check --feature`
_LIMITER = trio.CapacityLimiter(1)
_FRESH = 10.0  # seconds that a look at the kernel counts: modules and limits change, but seldom


class NodeService:
    """`probes` are the workers' own looks at the host, by name."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        snapshots: SnapshotService,
        paths: Mapping[str, str],
        machine: Platform,
        cgroup_mode: str,
        sources: Mapping[str, Callable[[], Mapping[str, Any]]],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self._checkpointer = checkpointer
        self._db = db
        self._runtime = runtime
        self._snapshots = snapshots
        self._paths = paths
        self._machine = machine
        self._cgroup_mode = cgroup_mode
        self._sources = sources
        self._started = time.monotonic()
        self._kernel: list[Capability] = []
        self._looked = float("-inf")
        self.facts: dict[str, Callable[[], Mapping[str, Any]]] = {}  # more of `info`, by its name

    async def version(self) -> dict[str, Any]:
        """Return the agent's version and that of its API."""
        return {
            "version": tricorn.__version__,
            "api": "1",
            "python": platform.python_version(),
            "revision": os.environ.get("TRICORN_REVISION", ""),
        }

    async def info(self) -> dict[str, Any]:
        """Return what the node has: runtimes, snapshotters, capabilities, interfaces, figures."""
        runtimes = await self._runtime.capabilities()
        snapshotters = [await self._snapshotter(name) for name in self._snapshots.names]
        return {
            "version": tricorn.__version__,
            **self._paths,
            "platform": str(self._machine),
            "kernel": platform.release(),
            "cgroup": self._cgroup_mode,
            "namespaces": [ns.name for ns in await self._db.read(lambda tx: tx.namespaces.list())],
            "runtimes": [attrs.asdict(item) for item in runtimes.values()],
            "snapshotters": snapshotters,
            "capabilities": [attrs.asdict(item) for item in await self._capabilities(runtimes)],
            "interfaces": await host_interfaces(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "statistics": self.statistics(),
            **{name: dict(fact()) for name, fact in self.facts.items()},
        }

    async def _capabilities(self, runtimes: Mapping[str, RuntimeInfo]) -> list[Capability]:
        if time.monotonic() - self._looked >= _FRESH:
            self._kernel = await trio.to_thread.run_sync(kernel_capabilities, limiter=_LIMITER)
            self._looked = time.monotonic()
        found = [*host_capabilities(), *self._kernel]
        if self._checkpointer:
            criu = await self._checkpointer.criu()
            found += [_checkpoint(criu, runtimes), *_dirty_memory(criu), *_lazy_restore(criu, runtimes)]
        return found

    async def _snapshotter(self, name: str) -> dict[str, Any]:
        reason = await self._snapshots.backend(name).supported()
        return {
            "name": name,
            "usable": not reason,
            "reason": reason,
            "default": name == self._snapshots.default,
        }

    def watch(self, name: str, statistics: Callable[[], Mapping[str, Any]]) -> None:
        """Take the figures of one more part of the agent in."""
        self._sources = {**self._sources, name: statistics}

    def statistics(self) -> dict[str, Any]:
        """Return the figures of every part of the agent, by part."""
        return {name: dict(source()) for name, source in self._sources.items()}


def host_capabilities() -> list[Capability]:
    """Look at what containers here can and can't be given."""
    return [_sys_resource(), _python()]


def _sys_resource() -> Capability:
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    if effective >> _CAP_SYS_RESOURCE & 1:
        return Capability("rlimits", available=True)
    return Capability(
        "rlimits",
        available=False,
        reason="the agent lacks CAP_SYS_RESOURCE, so limits above its own hard limits can't be set",
        hint="run the agent with full root capabilities; until then higher limits are lowered with a warning",
    )


def _python() -> Capability:
    return Capability(
        "python", available=True, details={"version": platform.python_version(), "path": sys.executable}
    )


def _dirty_memory(criu: CriuInfo) -> list[Capability]:
    """Return whether memory that was written to can be told from the rest; CRIU has tried it."""
    if not criu.usable:
        return []
    if _DIRTY in criu.features:
        return [Capability("dirty-memory", available=True)]
    reason = "this kernel doesn't track dirty memory, so migrations send all of it while the container stands"
    hint = "a kernel with CONFIG_MEM_SOFT_DIRTY"
    return [Capability("dirty-memory", available=False, reason=reason, hint=hint)]


def _lazy_restore(criu: CriuInfo, runtimes: Mapping[str, RuntimeInfo]) -> list[Capability]:
    """Return whether containers can be restored before their memory is there."""
    if not criu.usable:
        return []
    able = sorted(name for name, info in runtimes.items() if info.usable and info.flavour == "runc")
    if _LAZY not in criu.features:
        reason, hint = f"`criu check --feature {_LAZY}` fails", "a kernel with CONFIG_USERFAULTFD"
    elif not able:
        reason, hint = "of the OCI runtimes only runc can", "install runc"
    else:
        return [Capability("lazy-restore", available=True, details={"runtimes": able})]
    return [Capability("lazy-restore", available=False, reason=reason, hint=hint)]


def _checkpoint(criu: CriuInfo, runtimes: Mapping[str, RuntimeInfo]) -> Capability:
    """Return whether containers can be dumped here, by which CRIU, and those of which runtimes."""
    able = sorted(name for name, info in runtimes.items() if info.usable and "criu" in info.features)
    reason, hint = criu.reason, criu.hint
    if criu.usable and not able:
        reason = "no runtime of this node was built with CRIU"
        hint = "install runc, or a crun whose version says +CRIU"
    details = {
        "path": criu.path, "version": criu.version, "runtimes": able,
        "features": list(criu.features), "missing": list(criu.missing),
    }  # fmt: skip
    return Capability("checkpoint", criu.usable and bool(able), reason, hint, details)
