"""Files into containers and out of them, whether they run or not."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import msgspec
import trio

from tricorn import limits
from tricorn.errors import Aborted, FailedPrecondition, Internal, InvalidArgument, Unimplemented
from tricorn.fs.copying import FileCopier, RunningPlace
from tricorn.fs.failures import typed
from tricorn.fs.tarheader import DIRECTORY, REGULAR
from tricorn.fs.tarwriter import TarWriter
from tricorn.model.copies import FileDesired, NodeCopy, PathView, Placing
from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import Action, Change
from tricorn.runtime.process import alive
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.mounts import MountService
from tricorn.service.nurseries import typed_nursery

Receive = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]
_ROOT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_RUNNING: Final = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED})


class CopyService:
    """A running container is seen as its processes see it, with all that is mounted in it; another one by its
    root file system alone, and it can't be started meanwhile.

    All calls raise NotFound for the container and the path, FailedPrecondition for a root that can't be had
    or written to, Unimplemented for containers in user namespaces.
    """

    def __init__(self, lifecycle: Lifecycle, mounts: MountService, copier: FileCopier) -> None:
        self._lifecycle = lifecycle
        self._mounts = mounts
        self._copier = copier

    async def look(
        self, namespace: str, container_id: str, path: str, *, follow: bool = False, digest: bool = False
    ) -> PathView:
        """Return what is at a path; with `digest` a file's SHA-256, too."""
        where = absolute(path)
        async with self._root(namespace, container_id) as root:
            facts = await self._copier.look(root, where, follow=follow, digest=digest)
        modified = datetime.fromtimestamp(facts.pop("modified") // 10**9, UTC)
        try:
            return PathView(path=where, modified_at=modified, **facts)
        except TypeError as error:
            raise Internal("the answer of a copying child is malformed", why=str(error)[:200]) from error

    async def send(
        self, namespace: str, container_id: str, path: str, write: Write, *, follow: bool = False
    ) -> None:
        """Write the tar of a file, or of a directory with all in it; names begin with the path's last part.

        Sockets and devices are left out.
        """
        where = absolute(path)
        top = os.path.basename(where) or "."
        async with (
            self._root(namespace, container_id) as root,
            self._copier.send(root, where, top, follow=follow) as job,
        ):
            while data := await job.read():
                await write(data)
            await job.finish()

    async def place(
        self, namespace: str, container_id: str, path: str, receive: Receive, placing: Placing
    ) -> Change:
        """Put the members of a tar in place below the directory `path`. InvalidArgument for a bad one."""
        async with self._root(namespace, container_id) as root:
            return await self._place(root, absolute(path), receive, placing)

    async def put(
        self, namespace: str, container_id: str, wanted: FileDesired, *, plan: bool = False
    ) -> Change:
        """Make sure that a file has this content, or that a directory is there."""
        directory, name = _split(wanted.path)
        archive = _archive_of(wanted, name)
        placing = Placing(uid=wanted.uid, gid=wanted.gid, parents=wanted.parents, show=wanted.show, plan=plan)
        pieces = iter([archive])

        async def receive() -> bytes:
            return next(pieces, b"")

        return await self.place(namespace, container_id, directory, receive, placing)

    async def copy(
        self, namespace: str, container_id: str, wanted: NodeCopy, *, plan: bool = False
    ) -> Change:
        """Make sure that a path of the node and one in the container are the same."""
        placing = Placing(
            uid=None if wanted.keep_owner else wanted.uid, gid=None if wanted.keep_owner else wanted.gid,
            mode=wanted.mode, directory_mode=wanted.directory_mode, parents=wanted.parents, show=wanted.show,
            plan=plan,
        )  # fmt: skip
        async with self._root(namespace, container_id) as inside, _node() as outside:
            if wanted.to == "container":
                return await self._across(outside, wanted.node_path, inside, wanted.path, wanted, placing)
            return await self._across(inside, wanted.path, outside, wanted.node_path, wanted, placing)

    async def _across(
        self, source: int, from_path: str, target: int, to_path: str, wanted: NodeCopy, placing: Placing
    ) -> Change:
        directory, name = _split(to_path)
        async with self._copier.send(source, absolute(from_path), name, follow=wanted.follow) as sending:

            async def receive() -> bytes:
                data = await sending.read()
                if not data:
                    await sending.finish()  # an archive that broke off isn't taken for a short one
                return data

            return await self._place(target, directory, receive, placing)

    async def _place(self, root: int, path: str, receive: Receive, placing: Placing) -> Change:
        async with self._copier.place(root, path, attrs.asdict(placing)) as job, typed_nursery() as nursery:
            nursery.start_soon(_feed, job, receive)
            told = await job.finish()
            nursery.cancel_scope.cancel()
        return _change(told)

    # ------------------------------------------------------------ roots
    @asynccontextmanager
    async def _root(self, namespace: str, container_id: str) -> AsyncIterator[int]:
        async with AsyncExitStack() as stack:
            container, task = await self._lifecycle.records(namespace, container_id)
            _check_users(container)
            fd = -1
            if task and task.status in _RUNNING and task.init:
                fd = _open(f"/proc/{task.init.pid}/root", container_id)
                stack.callback(os.close, fd)
                if not alive(task.init):
                    raise Aborted(f"container {container_id} has ended just now", hint="try again")
            else:
                await stack.enter_async_context(self._lifecycle.locks.hold(namespace, container_id))
                fd = _open(await self._still(stack, namespace, container_id), container_id)
                stack.callback(os.close, fd)
            yield fd

    async def _still(self, stack: AsyncExitStack, namespace: str, container_id: str) -> str:
        """Return where the root file system of a container is that doesn't run and whose lock is held."""
        container, task = await self._lifecycle.records(namespace, container_id)
        if task and task.status in _RUNNING:
            raise Aborted(f"container {container_id} has been started just now", hint="try again")
        if self._lifecycle.bundles.ready(namespace, container_id):
            return self._lifecycle.bundles.rootfs(namespace, container_id)
        items = await self._lifecycle.mounts(namespace, container)
        if not items:
            raise FailedPrecondition(
                f"container {container_id} has no files while it does not run",
                why="it has no snapshot: whoever made it gave it a root file system",
                hint="start it first",
            )
        return await stack.enter_async_context(self._mounts.temporary(items))


def absolute(path: str) -> str:
    """Return a path in its plain form; InvalidArgument unless it is absolute."""
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) >= limits.TAR_PATH_LENGTH:
        raise InvalidArgument(f"{path[:100]!r} is no absolute path", field="path")
    return "/" + os.path.normpath(path).lstrip("/")


