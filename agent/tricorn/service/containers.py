"""Use cases on containers: a desired state in, a change out; look at them, remove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import attrs
import msgspec
import structlog

from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound
from tricorn.model import ids
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.requests import (
    Change,
    ContainerDesired,
    ContainerView,
    ImageDesired,
    StopRequest,
)
from tricorn.rules.health import check_health
from tricorn.rules.log_bounds import check_log
from tricorn.rules.networks import check_container
from tricorn.rules.plan import Steps, canonical, container_steps, summary
from tricorn.rules.restarts import parse_policy
from tricorn.runtime.network import interfaces
from tricorn.service.images import ImageService
from tricorn.service.lifecycle import ALIVE, Lifecycle
from tricorn.service.live_limits import LiveLimits, stored
from tricorn.service.progress import Reporter
from tricorn.service.tasks import TaskService
from tricorn.service.views import container_view
from tricorn.store.db import Database

log = structlog.get_logger(__name__)


class ContainerService:
    """The desired-state side of containers; `TaskService` has the verbs on running ones."""

    def __init__(self, db: Database, images: ImageService, lifecycle: Lifecycle, tasks: TaskService) -> None:
        self._db = db
        self._images = images
        self._lifecycle = lifecycle
        self._tasks = tasks
        self.limits: LiveLimits | None = None  # what changes those of running containers

    async def list(
        self, namespace: str, filters: Sequence[str] = (), *, all: bool = True
    ) -> list[ContainerView]:
        """Return containers that match any filter; without `all` only those with a live task."""

        def read(tx: Any) -> tuple[Any, Any]:
            return tx.containers.list(namespace, filters), tx.tasks.list(namespace)

        containers, tasks = await self._db.read(read)
        by_id: Mapping[str, Task] = {task.container: task for task in tasks}
        views = [self._view(namespace, item, by_id.get(item.id)) for item in containers]
        return views if all else [view for view in views if view.task and view.task.status in ALIVE]

    async def get(self, namespace: str, container_id: str) -> ContainerView:
        """Return one container with its spec and, while it runs, its network interfaces."""
        container, task = await self._lifecycle.records(namespace, container_id)
        view = self._view(namespace, container, task)
        networks = self._lifecycle.networks
        attachment = await networks.view(namespace, container_id) if networks else None
        network: tuple[Mapping[str, Any], ...] = ()
        if task and task.init and task.status in ALIVE:
            with suppress(NotFound):  # it may end while we look
                network = tuple(await interfaces(task.init.pid))
        spec = msgspec.json.decode(container.spec)
        return attrs.evolve(view, spec=spec, network=network, attachment=attachment)

    def _view(self, namespace: str, container: Container, task: Task | None) -> ContainerView:
        log_path = self._lifecycle.bundles.ref(namespace, container).log
        health = self._lifecycle.health_of(namespace, container.id)
        return container_view(namespace, container, task, log_path, health)

    # ------------------------------------------------------------ desired state
    async def put(
        self,
        namespace: str,
        container_id: str,
        desired: ContainerDesired,
        *,
        plan: bool = False,
        report: Reporter | None = None,
    ) -> Change:
        """Bring a container to the desired state, or under `plan` only say what that would take."""
        ids.identifier(container_id, "container")
        _check(desired)
        async with self._lifecycle.locks.hold(namespace, container_id):
            container, task = await self._find(namespace, container_id)
            before = self._summary(namespace, container, task)
            digest = await self._wanted_digest(namespace, desired, plan=plan, report=report)
            steps = container_steps(container, task.status if task else None, desired, digest)
            actions = steps.actions(container_id)
            if plan or not steps.changed:
                after = before if not steps.changed else _expected(before, container_id, desired, steps)
                refused = self._lifecycle.cordon.warnings() if steps.create or steps.start else ()
                return Change(steps.changed, actions, before, after, refused)
            if steps.create or steps.start:
                self._lifecycle.cordon.require_open(f"container {container_id}")
            warnings = await self._execute(namespace, container_id, desired, steps, report)
            log.info(
                "container changed", namespace=namespace, container=container_id, actions=summary(actions)
            )
            after = self._summary(namespace, *await self._find(namespace, container_id))
            return Change(changed=True, actions=actions, before=before, after=after, warnings=warnings)

    async def _wanted_digest(
        self, namespace: str, desired: ContainerDesired, *, plan: bool, report: Reporter | None
    ) -> str:
        if desired.state == "absent":
            return ""
        if desired.pull == "always" and not plan:
            await self._images.put(namespace, _image_of(desired), report=report)
        return await self._images.known_digest(namespace, desired.image)

    async def _execute(
        self,
        namespace: str,
        container_id: str,
        desired: ContainerDesired,
        steps: Steps,
        report: Reporter | None,
    ) -> tuple[str, ...]:
        warnings: tuple[str, ...] = ()
        image = None
        if steps.create and not steps.remove:
            await self._db.look(lambda tx: tx.budgets.admit(namespace, "containers"))
        if steps.create:  # before the old one goes: a pull that fails must cost nothing
            if report:
                report.report("image", desired.image)
            image = await self._images.ensure(
                namespace, attrs.evolve(_image_of(desired), pull=_policy(desired)), report
            )
        if steps.stop or (steps.remove and desired.state != "absent"):
            await self._tasks.stop_held(namespace, container_id, StopRequest())
        if steps.remove:
            await self._lifecycle.delete(namespace, container_id, wait=steps.create)
        if image:
            if report:
                report.report("create", container_id)
            warnings = await self._lifecycle.create(
                namespace, container_id, desired, image, start=steps.start
            )
        if steps.update:
            await self._update(namespace, container_id, desired)
        if steps.start and not steps.create:
            await self._lifecycle.note_hand(namespace, container_id, stopped=False)
            await self._lifecycle.start(namespace, container_id)
        return warnings

    async def _update(self, namespace: str, container_id: str, desired: ContainerDesired) -> None:
        container, task = await self._lifecycle.records(namespace, container_id)
        alive = task is not None and task.status in ALIVE
        if self.limits and stored(container) != desired.resources:
            await self.limits.apply_held(namespace, container, desired.resources, running=alive)

        def change(tx: Any) -> None:
            old = tx.containers.get(namespace, container_id)
            kept = {k: v for k, v in old.labels.items() if k not in old.desired.get("labels", {})}
            tx.containers.replace(
                namespace, attrs.evolve(old, labels={**kept, **desired.labels}, desired=canonical(desired))
            )

        await self._db.write(change)
        container, task = await self._lifecycle.records(namespace, container_id)
        self._lifecycle.supervisor.refresh(self._lifecycle.bundles.ref(namespace, container, task))

    async def create(
        self,
        namespace: str,
        container_id: str | None,
        desired: ContainerDesired,
        *,
        report: Reporter | None = None,
    ) -> ContainerView:
        """Create a container, with a made-up id if none is given. AlreadyExists for a known one."""
        container_id = container_id or _made_up_id()
        ids.identifier(container_id, "container")
        _check(desired)
        self._lifecycle.cordon.require_open(f"container {container_id}")
        async with self._lifecycle.locks.hold(namespace, container_id):
            container, _ = await self._find(namespace, container_id)
            if container:
                raise AlreadyExists(
                    f"container {container_id} exists already in namespace {namespace}",
                    hint=f"remove it: `tricorn -n {namespace} rm {container_id}`, or choose another name",
                )
            await self._db.look(lambda tx: tx.budgets.admit(namespace, "containers"))
            image = await self._images.ensure(namespace, _image_of(desired), report)
            warnings = await self._lifecycle.create(
                namespace, container_id, desired, image, start=desired.state == "started"
            )
        return attrs.evolve(await self._shown(namespace, container_id), warnings=warnings)

    async def delete(
        self,
        namespace: str,
        container_id: str,
        *,
        force: bool = False,
        stop_timeout: float | None = None,
        plan: bool = False,
    ) -> Change:
        """Remove a container. One that runs is refused, stopped first if `stop_timeout` is given (in
        seconds), killed with `force`.
        """
        async with self._lifecycle.locks.hold(namespace, container_id):
            container, task = await self._find(namespace, container_id)
            if container is None:
                raise NotFound(f"container {container_id} does not exist in namespace {namespace}")
            alive = task is not None and task.status in ALIVE
            if task is not None and alive and not force and stop_timeout is None:
                raise FailedPrecondition(
                    f"container {container_id} is {task.status}",
                    hint=f"stop it first, or `tricorn -n {namespace} rm -f {container_id}`",
                )
            steps = Steps(remove=True, reasons=("wanted absent",))
            change = Change(
                changed=True, actions=steps.actions(container_id),
                before=self._summary(namespace, container, task),
            )  # fmt: skip
            if not plan:
                if alive and stop_timeout is not None:
                    await self._tasks.stop_held(namespace, container_id, StopRequest(stop_timeout))
                await self._lifecycle.delete(namespace, container_id)
            return change

    # ------------------------------------------------------------ parts
    async def _find(self, namespace: str, container_id: str) -> tuple[Container | None, Task | None]:
        return await self._db.look(
            lambda tx: (tx.containers.find(namespace, container_id), tx.tasks.find(namespace, container_id))
        )

    async def _shown(self, namespace: str, container_id: str) -> ContainerView:
        container, task = await self._lifecycle.records(namespace, container_id)
        return self._view(namespace, container, task)

    def _summary(self, namespace: str, container: Container | None, task: Task | None) -> dict[str, Any]:
        """Return what a change shows before and after: the request, the image, the state."""
        if container is None:
            return {}
        shown = {
            key: value for key, value in container.desired.items() if value not in (None, "", [], {}, False)
        }
        return {
            **shown, "id": container.id, "namespace": namespace, "image": container.image,
            "image_digest": container.image_digest, "runtime": container.runtime,
            "status": str(task.status) if task else "created",
            "pid": task.init.pid if task and task.init and task.status in ALIVE else 0,
        }  # fmt: skip


def _check(desired: ContainerDesired) -> None:
    """Refuse what could not be kept to later. InvalidArgument."""
    ids.labels(desired.labels)
    parse_policy(desired.restart)
    check_log(desired)
    check_health(desired.health)
    check_container(desired.network, desired.ports)


def _image_of(desired: ContainerDesired) -> ImageDesired:
    return ImageDesired(
        reference=desired.image, pull=desired.pull, platform=desired.platform,
        plain_http=desired.plain_http, snapshotter=desired.snapshotter,
    )  # fmt: skip


def _policy(desired: ContainerDesired) -> Any:
    return "missing" if desired.pull == "always" else desired.pull  # `always` has asked already


def _expected(
    before: Mapping[str, Any], container_id: str, desired: ContainerDesired, steps: Steps
) -> dict[str, Any]:
    if desired.state == "absent":
        return {}
    shown = {
        key: value for key, value in canonical(desired).items() if value not in (None, "", [], {}, False)
    }
    status = before.get("status", "created")
    if steps.create:
        status = "created"
    if steps.start:
        status = str(TaskStatus.RUNNING)
    if steps.stop:
        status = str(TaskStatus.STOPPED)
    kept = {key: before[key] for key in ("runtime", "namespace") if key in before}
    return {**kept, **shown, "id": container_id, "status": status}


def _made_up_id() -> str:
    return f"c{uuid4().hex[:11]}"
