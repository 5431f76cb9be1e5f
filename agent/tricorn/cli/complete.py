"""Completion of names through the agent: quick, and quiet when the agent doesn't answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from tricorn.cli.door import Door, calls
from tricorn.cli.settings import Settings
from tricorn.client import image_calls, upkeep_calls
from tricorn.client.exec_calls import execs as list_execs
from tricorn.client.migration_calls import list_migrations
from tricorn.client.network_calls import networks as list_networks
from tricorn.errors import TricornError
from tricorn.exchange import Call

_PATIENCE: Final = 1.0  # seconds: someone waits at the keyboard
_FAMILIAR: Final = ("docker.io/library/", "docker.io/")

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(call: Callable[[str], Call], key: str) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
        found = [str(item.get(key, "")) for item in _ask(ctx, call)]
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _ask(ctx: click.Context, call: Callable[[str], Call]) -> list[dict[str, Any]]:
    settings = ctx.find_object(Settings) or Settings()
    door = Door(settings.socket, timeout=_PATIENCE)
    try:
        items = door.call(call(settings.namespace))["items"]
    except (TricornError, TypeError, KeyError):
        return []
    finally:
        door.close()
    return [item for item in items if isinstance(item, dict)]


containers: Final = _names(calls.containers, "id")
namespaces: Final = _names(lambda _: calls.namespaces(), "name")
leases: Final = _names(calls.leases, "id")
networks: Final = _names(lambda _: list_networks(), "name")
operations: Final = _names(calls.operations, "id")
migrations: Final = _names(list_migrations, "id")
blobs: Final = _names(calls.content, "digest")
snapshots: Final = _names(calls.snapshots, "key")
quarantined: Final = _names(lambda _: upkeep_calls.quarantine(), "digest")


def execs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete an exec of the container that the line names before it."""
    container = ctx.params.get("container")
    if not isinstance(container, str):
        return []
    return _names(lambda namespace: list_execs(namespace, container), "id")(ctx, param, incomplete)


def hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the host of a registry that images here are called after."""
    names = _names(image_calls.images, "name")(ctx, param, "")
    found = {name.partition("/")[0] for name in names if "/" in name} | {"docker.io"}
    return sorted(host for host in found if host.startswith(incomplete) and _is_host(host))


def _is_host(word: str) -> bool:
    return "." in word or ":" in word or word == "localhost"


def images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete an image's name, in full or as people write it (redis:7 for docker.io/library/redis:7)."""
    names = _names(image_calls.images, "name")(ctx, param, "")
    short = sorted({familiar(name) for name in names})
    return [name for name in short if name.startswith(incomplete)] or [
        name for name in names if name.startswith(incomplete)
    ]


def container_networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete what `--network` takes."""
    words = [word for word in ("host", "none") if word.startswith(incomplete)]
    if incomplete.startswith("container:"):
        names = containers(ctx, param, incomplete.removeprefix("container:"))
        return [f"container:{name}" for name in names]
    return words + networks(ctx, param, incomplete)


def familiar(name: str) -> str:
    """Return an image's name without the parts that everybody leaves out."""
    for prefix in _FAMILIAR:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
