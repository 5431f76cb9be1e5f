"""Specs of containers and execs: facts of host and image gathered, the decision left to `rules.spec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.fs.bundle import read_account_files
from tricorn.model.oci import ImageConfig
from tricorn.model.records import Container
from tricorn.model.requests import ContainerDesired, ExecRequest
from tricorn.model.spec import Accounts
from tricorn.ports import Runtime, RuntimeInfo
from tricorn.rules.accounts import parse_accounts
from tricorn.rules.spec import build_spec, exec_process, image_labels
from tricorn.runtime.host import host_limits

# Puts the network that a container of this namespace and id will have into its spec.
FitNetwork = Callable[[str, str, ContainerDesired, Mapping[str, Any]], Mapping[str, Any]]


@frozen
class BuiltSpec:
    """A container's spec as JSON, the image's labels it may carry, and what to tell the user."""

    spec: bytes
    labels: Mapping[str, str]
    warnings: tuple[str, ...]


class SpecFactory:
    def __init__(self, runtime: Runtime, cgroup: str = "/tricorn") -> None:
        self._runtime = runtime
        self._cgroup = cgroup
        self._limiter = trio.CapacityLimiter(4)
        self.fit_network: FitNetwork = lambda _, __, ___, spec: spec

    def cgroup_path(self, namespace: str, container_id: str) -> str:
        """Return the control group of a container that names none itself."""
        return f"{self._cgroup}/{namespace}/{container_id}"

    async def runtime_name(self, wanted: str) -> str:
        """Return the runtime to use: `wanted`, or the default of this host. Unimplemented, with the
        reason, for one that is not here or can't run here.
        """
        known = await self._runtime.capabilities()
        if wanted:
            return _usable(wanted, known)
        for name, info in known.items():
            if "default" in info.features:
                return _usable(name, known)
        reasons = "; ".join(f"{name}: {info.reason}" for name, info in known.items())
        raise Unimplemented(
            "no OCI runtime can be used on this node", why=reasons, hint="install crun or runc"
        )

    async def build(
        self, namespace: str, container_id: str, desired: ContainerDesired, image: ImageConfig, rootfs: str
    ) -> BuiltSpec:
        """Make a container's spec; `rootfs` is mounted already, for its account files are read."""
        accounts = await self._accounts(rootfs)
        host = await host_limits(desired)
        spec, warnings = build_spec(
            desired, image, id=container_id, namespace=namespace, accounts=accounts, host=host,
            cgroup_path=self.cgroup_path(namespace, container_id),
        )  # fmt: skip
        encoded = msgspec.json.encode(self.fit_network(namespace, container_id, desired, spec))
        if len(encoded) > limits.ENVIRONMENT_SIZE:
            raise InvalidArgument(
                "the container's spec is too large",
                why=f"{len(encoded)} bytes, at most {limits.ENVIRONMENT_SIZE}",
            )
        return BuiltSpec(encoded, image_labels(image), warnings)

    async def exec_process(self, container: Container, request: ExecRequest, rootfs: str) -> dict[str, Any]:
        """Return the OCI process of an exec in a container."""
        accounts = await self._accounts(rootfs) if request.user else Accounts()
        return exec_process(msgspec.json.decode(container.spec), request, accounts)

    async def _accounts(self, rootfs: str) -> Accounts:
        files = await trio.to_thread.run_sync(read_account_files, rootfs, limiter=self._limiter)
        return parse_accounts(*files)


def _usable(name: str, known: Mapping[str, RuntimeInfo]) -> str:
    info = known.get(name)
    if info is None:
        raise Unimplemented(
            f"no runtime {name!r} on this node",
            hint=f"there are: {', '.join(sorted(known))}",
            field="runtime",
        )
    if not info.usable:
        raise Unimplemented(f"runtime {name!r} can't be used on this node", why=info.reason, field="runtime")
    return name
