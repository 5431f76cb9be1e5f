"""Checkpoints in the messages of the tasks service: what a client asks for, what it is told."""

from __future__ import annotations

import os
from typing import Any, Final

from attrs import frozen

from tricorn import wire
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.checkpoints import DUMP, DumpOptions
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor

_MESSAGES: Final = wire.package("containerd.services.tasks.v1")
_TYPES: Final = wire.package("containerd.types")
_OPTIONS: Final = "containerd.runc.v1.CheckpointOptions"
_RESTORE_FROM_PATH: Final = "RestoreFromPath"
_MODES: Final = ("", "soft", "full", "strict", "ignore")


@frozen
class WantedCheckpoint:
    """`images` and `work` are directories of the client's own, "" for none."""

    options: DumpOptions
    images: str = ""
    work: str = ""


def wanted_checkpoint(request: Any) -> WantedCheckpoint:
    """Read a request for a checkpoint. Unimplemented for what would not be restored by itself."""
    if request.parent_checkpoint:
        raise Unimplemented(
            "a checkpoint that stands on an earlier one", field="parent_checkpoint",
            why="containerd doesn't read that field either: each dump is whole", hint="leave it out",
        )  # fmt: skip
    if not request.options.type_url:
        return WantedCheckpoint(DumpOptions())
    if request.options.type_url.rpartition("/")[2] != _OPTIONS:
        raise InvalidArgument(
            f"checkpoint options of type {request.options.type_url[:200]!r}",
            why=f"this agent understands {_OPTIONS}", field="options",
        )  # fmt: skip
    options = wire.unpack(request.options)
    if options.parent_path:
        raise Unimplemented(
            "a dump that stands on an earlier one", why="it could not be restored without that one",
            hint="leave parent_path out", field="options.parent_path",
        )  # fmt: skip
    if options.cgroups_mode not in _MODES:
        raise InvalidArgument(
            f"cgroups mode {options.cgroups_mode[:64]!r}", hint=", ".join(filter(None, _MODES)),
            field="options.cgroups_mode",
        )  # fmt: skip
    return WantedCheckpoint(
        DumpOptions(
            leave_running=not options.exit, tcp_established=options.open_tcp,
            external_unix_sockets=options.external_unix_sockets, shell_job=options.terminal,
            file_locks=options.file_locks, empty_namespaces=tuple(options.empty_namespaces),
            cgroups_mode=options.cgroups_mode,
        ),
        _directory(options.image_path, "image_path"),
        _directory(options.work_path, "work_path"),
    )  # fmt: skip


def _directory(path: str, field: str) -> str:
    if path and (not os.path.isabs(path) or os.path.normpath(path) != path):
        raise InvalidArgument(
            "a checkpoint's directory must be an absolute, clean path", why=repr(path[:200]),
            field=f"options.{field}",
        )  # fmt: skip
    return path


def wanted_dump(request: Any) -> Descriptor | None:
    """Read from what a task is to be restored, None for a new one."""
    if not request.HasField("checkpoint"):
        return None
    given = request.checkpoint
    if _RESTORE_FROM_PATH in given.annotations:
        raise Unimplemented(
            "restoring from a directory of the host", field="checkpoint.annotations",
            why="whoever names one could have any file of the host read into a process",
            hint=f"put the dump into the content store, as {DUMP}",
        )  # fmt: skip
    digest = Digest.parse(given.digest, "checkpoint.digest")
    return Descriptor(given.media_type, digest, given.size)


def answer(dump: Descriptor | None, config: Descriptor | None) -> Any:
    """Return the parts of a checkpoint; none when it stays in a directory of the client's."""
    return _MESSAGES.CheckpointTaskResponse(
        descriptors=[
            _TYPES.Descriptor(media_type=part.media_type, digest=str(part.digest), size=part.size)
            for part in (dump, config)
            if part
        ]
    )
