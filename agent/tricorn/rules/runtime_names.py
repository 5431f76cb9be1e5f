"""Runtimes as containerd's clients name them, and as this agent does. Pure.

There a runtime is a shim (`io.containerd.runc.v2`) whose options may name the OCI runtime that it is to
start (`BinaryName`, a name or a path). Here no shim stands between, and a runtime is an OCI runtime of the
configuration: `runc`, `crun`, or whatever `runtimes.paths` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tricorn.errors import Unimplemented
from tricorn.model.records import Container

RUNC_SHIM: Final = "io.containerd.runc.v2"
# The older name is the same runtime behind an older protocol, which no client ever sees.
_RUNC_SHIMS: Final = frozenset({RUNC_SHIM, "io.containerd.runc.v1"})


def shown_runtime(container: Container) -> str:
    """Return the container's runtime as containerd's clients know it."""
    return container.runtime_name or RUNC_SHIM


def shown_binary(container: Container) -> str:
    """Return the OCI runtime to show in the options of a container that no such client made."""
    return "" if container.runtime_name else container.runtime


def runtime_for(name: str, binary: str, paths: Mapping[str, str]) -> str:
    """Return our name of the runtime that a client asks for, "" for the node's default.

    `paths` are the node's runtimes by name. A `binary` without a slash is a name; a path must be one of the
    node's, since a client can't choose what runs as root on the host. Unimplemented for anything else.
    """
    if name in paths:
        return name
    if name not in _RUNC_SHIMS:
        raise Unimplemented(
            f"no runtime {name!r} on this node", field="runtime.name",
            hint=f"use {RUNC_SHIM}, or one of {', '.join(sorted(paths))}",
        )  # fmt: skip
    if not binary or binary in paths:
        return binary
    for known, path in paths.items():
        if path == binary:
            return known
    raise Unimplemented(
        f"no OCI runtime {binary!r} on this node", field="runtime.options.binary_name",
        hint=f"there are: {', '.join(f'{known} ({path})' for known, path in sorted(paths.items()))}; "
        "another one is added under [runtimes.paths] of the configuration",
    )  # fmt: skip
