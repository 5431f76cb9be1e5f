"""`make bench-fleet`: how long one Ansible task over a whole fleet takes, against the number of its nodes.

Brings up light nodes on this machine, each with namespaces, sshd and agent of its own. All runs on these
processors: the controller, and what each node does. Needs root, and about 70 MB for each node.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import fleet_record
from light_lab import gateway, memory_of, running_light_lab

from tricorn_testing.images import ImageLayout, busybox_layer
from tricorn_testing.registry import Registry, registry_program, wait_for, write_config

PROJECT: Final = Path(__file__).parents[2]
WORK: Final = PROJECT / ".bench/fleet"
RESULTS: Final = Path(__file__).parent / "results"
PROGRAMS: Final = Path(sys.executable).parent
FORKS: Final = 50
SERIES: Final = {
    "ping": "ansible.builtin.ping, pipelined",
    "apply": "apply, nothing to do",
    "start": "apply, a container to start",
    "fleet": "tricorn fleet nodes, the whole command",
}
Times = dict[str, list[float]]


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that the nodes go, too
    counts = sorted({int(word) for word in options.nodes.split(",")})
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK, prefix="run-") as directory:
        here = Path(directory)
        began = time.monotonic()
        with running_light_lab(here, counts[-1], "tricornfl", options.subnet, options.agent) as inventory:
            took = time.monotonic() - began
            _say(f"{counts[-1]} nodes after {took:.0f} s, with {memory_of(inventory) / 1e6:.0f} MB")
            with _registry(here, gateway(inventory)) as registry:
                image = _push(here, registry)
                measured = {
                    count: _measure(here, inventory, image, count, options.rounds) for count in counts
                }
                facts = {"up_seconds": round(took, 1), "memory_bytes": memory_of(inventory)}
    if options.keep:
        fleet_record.write(RESULTS, SERIES, measured, facts)
        _say(f"written to {RESULTS.relative_to(PROJECT)}/fleet.md, .json and .svg")
    return _verdict(measured[counts[-1]], counts[-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--nodes", default="5,10,25,50", metavar="N,…", help="sizes of the fleet")
    parser.add_argument("--rounds", type=int, default=3, help="times that each task is measured")
    parser.add_argument("--subnet", default="10.89.78.0/24", help="the nodes' network")
    parser.add_argument("--agent", type=Path, default=PROJECT / "agent", help="where the package tricorn is")
    parser.add_argument("--no-keep", dest="keep", action="store_false", help="don't write the record")
    return parser.parse_args()


@contextlib.contextmanager
def _registry(directory: Path, address: str) -> Iterator[Registry]:
    registry = Registry(f"{address}:5000")
    command = [registry_program(), "serve", str(write_config(directory / "registry", registry.address))]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(registry)
        yield registry
    finally:
        process.kill()
        process.wait()


def _push(directory: Path, registry: Registry) -> str:
    layout = ImageLayout(directory / "layout")
    layout.tag("1", layout.add_image([busybox_layer()], {"Env": ["PATH=/bin"]}))
    return registry.push(layout, "1", "bench/busybox:1")


def _measure(directory: Path, inventory: Path, image: str, count: int, rounds: int) -> Times:
    """Return the seconds of each round for each of SERIES, tasks in turn, on the first `count` nodes."""
    tasks: list[dict[str, Any]] = [_apply("warm up", image, ["base"]), _ping("warm up")]
    for _ in range(rounds):
        tasks += [_ping("ping"), _apply("apply", image, ["base"]), _apply("start", image, ["base", "more"])]
        tasks.append(_apply("back", image, ["base"]))
    tasks.append(_apply("clear", image, []))
    limit = f"nodes[0:{count - 1}]"
    moments = _play(directory, inventory, tasks, limit)
    times: Times = {name: [] for name in SERIES}
    for (name, began), (_, ended) in itertools.pairwise(moments):
        if name in times:
            times[name].append(ended - began)
    times["fleet"] = [_fleet(inventory, limit) for _ in range(rounds)]
    _say(f"{count} nodes: " + ", ".join(f"{name} {median(found):.2f} s" for name, found in times.items()))
    return times


def _ping(name: str) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.ping": {}}


def _apply(name: str, image: str, containers: Sequence[str]) -> dict[str, Any]:
    """Return a task that has exactly these containers run, and the image be there."""
    common = {"image": image, "pull": "never", "command": "sleep 100000", "stop_timeout": 0}
    namespace = {
        "name": "bench", "prune": True, "images": [{"name": image, "plain_http": True}],
        "containers": [{"name": each, **common} for each in containers],
    }  # fmt: skip
    return {"name": name, "tricorn.containerd.apply": {"namespaces": [namespace]}}


def _play(
    directory: Path, inventory: Path, tasks: Sequence[Mapping[str, Any]], limit: str
) -> list[tuple[str, float]]:
    """Run the tasks; return name and moment of each one's begin, and at last that of the play's end."""
    book, moments = directory / "play.yml", directory / "moments.json"
    book.write_text(
        json.dumps([{"name": "Measure", "hosts": "nodes", "gather_facts": False, "tasks": tasks}])
    )
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_FORKS": str(FORKS), "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times", "TASK_TIMES": str(moments),
    }  # fmt: skip
    command = [str(PROGRAMS / "ansible-playbook"), "-i", str(inventory), "--limit", limit, str(book)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the play failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return [(name, moment) for name, moment in json.loads(moments.read_text())]


def _fleet(inventory: Path, limit: str) -> float:
    command = [str(PROGRAMS / "tricorn"), "fleet", "nodes", "-i", str(inventory), "--limit", limit]
    began = time.monotonic()
    subprocess.run(command, cwd=PROJECT, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def _verdict(times: Times, count: int) -> int:
    """Say whether the aims for 50 nodes are met, in proportion for fewer; return the exit status."""
    apply, ping = median(times["apply"]), median(times["ping"])
    within = fleet_record.AIM_SECONDS * count / 50
    _say(
        f"apply over {count} nodes: {apply:.2f} s (aim: {within:.1f}), {ping / apply:.1f} times as fast as ping (aim: 5)"
    )
    return int(apply > within or ping < 5 * apply)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
