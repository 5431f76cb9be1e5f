"""`make lab N=5`, `make lab-status`, `make lab-down`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import base, topology
from lab.fleet import Lab, NodeStatus
from lab.state import State
from lab.topology import LabError

PROJECT = Path(__file__).parents[2]
console = Console(highlight=False, soft_wrap=True)


@click.group()
@click.option(
    "--topology", "path", type=click.Path(path_type=Path), default=PROJECT / "inventory/lab.yml",
    help="The topology file, inventory/lab.yml by default.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Path(path_type=Path), default=PROJECT / ".lab",
    help="Where the nodes' common file system is kept.",
)  # fmt: skip
@click.pass_context
def main(context: click.Context, path: Path, cache: Path) -> None:
    """Debian nodes in namespaces of this machine, with systemd and sshd."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root, for namespaces and mounts", "sudo make lab")
    wanted = topology.read(path)
    context.obj = Lab(wanted.with_count(State(wanted.state).count() or wanted.count), cache.resolve(), say)


def say(name: str, text: str) -> None:
    console.print(f"  [cyan]{name:<10}[/] {escape(text)}")


@main.command()
@click.option(
    "--nodes", type=int, help="How many; as many as there are, or as the topology has, when left out."
)
@click.pass_obj
def up(lab: Lab, nodes: int | None) -> None:
    """Bring the nodes up; what is up already stays as it is, what is too much goes."""
    began = time.monotonic()
    if nodes is not None:
        lab = attrs.evolve(lab, topology=lab.topology.with_count(nodes))
    if not base.is_built(lab.cache):
        say("base", f"building the nodes' file system (Debian {base.SUITE}), once: a minute or two")
    changed = trio.run(lab.up)
    names = ", ".join(node.name for node in lab.topology.nodes)
    took = f"in {time.monotonic() - began:.1f} s" if changed else "as it was: nothing to do"
    console.print(f"[green]up[/] {names} {took}")
    config = os.path.relpath(lab.state.ssh_config)
    for command, what in (
        (f"ssh -F {config} n1", "a shell on a node"),
        ("ansible-playbook -i inventory/lab.yml tricorn.containerd.lab", "the agent on all of them"),
        ("ansible -i inventory/lab.yml nodes -m tricorn.containerd.node_info", "ask each agent"),
        ("make lab-down", "takes all of it away"),
    ):
        console.print(f"  [bold]{command:<68}[/] [dim]{what}[/]")


@main.command()
@click.pass_obj
def down(lab: Lab) -> None:
    """Take the nodes away with all that is theirs; only the common file system stays, for the next time."""
    console.print("[green]down[/]" if trio.run(lab.down) else "there was no lab: nothing to do")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def status(lab: Lab, as_json: bool) -> None:
    """Show the nodes; exit with 3 if one of them isn't running."""
    nodes = trio.run(lab.status)
    if as_json:
        click.echo(json.dumps([attrs.asdict(node) for node in nodes]))
    elif nodes:
        console.print(_table(nodes))
    else:
        console.print("no lab is up: make lab N=3")
    sys.exit(0 if all(node.state == "running" for node in nodes) else 3)


def _table(nodes: list[NodeStatus]) -> Table:
    table = Table("NODE", "ADDRESS", "STATE", "PID", "MEMORY", "DISK", box=None, pad_edge=False)
    for node in nodes:
        sizes = [f"{size / 2**20:.1f} MiB" for size in (node.memory, node.disk)]
        table.add_row(node.name, node.address, node.state, str(node.pid or "-"), *sizes)
    return table


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except LabError as error:
        console.print(f"[red]failed:[/] {escape(str(error))}")
        if error.hint:
            console.print(f"  try: {error.hint}", markup=False)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
