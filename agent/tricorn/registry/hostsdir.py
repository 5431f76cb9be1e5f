"""Finds and reads a registry's hosts.toml, in the places containerd looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.rules.hosts import HostPlan, plan_hosts

_FILE: Final = "hosts.toml"
_SIZE: Final = 256 * limits.KIB


class HostsDirectory:
    """`HOSTS_DIR/<host[:port]>/hosts.toml`, also spelled `<host>_<port>_`, then `_default`.

    `path` may list several trees, separated by colons: the first that has a directory for the registry
    counts. Read anew for each call, so that edits hold at once. A directory without hosts.toml may hold
    Docker's certificate files: *.crt (CA) and *.cert with *.key (client).
    """

    def __init__(self, path: str) -> None:
        self._roots = tuple(filter(None, path.split(":")))
        self._limiter = trio.CapacityLimiter(2)

    async def plan(self, registry: str, *, plain_http: bool = False) -> HostPlan:
        """Return the plan for `registry`; InvalidArgument naming the file and field for a bad file."""
        return await trio.to_thread.run_sync(self._plan, registry, plain_http, limiter=self._limiter)

    def _plan(self, registry: str, plain_http: bool) -> HostPlan:
        directory = self._find(registry)
        if not directory:
            return plan_hosts(registry, plain_http=plain_http)
        path = os.path.join(directory, _FILE)
        if os.path.exists(path):
            document, source = _read(path), path
        else:
            document, source = _certificates(directory), directory
        return plan_hosts(registry, document, base_dir=directory, plain_http=plain_http, source=source)

    def _find(self, registry: str) -> str:
        name, colon, port = registry.rpartition(":")
        underscored = [f"{name}_{port}_"] if colon and port.isdigit() else []
        for root in self._roots:
            for candidate in (*underscored, registry, "_default"):
                directory = os.path.join(root, candidate)
                if os.path.isdir(directory):
                    return directory
        return ""


def _read(path: str) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_SIZE + 1)
    except OSError as error:
        raise InvalidArgument(f"{path} can't be read", why=error.strerror or "", field=path) from None
    if len(raw) > _SIZE:
        raise InvalidArgument(f"{path} is too large", why=f"over {_SIZE} bytes", field=path)
    import tomllib  # the one reader here that takes lists of files and pairs mixed, as containerd does

    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not valid TOML", why=str(error)[:200], field=path) from None


def _certificates(directory: str) -> Mapping[str, Any]:
    names = sorted(os.listdir(directory))
    pairs = [[name, name.removesuffix(".cert") + ".key"] for name in names if name.endswith(".cert")]
    roots = [name for name in names if name.endswith(".crt")]
    return ({"ca": roots} if roots else {}) | ({"client": pairs} if pairs else {})
