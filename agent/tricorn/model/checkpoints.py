"""Checkpoints: what one is asked for, what it consists of, how it is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from attrs import Factory, frozen

from tricorn.model.requests import ContainerDesired

# The media types of containerd (core/images/mediatypes.go)
_PREFIX: Final = "application/vnd.containerd.container."
DUMP: Final = f"{_PREFIX}criu.checkpoint.criu.tar"
CONFIG: Final = f"{_PREFIX}checkpoint.config.v1+proto"
OPTIONS: Final = f"{_PREFIX}checkpoint.options.v1+proto"
RUNTIME_OPTIONS: Final = f"{_PREFIX}checkpoint.runtime.options+proto"
LABEL: Final = "containerd.io/checkpoint"  # on the names of images that are checkpoints
PRIVATE: Final = "tricorn.private"  # on content that other namespaces don't get by naming its digest

# Annotations of the index. The first is form (a)'s, the others are form (b)'s: whoever restores finds his.
IMAGE_NAME: Final = "image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"
RUNTIME: Final = "io.containerd.checkpoint.runtime"
SNAPSHOTTER: Final = "io.containerd.checkpoint.snapshotter"

CgroupsMode = Literal["", "soft", "full", "strict", "ignore"]


def is_secret(media_type: str) -> bool:
    """Return whether content of this type holds what processes had in memory or were told."""
    return media_type.startswith(_PREFIX)


@frozen
class DumpOptions:
    """What CRIU is allowed and told, in runc's terms. `leave_running` false ends the container."""

    leave_running: bool = True
    tcp_established: bool = False
    external_unix_sockets: bool = False
    shell_job: bool = False
    file_locks: bool = False
    empty_namespaces: tuple[str, ...] = ()
    cgroups_mode: CgroupsMode = ""


@frozen
class RestorePlan:
    """Where the unpacked dump of a container lies, and what CRIU has to be told to restore it."""

    images: str
    options: DumpOptions = DumpOptions()
    lazy: bool = False  # it runs before it has its memory, which it gets as it needs it


@frozen
class CheckpointRequest:
    """Body of `POST /v1/{namespace}/containers/{id}/checkpoint`.

    `image` names the image to make; empty: containerd's `containerd.io/checkpoint/ID:DATE`. Without
    `leave_running` the container is stopped once the image is recorded. `rw` adds what the container changed
    in its file system, `base` the image that it was made from (so that both travel together). With `replace`
    the name may be taken: whatever has it keeps it until the checkpoint is complete.
    """

    image: str = ""
    leave_running: bool = False
    tcp_established: bool = False
    external_unix_sockets: bool = False
    shell_job: bool = False
    file_locks: bool = True
    empty_namespaces: tuple[str, ...] = ()
    cgroups_mode: CgroupsMode = ""
    rw: bool = True
    base: bool = True
    replace: bool = False


@frozen
class CheckpointView:
    """A checkpoint that was made. `frozen_ms` is how long the container stood still."""

    image: str
    digest: str
    container: str
    base: str
    size: int  # bytes of the dump and of the rw layer
    frozen_ms: int
    parts: Mapping[str, str] = Factory(dict)  # media type to digest


@frozen
class RestoreRequest:
    """Body of `POST /v1/{namespace}/checkpoints/restore`.

    `container` is the desired container as for a new one, with the name of the checkpoint's own image (or
    "", which takes that name): everything but memory and files comes from it. `id` names the container.
    Connections and locks that the dump holds are restored without a word here. With `lazy` it runs before it
    has its memory, which comes page by page while it runs.
    """

    image: str
    id: str
    container: ContainerDesired | None = None
    rw: bool = True
    tcp_established: bool = False
    external_unix_sockets: bool = False
    shell_job: bool = False
    file_locks: bool = False
    lazy: bool = False


@frozen
class ImportedCheckpoint:
    """A checkpoint that came as an archive of CRI's or Podman's, an image now.

    `mounts` are those that its container had from outside: a restore has to be asked for them. `warnings`
    tell what was in the archive and isn't in the image.
    """

    image: str
    digest: str
    container: str
    base: str
    size: int  # bytes of the dump and of the rw layer
    mounts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
