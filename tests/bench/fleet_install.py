"""`make bench-install`: what it takes to install the agent on one more node, with the bundle on the controller.

Brings up a lab of nodes with systemd and sshd on this machine, as `make lab` does. All runs on these processors:
the controller, and what each node does. Needs root.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tricorn_testing.labs import PROJECT, Lab, running_lab

RESULTS: Final = Path(__file__).parent / "results"
AIM_SECONDS: Final = 2.0  # to bring the bundle to a node, and unpack it
BUNDLE: Final = "tricorn.containerd.agent : Unpack the bundle"
SERIES: Final = {
    "bundle": "the bundle brought and unpacked",
    "role": "the whole role on a bare node",
    "again": "the whole role, nothing to do",
}
Figures = dict[str, list[float]]


def main() -> int:
    options = _arguments()
    with running_lab(options.nodes + 1) as lab:
        os.environ.update(_recording(lab))
        first, others = lab.nodes[0], lab.nodes[1:]
        _install(lab, [first])  # builds the bundle
        figures = _measure(lab, others, options.rounds)
    for name, words in SERIES.items():
        _say(f"{words}: {median(figures[name]):.2f} s a node")
    if options.keep:
        _write(figures, options.nodes)
        _say(f"written to {RESULTS.relative_to(PROJECT)}/install.md and .json")
    return int(median(figures["bundle"]) > AIM_SECONDS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-install", description=__doc__)
    parser.add_argument("--nodes", type=int, default=4, metavar="N", help="nodes beside the first")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured")
    parser.add_argument("--no-keep", dest="keep", action="store_false", help="don't write the record")
    return parser.parse_args()


def _recording(lab: Lab) -> dict[str, str]:
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times", "TASK_TIMES": str(lab.directory / "moments.json"),
    }  # fmt: skip


def _measure(lab: Lab, nodes: Sequence[str], rounds: int) -> Figures:
    """Return the seconds a node of each round."""
    figures: Figures = {name: [] for name in SERIES}
    for _ in range(rounds):
        lab.ansible("ansible", ":".join(nodes), "-m", "ansible.builtin.ping")  # connections are kept
        fresh, again = _install(lab, nodes), _install(lab, nodes)
        figures["bundle"].append(fresh[BUNDLE] / len(nodes))
        figures["role"].append(sum(fresh.values()) / len(nodes))
        figures["again"].append(sum(again.values()) / len(nodes))
        _play(lab, nodes, agent_state="absent", agent_purge=True)
    return figures


def _install(lab: Lab, nodes: Sequence[str]) -> Mapping[str, float]:
    return _play(lab, nodes, agent_bundle_cache=str(lab.directory / "bundles"))


def _play(lab: Lab, nodes: Sequence[str], **variables: Any) -> Mapping[str, float]:
    """Run the role on nodes; return the seconds of its tasks."""
    book = lab.directory / "install.yml"
    role = {"name": "Install", "hosts": "nodes", "gather_facts": False, "roles": ["tricorn.containerd.agent"]}
    book.write_text(json.dumps([role]))
    lab.ansible(
        "ansible-playbook", "--limit", ",".join(nodes), "--extra-vars", json.dumps(variables), str(book)
    )
    times: dict[str, float] = {}
    moments = json.loads((lab.directory / "moments.json").read_text())
    for (name, began), (_, ended) in itertools.pairwise(moments):
        times[name] = times.get(name, 0.0) + ended - began
    return times


def _write(figures: Figures, nodes: int) -> None:
    machine = {"cpus": os.cpu_count(), "kernel": platform.release()}
    document = {"machine": machine, "nodes": nodes, "aim": AIM_SECONDS, "seconds": figures}
    (RESULTS / "install.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "install.md").write_text(_text(figures, nodes))


def _text(figures: Figures, nodes: int) -> str:
    told = (
        f"{os.cpu_count()} processors, kernel {platform.release()}; controller and {nodes} nodes of a lab on this"
        f" machine, installed at a time. Wall time divided by the nodes, medians of {len(figures['role'])}; the"
        " bundle is on the controller already.\n"
    )
    aims = {"bundle": f"{AIM_SECONDS:g}"}
    rows = [
        f"| {words} | {median(figures[name]):.2f} | {aims.get(name, '')} |" for name, words in SERIES.items()
    ]
    head = ["# Measured by `make bench-install`\n", told, "| | seconds a node | aim |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
