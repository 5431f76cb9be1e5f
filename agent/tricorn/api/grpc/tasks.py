"""Tasks and their processes: containerd.services.tasks.v1."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc import checkpoint_messages, payloads
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.metrics_v1 import metrics_v1
from tricorn.api.grpc.metrics_v2 import metrics_v2
from tricorn.api.grpc.mount_messages import mounts_of
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from tricorn.model.filters import any_of
from tricorn.model.processes import CgroupFiles, ProcessView
from tricorn.model.records import TaskStatus
from tricorn.model.stdio import Stdio
from tricorn.rules.authorise import Role

_MESSAGES: Final = wire.package("containerd.services.tasks.v1")
_TYPES: Final = wire.package("containerd.v1.types")
_STATUS: Final = {
    TaskStatus.CREATED: "CREATED",
    TaskStatus.RUNNING: "RUNNING",
    TaskStatus.PAUSED: "PAUSED",
    TaskStatus.STOPPED: "STOPPED",
}


class TasksFace(Face):
    """`exec_id` "" in a request means the task's first process."""

    service = "containerd.services.tasks.v1.Tasks"

    # ------------------------------------------------------------ life
    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        dump = checkpoint_messages.wanted_dump(request)
        if request.runtime_path:
            raise Unimplemented("there is no shim to choose by its path", field="runtime_path")
        records = self.services.container_records
        container = await records.get(call.namespace, request.container_id)
        own = payloads.any_value(request.options)
        options = payloads.runc_options(own or container.runtime_options)
        runtime = await records.runtime_of(container, options.binary if own else "")
        if dump and not options.binary:
            runtime = await self.services.checkpoints.runtime(runtime)
        task = await self.services.processes.create(
            call.namespace,
            request.container_id,
            rootfs=mounts_of(request.rootfs),
            stdio=_stdio(request),
            no_pivot_root=options.no_pivot_root,
            runtime=runtime,
            dump=dump,
        )
        return _MESSAGES.CreateTaskResponse(
            container_id=request.container_id, pid=task.init.pid if task.init else 0
        )

    @rpc("Start", Role.OPERATE)
    async def start(self, call: FaceCall, request: Any) -> Any:
        pid = await self.services.processes.start(call.namespace, request.container_id, request.exec_id)
        return _MESSAGES.StartResponse(pid=pid)

    @rpc("Exec", Role.OPERATE)
    async def exec(self, call: FaceCall, request: Any) -> Any:
        if not request.exec_id:
            raise InvalidArgument("the exec has no id", field="exec_id")
        process = payloads.oci_object(request.spec, "Process", "spec")
        call.note(program=_program(process))
        await self.services.processes.exec(
            call.namespace, request.container_id, request.exec_id, process, _stdio(request)
        )
        return _empty()

    @rpc("Kill", Role.OPERATE)
    async def kill(self, call: FaceCall, request: Any) -> Any:
        call.note(signal=request.signal)
        await self.services.processes.kill(
            call.namespace, request.container_id, request.signal, exec_id=request.exec_id, all=request.all
        )
        return _empty()

    @rpc("Wait", Role.READ, endless=True)
    async def wait(self, call: FaceCall, request: Any) -> Any:
        ended = await self.services.processes.wait(call.namespace, request.container_id, request.exec_id)
        return _MESSAGES.WaitResponse(exit_status=ended.code, exited_at=wire.timestamp(ended.at))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        return await self._delete(call, request.container_id, "")

    @rpc("DeleteProcess", Role.OPERATE)
    async def delete_process(self, call: FaceCall, request: Any) -> Any:
        if not request.exec_id:
            raise InvalidArgument("the process to delete has no id", field="exec_id")
        return await self._delete(call, request.container_id, request.exec_id)

    async def _delete(self, call: FaceCall, container_id: str, exec_id: str) -> Any:
        deleted = await self.services.processes.delete(call.namespace, container_id, exec_id)
        return _MESSAGES.DeleteResponse(
            id=exec_id,
            pid=deleted.pid,
            exit_status=deleted.exit_code,
            exited_at=wire.timestamp(deleted.exited_at),
        )

    @rpc("Pause", Role.OPERATE)
    async def pause(self, call: FaceCall, request: Any) -> Any:
        await self.services.processes.pause(call.namespace, request.container_id)
        return _empty()

    @rpc("Resume", Role.OPERATE)
    async def resume(self, call: FaceCall, request: Any) -> Any:
        await self.services.processes.resume(call.namespace, request.container_id)
        return _empty()

    @rpc("Checkpoint", Role.OPERATE)
    async def checkpoint(self, call: FaceCall, request: Any) -> Any:
        wanted = checkpoint_messages.wanted_checkpoint(request)
        taken = await self.services.dumper.take(
            call.namespace, request.container_id, wanted.options,
            lease=call.lease, images=wanted.images, work=wanted.work,
        )  # fmt: skip
        return checkpoint_messages.answer(taken.dump, taken.config)

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        resources = payloads.oci_object(request.resources, "LinuxResources", "resources")
        await self.services.processes.update(
            call.namespace, request.container_id, resources, dict(request.annotations)
        )
        return _empty()

    # ------------------------------------------------------------ stdio
    @rpc("ResizePty", Role.OPERATE)
    async def resize_pty(self, call: FaceCall, request: Any) -> Any:
        await self.services.processes.resize(
            call.namespace, request.container_id, request.exec_id, request.width, request.height
        )
        return _empty()

    @rpc("CloseIO", Role.OPERATE)
    async def close_io(self, call: FaceCall, request: Any) -> Any:
        await self.services.processes.close_io(
            call.namespace, request.container_id, request.exec_id, stdin=request.stdin
        )
        return _empty()

    # ------------------------------------------------------------ looking
    @rpc("Get", Role.READ, quick=True)
    async def get(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.processes.get(call.namespace, request.container_id, request.exec_id)
        return _MESSAGES.GetResponse(process=_process(found))

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, _request: Any) -> Any:
        """Return all tasks: containerd doesn't read the request's filter either."""
        found = await self.services.processes.list(call.namespace)
        return _MESSAGES.ListTasksResponse(tasks=map(_process, found))

    @rpc("ListPids", Role.READ)
    async def list_pids(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.processes.pids(call.namespace, request.container_id)
        return _MESSAGES.ListPidsResponse(processes=[_process_info(*one) for one in found])

    @rpc("Metrics", Role.READ)
    async def metrics(self, call: FaceCall, request: Any) -> Any:
        """Return a sample of each task that runs and that any filter (on `id`, `namespace`) matches."""
        namespace = call.namespace
        wanted = any_of(request.filters)
        answer = _MESSAGES.MetricsResponse()
        for process in await self.services.processes.list(namespace):
            if wanted({"id": process.container, "namespace": namespace}):
                with suppress(NotFound, FailedPrecondition):  # it has ended
                    figures = await self.services.processes.figures(namespace, process.container)
                    taken = wire.timestamp(datetime.now(UTC))
                    answer.metrics.add(timestamp=taken, id=process.container, data=_sample(figures))
        return answer


def _stdio(request: Any) -> Stdio:
    return Stdio(request.stdin, request.stdout, request.stderr, request.terminal)


def _process(view: ProcessView) -> Any:
    return _TYPES.Process(
        container_id=view.container,
        id=view.id,
        pid=view.pid,
        status=_STATUS[view.status],
        stdin=view.stdio.stdin,
        stdout=view.stdio.stdout,
        stderr=view.stdio.stderr,
        terminal=view.stdio.terminal,
        exit_status=view.exit_code,
        exited_at=wire.timestamp(view.exited_at),
    )


def _process_info(pid: int, exec_id: str) -> Any:
    info = _TYPES.ProcessInfo(pid=pid)
    if exec_id:
        info.info.CopyFrom(payloads.process_details(exec_id))
    return info


def _sample(figures: CgroupFiles) -> Any:
    return wire.any_of((metrics_v2 if figures.version == 2 else metrics_v1)(figures.files))


def _empty() -> Any:
    return wire.message("google.protobuf.Empty")()


def _program(process: Mapping[str, Any]) -> str:
    """Return what an audit line may tell of a process: its program, never arguments or environment."""
    args = process.get("args")
    return str(args[0])[:200] if isinstance(args, list) and args else ""
