"""`tricorn network …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.figures import age, labels, pairs
from tricorn.cli.output import each, emit_json, listing
from tricorn.cli.settings import Settings, command
from tricorn.client import network_calls as calls

network_command = click.Group("network", help="Make, look at and remove networks of the node.")


@command("ls", examples="tricorn network ls\ntricorn network ls -q --filter driver==bridge")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER")
def ls(settings: Settings, quiet: bool, filters: tuple[str, ...]) -> None:
    """List the agent's own networks and those of CNI configuration lists."""
    items = settings.door.call(calls.networks(filters))["items"]
    columns = ("NAME", "DRIVER", "SUBNET", "GATEWAY", "CONTAINERS", "CREATED", "LABELS")
    listing(settings, items, columns, _row, quiet=quiet)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    created = item.get("created_at")
    return (
        item["name"], item["driver"], item["subnet"] or "-", item["gateway"] or "-",
        str(len(item["containers"])), age(created) if created else "-", labels(item.get("labels")),
    )  # fmt: skip


_CREATE = """\
tricorn network create front
tricorn network create back --subnet 10.40.0.0/24 --mtu 1400 --no-masquerade
tricorn network create ci --for 'ci-*' --dns 10.0.0.53 -l team=build
tricorn run --network front -p 8080:80 docker.io/library/nginx"""


@command("create", examples=_CREATE)
@click.option("--subnet", metavar="CIDR", help="IPv4; a free one of the agent's pool otherwise.")
@click.option("--gateway", metavar="ADDRESS", help="The node's address in it. [default: the first one]")
@click.option("--mtu", type=int, metavar="BYTES", help="[default: the kernel's]")
@click.option("--masquerade/--no-masquerade", default=None, help="Go out under the node's address.")
@click.option("--dns", multiple=True, metavar="ADDRESS", help="In place of the node's name servers.")
@click.option(
    "--for", "namespaces", multiple=True, metavar="PATTERN",
    help="Namespaces whose containers may join. [default: all]",
)  # fmt: skip
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE")
@click.option("--plan", is_flag=True, help="Say what would be done, and don't.")
@click.argument("name")
def create(settings: Settings, name: str, label: tuple[str, ...], plan: bool, **options: Any) -> None:
    """Make a network, or bring one that is there to this description."""
    desired = {key: value for key, value in options.items() if value not in (None, ())}
    desired = {key: list(value) if isinstance(value, tuple) else value for key, value in desired.items()}
    if label:
        desired["labels"] = pairs(label, "--label")
    change = settings.door.call(calls.put_network(name, desired, plan=plan))
    if settings.json:
        emit_json(change)
    elif plan:
        for action in change["actions"]:
            click.echo(f"{action['verb']} {action['object']}: {action['reason']}")
    else:
        click.echo(name)


@command("inspect", examples="tricorn network inspect front\ntricorn network inspect cni:podnet")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete.networks)
def inspect(settings: Settings, names: tuple[str, ...]) -> None:
    """Show networks with the containers in them, as JSON."""
    found = [settings.door.call(calls.network(name)) for name in names]
    emit_json(found[0] if len(found) == 1 else found)


@command("rm", examples="tricorn network rm front back")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete.networks)
def rm(settings: Settings, names: tuple[str, ...]) -> int:
    """Remove networks that no container is in."""
    return each(settings, names, lambda name: settings.door.call(calls.delete_network(name)))


for _made in (ls, create, inspect, rm):
    network_command.add_command(_made)
