"""What is measured of the gRPC door: one Go client, and containerd's own `ctr`, ask both servers the same."""

from __future__ import annotations

import time
from collections.abc import Callable

from go_client import GoClient
from rig import Bound, Ceiling, Measurement, stopwatch
from sides import NEW, OURS, Stage

from tricorn_testing.processes import resident_kib

VERSION = "/containerd.services.version.v1.Version/Version"
NAMESPACES = "/containerd.services.namespaces.v1.Namespaces/List"
BLOB = 128 * 2**20
CHUNK = 2**20
STREAMS = 1000


def _addresses(stage: Stage) -> dict[str, str]:
    return {OURS: stage.tricorn.daemon.socket_path, NEW: stage.new.address}


def unary(stage: Stage) -> Measurement:
    """The median of small calls on one connection, one at a time."""
    result = Measurement("grpc-unary", "one small gRPC call (p50), the same Go client", "ms")
    client = GoClient.build(stage.work)
    for _ in range(stage.plan.rounds):
        for name, address in _addresses(stage).items():
            for path, label in ((VERSION, "version"), (NAMESPACES, "namespaces")):
                figures = client.unary(address, path, b"", 1500)
                result.side(f"{name}, {label}").add_round([figures["p50"] / 1e6])
            busy = client.unary(address, VERSION, b"", 150, 16)
            result.side(f"{name}, 16 at a time").add_round([busy["p50"] / 1e6])
    result.bounds = [Bound(f"{OURS}, version", f"{NEW}, version", 5.0)]
    result.notes.append("the aim: 2.0")
    return result


def content(stage: Stage) -> Measurement:
    """128 MiB written in acknowledged messages of 1 MiB, and read back."""
    result = Measurement("grpc-content", "128 MiB written and read, the same Go client", "s")
    client = GoClient.build(stage.work)
    for number in range(stage.plan.rounds):
        for name, address in _addresses(stage).items():
            seconds, digest = client.write(address, f"bench-{number}-{name}", BLOB, CHUNK)
            result.side(f"{name}, write").add_round([seconds])
            result.side(f"{name}, read").add_round([client.read(address, digest, BLOB)])
    # half of its throughput at least
    result.bounds = [Bound(f"{OURS}, {verb}", f"{NEW}, {verb}", 2.0) for verb in ("write", "read")]
    return result


def ctr_run(stage: Stage) -> Measurement:
    """`ctr run --rm` of `true`, the same unmodified ctr."""
    result = Measurement("grpc-ctr-run", "`ctr run --rm` of `true`, the same ctr", "ms")
    reference = stage.small.reference
    ours = stage.tricorn.daemon.socket_path
    sides: dict[str, Callable[[str], object]] = {
        OURS: lambda key: stage.new.ctr("run", "--rm", reference, key, "/bin/true", address=ours),
        NEW: lambda key: stage.new.ctr("run", "--rm", reference, key, "/bin/true"),
    }
    for number in range(stage.plan.rounds):
        for name, once in sides.items():
            once(f"w{number}-{name.split()[0]}")
            samples: list[float] = []
            for sample in range(stage.plan.runs):
                with stopwatch(samples):
                    once(f"g{number}-{sample}")
            result.side(name).add_round(samples)
    result.bounds = [Bound(OURS, NEW, 0.6)]
    return result


def streams(stage: Stage) -> Measurement:
    """What 1,000 idle event streams cost the server."""
    result = Measurement("grpc-streams", f"{STREAMS} idle event streams, growth of the server", "MB")
    client = GoClient.build(stage.work)
    for name, address in _addresses(stage).items():
        pid = stage.tricorn.pid if name == OURS else stage.new.pid
        client.unary(address, VERSION, b"", 10)
        before = resident_kib(pid)
        with client.subscribed(address, STREAMS):
            time.sleep(1)
            result.side(name).add_round([(resident_kib(pid) - before) / 1024])
    result.bounds = [Ceiling(OURS, 40.0)]
    return result


ALL: dict[str, Callable[[Stage], Measurement]] = {
    "grpc-unary": unary,
    "grpc-content": content,
    "grpc-ctr-run": ctr_run,
    "grpc-streams": streams,
}
