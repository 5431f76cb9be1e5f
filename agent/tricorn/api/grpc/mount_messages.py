"""containerd's `Mount` and what we call it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tricorn import wire
from tricorn.ports import FilesystemMount
from tricorn.rules.client_mounts import checked

MOUNT: Final = wire.message("containerd.types.Mount")


def mount_messages(items: Iterable[FilesystemMount]) -> list[Any]:
    return [MOUNT(type=item.type, source=item.source, options=item.options) for item in items]


def mounts_of(messages: Iterable[Any]) -> list[FilesystemMount]:
    """Return the mounts that a client gives. InvalidArgument, or Unimplemented for kinds we don't make."""
    return [checked(item.type, item.source, tuple(item.options), item.target) for item in messages]
