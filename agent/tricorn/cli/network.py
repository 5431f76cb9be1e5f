"""`tricorn network …`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.figures import age, labels, pairs
from tricorn.cli.output import each, emit_json, listing
from tricorn.cli.settings import Settings, command
from tricorn.client import network_calls as calls
from tricorn.errors import InvalidArgument

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
        item["name"], item["driver"], _both(item, "subnet"), _both(item, "gateway"),
        str(len(item["containers"])), age(created) if created else "-", labels(item.get("labels")),
    )  # fmt: skip


def _both(item: dict[str, Any], key: str) -> str:
    return ", ".join(filter(None, (item[key], item.get(f"{key}6")))) or "-"


_CREATE = """\
tricorn network create front
tricorn network create back --subnet 10.40.0.0/24 --mtu 1400 --no-masquerade
tricorn network create dual --ipv6
tricorn network create wide --subnet 10.41.0.0/24 --subnet 2001:db8:41::/64
tricorn network create six --no-ipv4 --ipv6
tricorn network create ci --for 'ci-*' --dns 10.0.0.53 -l team=build
tricorn run --network front -p 8080:80 docker.io/library/nginx"""


@command("create", examples=_CREATE)
@click.option(
    "--subnet", "subnets", multiple=True, metavar="CIDR",
    help="Of IPv4 or IPv6, or one of each; free ones of the agent's pools otherwise.",
)  # fmt: skip
@click.option(
    "--gateway", "gateways", multiple=True, metavar="ADDRESS",
    help="The node's address in a subnet. [default: the first one]",
)  # fmt: skip
@click.option("--ipv4/--no-ipv4", default=None, help="[default: with IPv4]")
@click.option("--ipv6/--no-ipv6", default=None, help="[default: with IPv6 if --subnet names some]")
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
    desired |= _of_families("subnet", desired.pop("subnets", ()))
    desired |= _of_families("gateway", desired.pop("gateways", ()))
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
    for warning in () if settings.json else change.get("warnings") or ():
        click.echo(f"warning: {warning}", err=True)


def _of_families(key: str, texts: Sequence[str]) -> dict[str, str]:
    """Return subnets or gateways by the names that the API has for those of IPv4 and of IPv6."""
    found: dict[str, str] = {}
    for text in texts:
        name = f"{key}6" if ":" in text else key
        if name in found:
            family = "IPv6" if ":" in text else "IPv4"
            raise InvalidArgument(
                f"a network has one {key} of {family}", why=f"{found[name]}, {text}", field=f"--{key}"
            )
        found[name] = text
    return found


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
