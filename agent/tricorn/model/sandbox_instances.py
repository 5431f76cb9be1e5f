"""Sandboxes as they run, beside the records that clients keep of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from tricorn.model.records import ProcessIdentity


class SandboxState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@frozen
class SandboxInstance:
    """`spec` is the OCI spec of the process that holds the sandbox's namespaces; `runtime` is the OCI runtime
    as this agent names it.
    """

    id: str
    runtime: str
    spec: bytes = field(default=b"{}", repr=False)
    state: SandboxState = SandboxState.CREATED
    init: ProcessIdentity | None = None
    monitor: ProcessIdentity | None = None
    boot_id: str = ""
    exit_code: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    exited_at: datetime | None = None


@frozen
class SandboxStatus:
    """What a controller tells of a sandbox. `namespaces` are the paths by which others can join."""

    id: str
    state: SandboxState | None = None
    pid: int = 0
    created_at: datetime | None = None
    exited_at: datetime | None = None
    runtime: str = ""
    namespaces: dict[str, str] = field(factory=dict)
