"""What the agent is made of, as containerd's clients ask for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import Factory, frozen

import tricorn
from tricorn.errors import NotFound, Unimplemented
from tricorn.fs.identity import installation_uuid
from tricorn.model.filters import select
from tricorn.model.oci import Platform
from tricorn.ports import Runtime
from tricorn.rules.plugins import SNAPSHOTTER_TYPE, Plugin, catalogue
from tricorn.rules.runtime_names import RUNC_SHIM, runtime_for
from tricorn.runtime.features import features_document
from tricorn.service.snapshots import SnapshotService


@frozen
class ServerIdentity:
    """`uuid` is the installation's; `pid_namespace` is the inode of the process namespace."""

    uuid: str
    pid: int
    pid_namespace: int


@frozen
class RuntimeView:
    """A runtime under the name it was asked for by; `features` is the OCI document, empty if it has none."""

    name: str
    version: str
    features: Mapping[str, Any] = Factory(dict)
    annotations: Mapping[str, str] = Factory(dict)


class IntrospectionService:
    def __init__(
        self,
        root: str,
        machine: Platform,
        snapshots: SnapshotService,
        runtime: Runtime,
        environment: Mapping[str, str],
    ) -> None:
        self._root = root
        self._machine = machine
        self._snapshots = snapshots
        self._runtime = runtime
        self._environment = environment
        self._uuid = ""
        self._parts: dict[tuple[str, ...], tuple[Plugin, ...]] = {}  # by the services offered: one door's
        self._features: dict[tuple[str, int], Mapping[str, Any]] = {}  # a few runtimes, each once

    async def server(self) -> ServerIdentity:
        self._uuid = self._uuid or await installation_uuid(self._root)
        return ServerIdentity(self._uuid, os.getpid(), os.stat("/proc/self/ns/pid").st_ino)

    async def plugins(self, served: tuple[str, ...], filters: Sequence[str] = ()) -> list[Plugin]:
        """Return the agent's parts that match any filter; `served` are the gRPC services it offers."""
        if served not in self._parts:
            self._parts[served] = tuple(catalogue(self._machine, served))
        parts = [*self._parts[served]]
        parts += [await self._snapshotter(name) for name in self._snapshots.names]
        return select(filters, sorted(parts, key=lambda part: (part.type, part.id)))

    async def plugin(self, served: tuple[str, ...], type: str, id: str) -> Plugin:
        """Return one part; NotFound."""
        for part in await self.plugins(served):
            if (part.type, part.id) == (type, id):
                return part
        raise NotFound(f"there is no plugin {type}.{id}")

    async def _snapshotter(self, name: str) -> Plugin:
        backend = self._snapshots.backend(name)
        reason = await backend.supported()
        # Layers side by side, each put on its parent when it is committed: clients unpack so if they may.
        capabilities = ["rebase"] if backend.layer_root("probe") else []
        if not reason and not await self._snapshots.unmapped(name):
            capabilities.append("remap-ids")  # clients leave other owners of files to labels
        return Plugin(
            SNAPSHOTTER_TYPE,
            name,
            platforms=(self._machine,),
            capabilities=tuple(capabilities),
            exports={"root": os.path.join(self._root, "snapshots", name)},
            init_error=f"{reason}: skip plugin" if reason else "",
        )

    async def runtime(self, name: str, binary: str = "") -> RuntimeView:
        """Look at a runtime by the name that containerd's clients have for it; "" is their default.

        Unimplemented for one that isn't here.
        """
        known = await self._runtime.capabilities()
        wanted = runtime_for(name or RUNC_SHIM, binary, {key: info.path for key, info in known.items()})
        default = next((info for info in known.values() if "default" in info.features), None)
        info = known[wanted] if wanted else default
        if info is None:
            raise Unimplemented("no OCI runtime can be used on this node", hint="install crun or runc")
        return RuntimeView(
            name or RUNC_SHIM,
            tricorn.__version__,
            await self._features_of(info.path),
            {
                "tricorn.runtime": info.name,
                "tricorn.runtime.path": info.path,
                "tricorn.runtime.version": info.version,
            },
        )

    async def _features_of(self, path: str) -> Mapping[str, Any]:
        """Ask the program, but not again until it is another one."""
        try:
            key = path, os.stat(path).st_mtime_ns
        except OSError:  # removed since it was found
            return {}
        if key not in self._features:
            self._features[key] = await features_document(path, self._environment)
        return self._features[key]
