"""Container records as containerd's containers service has them: plain records, made whole by the client.

What the agent itself decides about a container (image, snapshot, spec) is `ContainerService`'s; here the
client has decided, and its spec is kept byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
import trio
from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, Unimplemented
from tricorn.model.filters import select
from tricorn.model.records import Container, Labels
from tricorn.ports import Runtime
from tricorn.rules.container_update import masked
from tricorn.rules.restarts import STATUS
from tricorn.rules.runtime_names import runtime_for, shown_runtime
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.policy import PolicyGate
from tricorn.service.specs import SpecFactory
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_OCI_SPEC: Final = "opencontainers/runtime-spec/1/Spec"


class ContainerRecords:
    """Records of containers, whichever door they came in by."""

    def __init__(
        self, db: Database, runtime: Runtime, lifecycle: Lifecycle, specs: SpecFactory, gate: PolicyGate
    ) -> None:
        self._db = db
        self._gate = gate
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._specs = specs

    def require_open(self, what: str) -> None:
        """Raise FailedPrecondition where the node takes on nothing new: clients' containers, sandboxes."""
        self._lifecycle.cordon.require_open(what)

    async def get(self, namespace: str, container_id: str) -> Container:
        """Return a record. NotFound."""
        return await self._db.look(lambda tx: tx.containers.get(namespace, container_id))

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[Container]:
        """Return the records that match any filter (on `id`, `image`, `runtime.name`, `labels`), by id."""
        found = await self._db.read(lambda tx: tx.containers.list(namespace))
        chosen = {item.id for item in select(filters, map(_filterable, found))} if filters else None
        return [item for item in found if chosen is None or item.id in chosen]

    async def create(self, namespace: str, container: Container, *, binary: str = "") -> Container:
        """Record a new container; `binary` is the OCI runtime that its runtime's options ask for.

        A runtime that this node hasn't is no error before a task is created, as in containerd. AlreadyExists;
        InvalidArgument for a record without id, runtime or spec, or with a snapshot key and no snapshotter;
        as `PolicyGate.require_container`.
        """
        if not container.runtime_name:
            raise InvalidArgument("the container has no runtime", field="runtime.name")
        self.require_open(f"container {container.id}")
        self._runtime.expect_process()  # nearly every client asks for a task next
        kept = {key: value for key, value in container.labels.items() if value}
        try:
            runtime = await self.runtime(container.runtime_name, binary)
        except Unimplemented as error:
            log.info("container with a runtime that isn't here", container=container.id, why=str(error))
            runtime = binary or container.runtime_name

        image = await self._db.look(lambda tx: tx.images.find(namespace, container.image))
        await self._gate.require_container(namespace, image, container.image)
        digest = image.target.digest if image else ""

        def record(tx: Transaction) -> Container:
            made = evolve(container, runtime=runtime, image_digest=digest, labels=kept)
            return tx.containers.create(namespace, made)

        async with self._lifecycle.locks.hold(namespace, container.id):
            return await self._db.write_soon(record)

    async def update(self, namespace: str, container: Container, paths: Sequence[str] = ()) -> Container:
        """Change the fields of a record that `paths` name (all that can change without them).

        NotFound; InvalidArgument for a field that can't change.
        """

        def change(tx: Transaction) -> Container:
            old = tx.containers.get(namespace, container.id)
            return tx.containers.replace(namespace, masked(old, container, paths))

        async with self._lifecycle.locks.hold(namespace, container.id):
            return await self._db.write(change)

    async def delete(self, namespace: str, container_id: str) -> None:
        """Remove a record and the container's log files; its snapshot stays, it is the client's. NotFound.

        FailedPrecondition while there is a task, which nobody could stop any more without the record.
        """

        def forget(tx: Transaction) -> None:
            task = tx.tasks.find(namespace, container_id)
            if task:
                raise FailedPrecondition(
                    f"cannot delete container {container_id}", why=f"it has a task, which is {task.status}",
                    hint=f"delete the task first: `ctr -n {namespace} tasks rm -f {container_id}`",
                )  # fmt: skip
            tx.containers.delete(namespace, container_id)

        # no lock: what a task left may still be being cleared away, and a record can go before that
        if STATUS in (await self.get(namespace, container_id)).labels:
            await self._db.write(forget)  # one that came back after a loss of power would be started
        else:
            await self._db.write_soon(forget)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await self._lifecycle.remove_files(namespace, container_id)

    async def runtime_of(self, container: Container, binary: str) -> str:
        """Return our name of a new task's runtime: the OCI runtime `binary` where the task's own options
        name one, else the record's.

        Unimplemented for one that isn't here, FailedPrecondition for a spec that isn't OCI's.
        """
        if container.spec_type and not container.spec_type.endswith(_OCI_SPEC):
            raise FailedPrecondition(
                f"container {container.id} can't be run", why=f"its spec is a {container.spec_type[:200]!r}",
                hint="an OCI spec is needed", field="spec",
            )  # fmt: skip
        if binary:
            return await self.runtime(shown_runtime(container), binary)
        return await self._specs.runtime_name(container.runtime)

    async def runtime(self, name: str, binary: str) -> str:
        """Return our name of the runtime that a client asks for. Unimplemented for one that isn't here or
        can't be used.
        """
        known = await self._runtime.capabilities()
        paths = {info.name: info.path for info in known.values()}
        return await self._specs.runtime_name(runtime_for(name, *_resolved(binary, paths)))


def _resolved(binary: str, paths: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a wanted path and the known ones without symbolic links, so that they can be compared."""
    real = {key: os.path.realpath(path) for key, path in paths.items()}
    return (os.path.realpath(binary) if "/" in binary else binary), real


@frozen
class _RuntimeFields:
    name: str


@frozen
class _Filterable:
    """A container under the names that containerd's filters have."""

    id: str
    image: str
    runtime: _RuntimeFields
    labels: Labels


def _filterable(container: Container) -> Any:
    runtime = _RuntimeFields(shown_runtime(container))
    return _Filterable(container.id, container.image, runtime, container.labels)
