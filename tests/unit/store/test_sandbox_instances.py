"""Sandboxes as they run are found again."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.records import ProcessIdentity
from tricorn.model.sandbox_instances import SandboxInstance, SandboxState
from tricorn.store.db import Database

POD = SandboxInstance("pod", "crun", b'{"a": 1}')


async def test_what_was_stored_is_read(db: Database) -> None:
    await db.write(lambda tx: tx.sandbox_instances.create("n", POD))
    running = evolve(POD, state=SandboxState.RUNNING, init=ProcessIdentity(7, 8), boot_id="b")
    await db.write(lambda tx: tx.sandbox_instances.replace("n", running))
    assert await db.read(lambda tx: tx.sandbox_instances.get("n", "pod")) == running
    assert await db.read(lambda tx: tx.sandbox_instances.list_all()) == [("n", running)]
    with pytest.raises(AlreadyExists):
        await db.write(lambda tx: tx.sandbox_instances.create("n", POD))
    with pytest.raises(FailedPrecondition, match="sandbox_instances"):
        await db.write(lambda tx: tx.namespaces.delete("n"))
    await db.write(lambda tx: tx.sandbox_instances.delete("n", "pod"))
    assert await db.read(lambda tx: tx.sandbox_instances.find("n", "pod")) is None


async def test_what_is_not_there(db: Database) -> None:
    for call in (
        lambda tx: tx.sandbox_instances.get("n", "pod"),
        lambda tx: tx.sandbox_instances.replace("n", POD),
        lambda tx: tx.sandbox_instances.delete("n", "pod"),
    ):
        with pytest.raises(NotFound):
            await db.write(call)
    with pytest.raises(InvalidArgument):
        await db.write(lambda tx: tx.sandbox_instances.create("n", evolve(POD, id="../x")))
