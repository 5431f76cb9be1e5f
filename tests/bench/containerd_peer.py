"""A containerd of its own root, state and socket, spoken to by gRPC and by `ctr`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from rig import CpuMeter, Laps

from tricorn_testing.processes import command_line, kill_naming, process_ids

PROTO = Path(__file__).parents[2] / "agent/proto"
NAMESPACE = "bench"
RUNTIME = "io.containerd.runc.v2"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
]
MASKED = (
    "asound",
    "acpi",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
)
READONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def messages(work: Path) -> dict[str, Any]:
    """Compile our .proto files; return the message classes by full name."""
    compiled = work / "containerd.pb"
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    options = [f"-I{PROTO}", f"--descriptor_set_out={compiled}", "--include_imports"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *files], check=True)
    pool = descriptor_pool.DescriptorPool()
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    for file in descriptors.file:
        pool.Add(file)
    return dict(message_factory.GetMessageClassesForFiles([file.name for file in descriptors.file], pool))


class GrpcClient:
    """Unary calls by method name; one channel, kept open."""

    def __init__(self, address: str, work: Path) -> None:
        self.types = messages(work)
        self._channel = grpc.insecure_channel(f"unix://{address}")
        self._calls: dict[str, Any] = {}

    def message(self, name: str, **fields: Any) -> Any:
        return self.types[name](**fields)

    def call(self, service: str, method: str, request: Any, answer: str, timeout: float = 60) -> Any:
        path = f"/containerd.services.{service}/{method}"
        if path not in self._calls:
            self._calls[path] = self._channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=self.types[answer].FromString,
            )
        metadata = (("containerd-namespace", NAMESPACE),)
        return self._calls[path](request, metadata=metadata, timeout=timeout)

    def future(self, service: str, method: str, request: Any, answer: str) -> Any:
        path = f"/containerd.services.{service}/{method}"
        caller = self._channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.types[answer].FromString,
        )
        return caller.future(request, metadata=(("containerd-namespace", NAMESPACE),), timeout=120)

    def close(self) -> None:
        self._channel.close()


class ContainerdPeer:
    """`prefix` holds the release's files ("/" for the system's own); `more` goes into its configuration."""

    def __init__(self, name: str, prefix: Path, base: Path, state: Path, more: str = "") -> None:
        self.name = name
        self.more = more
        self.prefix = prefix
        self.root = base / "root"
        self.state = state
        self.address = str(state / "containerd.sock")
        self.base = base
        binaries = [str(prefix / part) for part in ("usr/bin", "usr/sbin")]
        self.environment = {**os.environ, "PATH": ":".join([*binaries, os.environ["PATH"]])}
        self.meter = CpuMeter(f"tricorn-bench-{name}", [NAMESPACE])
        self.laps = Laps()
        self.seccomp: Mapping[str, Any] | None = None  # a profile for every container
        self.process: subprocess.Popen[bytes] | None = None
        self.client: GrpcClient | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        for directory in (self.root, self.state):
            directory.mkdir(parents=True, exist_ok=True)
        config = self.base / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.root}"\nstate = "{self.state}"\n'
            f'[grpc]\n  address = "{self.address}"\n[ttrpc]\n  address = "{self.address}.ttrpc"\n{self.more}'
        )
        program = str(self.prefix / "usr/bin/containerd")
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.meter.wrap([program, "--config", str(config), "--log-level", "error"]),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_ready()
        self.client = GrpcClient(self.address, self.base)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 30
        while self.ctr("version", check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} doesn't answer:\n{(self.base / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        if self.client:
            self.client.close()
        if self.process:
            self.process.terminate()
            self.process.wait(30)
        kill_naming(self.address)
        self.meter.remove()

    def version(self) -> str:
        for line in self.ctr("version").stdout.splitlines():
            if "Version:" in line:
                return str(line.split(":", 1)[1].strip())
        return "?"

    def ask_version(self) -> str:
        """Ask over the kept channel."""
        client = self._client()
        nothing = client.message("google.protobuf.Empty")
        answer = "containerd.services.version.v1.VersionResponse"
        return str(client.call("version.v1.Version", "Version", nothing, answer).version)

    def ctr(self, *words: str, check: bool = True, address: str = "") -> subprocess.CompletedProcess[str]:
        """Run this release's ctr, on another server's `address` if one is given."""
        program = str(self.prefix / "usr/bin/ctr")
        command = [program, "--address", address or self.address, "-n", NAMESPACE, *words]
        outcome = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        if check and outcome.returncode:
            raise RuntimeError(f"{self.name}: ctr {' '.join(words)}: {outcome.stderr[-500:]}")
        return outcome

    # ------------------------------------------------------------ images
    def pull(self, reference: str, *extra: str) -> None:
        self.ctr("images", "pull", "--plain-http", *extra, reference)

    def push(self, reference: str, target: str) -> None:
        self.ctr("images", "push", "--plain-http", target, reference)

    def import_archive(self, archive: Path, name: str) -> None:
        """Import the archive's image as `name` with its tag, and unpack it."""
        self.ctr("images", "import", "--base-name", name, str(archive))

    def diff(self, key: str, media_type: str, address: str = "") -> int:
        """Let a server make the layer of a snapshot's changes; return its size as `ctr` hands it out."""
        words = ["snapshots", "diff", "--media-type", media_type, key]
        command = [str(self.prefix / "usr/bin/ctr"), "--address", address or self.address, "-n", NAMESPACE]
        with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, env=self.environment) as process:
            assert process.stdout is not None
            size = 0
            while data := process.stdout.read(1 << 20):
                size += len(data)
        if process.returncode:
            raise RuntimeError(f"{self.name}: ctr {' '.join(words)}: status {process.returncode}")
        return size

    def forget(self, reference: str) -> None:
        """Remove an image with everything only it keeps, and wait until the files are gone."""
        self.ctr("images", "rm", "--sync", reference, check=False)

    # ------------------------------------------------------------ containers
    def create(self, name: str, parent: str, args: list[str], runtime: str = "") -> list[Any]:
        """Prepare a snapshot on `parent` (a chain id) and create the container; return its mounts."""
        client = self._client()
        mounts = client.call(
            "snapshots.v1.Snapshots",
            "Prepare",
            client.message(
                "containerd.services.snapshots.v1.PrepareSnapshotRequest",
                snapshotter="overlayfs",
                key=name,
                parent=parent,
                labels={"containerd.io/gc.root": "bench"},
            ),
            "containerd.services.snapshots.v1.PrepareSnapshotResponse",
        ).mounts
        container = client.message("containerd.services.containers.v1.Container", id=name)
        container.snapshotter, container.snapshot_key = "overlayfs", name
        container.runtime.name = RUNTIME
        if runtime:
            container.runtime.options.CopyFrom(self._options(runtime))
        container.spec.type_url = SPEC_TYPE
        container.spec.value = json.dumps(spec(name, args, self.seccomp)).encode()
        client.call(
            "containers.v1.Containers",
            "Create",
            client.message("containerd.services.containers.v1.CreateContainerRequest", container=container),
            "containerd.services.containers.v1.CreateContainerResponse",
        )
        return list(mounts)

    def start_task(self, name: str, mounts: list[Any], runtime: str = "") -> Any:
        """Create and start the task; return the pending answer of Wait, asked for before the start."""
        client = self._client()
        request = client.message(
            "containerd.services.tasks.v1.CreateTaskRequest", container_id=name, rootfs=mounts
        )
        if runtime:
            request.options.CopyFrom(self._options(runtime))
        client.call("tasks.v1.Tasks", "Create", request, "containerd.services.tasks.v1.CreateTaskResponse")
        waiting = client.future(
            "tasks.v1.Tasks",
            "Wait",
            client.message("containerd.services.tasks.v1.WaitRequest", container_id=name),
            "containerd.services.tasks.v1.WaitResponse",
        )
        self._task("Start", "StartRequest", "StartResponse", container_id=name)
        return waiting

    def kill_task(self, name: str) -> None:
        client = self._client()
        request = client.message(
            "containerd.services.tasks.v1.KillRequest", container_id=name, signal=9, all=True
        )
        client.call("tasks.v1.Tasks", "Kill", request, "google.protobuf.Empty")

    def delete(self, name: str) -> None:
        """Delete the stopped task, the container and its snapshot."""
        client = self._client()
        self._task("Delete", "DeleteTaskRequest", "DeleteResponse", container_id=name)
        client.call(
            "containers.v1.Containers",
            "Delete",
            client.message("containerd.services.containers.v1.DeleteContainerRequest", id=name),
            "google.protobuf.Empty",
        )
        remove = client.message(
            "containerd.services.snapshots.v1.RemoveSnapshotRequest", snapshotter="overlayfs", key=name
        )
        client.call("snapshots.v1.Snapshots", "Remove", remove, "google.protobuf.Empty")

    def run_once(self, name: str, parent: str, runtime: str = "") -> None:
        """create → start → exit → delete of `true` in its own network namespace."""
        laps = self.laps
        with laps.time("create"):
            mounts = self.create(name, parent, ["/bin/true"], runtime)
        with laps.time("task"):
            waiting = self.start_task(name, mounts, runtime)
        with laps.time("exit"):
            exit_status = waiting.result().exit_status
        assert exit_status == 0, exit_status
        with laps.time("delete"):
            self.delete(name)

    def shims(self) -> list[int]:
        """Return the processes that watch this peer's containers."""
        return [
            pid
            for pid in process_ids()
            if (words := command_line(pid)) and "containerd-shim" in words[0] and self.address in words
        ]

    def _task(self, method: str, request: str, answer: str, **fields: Any) -> Any:
        client = self._client()
        prefix = "containerd.services.tasks.v1"
        return client.call(
            "tasks.v1.Tasks", method, client.message(f"{prefix}.{request}", **fields), f"{prefix}.{answer}"
        )

    def _options(self, runtime: str) -> Any:
        client = self._client()
        packed = client.message("google.protobuf.Any")
        packed.Pack(client.message("containerd.runc.v1.Options", binary_name=runtime), type_url_prefix="")
        packed.type_url = packed.type_url.lstrip("/")
        return packed

    def _client(self) -> GrpcClient:
        assert self.client is not None, "the peer isn't running"
        return self.client


def spec(name: str, args: list[str], seccomp: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what containerd's own client makes by default, own network namespace and `seccomp` included."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": _spec_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "cgroupsPath": f"/{NAMESPACE}/{name}",
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "maskedPaths": [f"/proc/{path}" for path in MASKED] + ["/sys/firmware"],
            "readonlyPaths": [f"/proc/{path}" for path in READONLY],
            **({"seccomp": seccomp} if seccomp else {}),
        },
    }


def _spec_mounts() -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    table: list[tuple[str, str, str, list[str]]] = [
        ("/proc", "proc", "proc", quiet),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", quiet),
        ("/sys", "sysfs", "sysfs", [*quiet, "ro"]),
        ("/run", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ]
    return [
        {"destination": target, "type": kind, "source": source, "options": options}
        for target, kind, source, options in table
    ]