def _split(path: str) -> tuple[str, str]:
    directory, name = os.path.split(absolute(path))
    if not name:
        raise InvalidArgument("the root itself can't be replaced", field="path")
    return directory, name


def _archive_of(wanted: FileDesired, name: str) -> bytes:
    content = wanted.content.encode()
    if wanted.encoding == "base64":
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise InvalidArgument("the content is no base64", why=str(error), field="content") from None
    file = wanted.type == "file"
    if content and not file:
        raise InvalidArgument("a directory has no content", field="content")
    pieces: list[bytes] = []
    writer = TarWriter(pieces.append)
    mode = wanted.mode if wanted.mode is not None else 0o644 if file else 0o755
    kind = REGULAR if file else DIRECTORY
    writer.add(
        os.fsencode(name), kind, mode=mode, size=len(content), mtime=int(datetime.now(UTC).timestamp())
    )
    writer.finish()
    archive = b"".join(pieces)
    end = len(archive) - 1024
    return archive[:end] + content + bytes(-len(content) % 512) + archive[end:]


def _change(told: dict[str, Any]) -> Change:
    try:
        actions = tuple(Action(str(verb), f"file/{name}", "differs") for verb, name in told["changed"])
        return Change(told["count"] > 0, actions, {"files": told["before"]}, {"files": told["after"]})
    except (LookupError, TypeError, ValueError) as error:
        raise Internal("the answer of a copying child is malformed", why=str(error)[:200]) from error


async def _feed(job: RunningPlace, receive: Receive) -> None:
    while data := await receive():
        if not await job.write(data):
            await trio.sleep_forever()  # its answer says why, and ends this
    job.complete()


def _open(path: str, container_id: str) -> int:
    try:
        return os.open(path, _ROOT)
    except (FileNotFoundError, ProcessLookupError):
        raise Aborted(f"container {container_id} has ended just now", hint="try again") from None
    except OSError as error:
        raise typed(error, f"cannot reach the files of container {container_id}") from error


@asynccontextmanager
async def _node() -> AsyncIterator[int]:
    fd = os.open("/", _ROOT)
    try:
        yield fd
    finally:
        os.close(fd)


def _check_users(container: Container) -> None:
    """Owners in a user namespace aren't those of the node."""
    try:
        mapped = bool(msgspec.json.decode(container.spec).get("linux", {}).get("uidMappings"))
    except (msgspec.DecodeError, AttributeError):
        mapped = False
    if mapped:
        raise Unimplemented(
            f"files of container {container.id} can't be copied",
            why="its user namespace numbers owners otherwise than the node",
            hint="use a process in it: `tricorn exec -i NAME tar -x`",
        )
