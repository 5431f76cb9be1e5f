"""`tricorn fleet …`: what all nodes of an Ansible inventory run, and in what they differ."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from tricorn.cli.apply import read_state
from tricorn.cli.figures import parse_duration
from tricorn.cli.output import clean, emit_json, emit_line
from tricorn.cli.settings import Settings, command
from tricorn.errors import FailedPrecondition, InvalidArgument, Unavailable

fleet_command = click.Group("fleet", help="Show the nodes of an Ansible inventory, over ssh.")

DRIFTED: Final = 1
_LEAST: Final = 0.2  # seconds between two looks
_NODES: Final = """\
tricorn fleet nodes -i inventory/lab.yml
tricorn fleet nodes --limit 'web:!canaries' --watch
tricorn --json fleet nodes | jq '.[] | select(.error != "") | .name'"""
_CONTAINERS: Final = """\
tricorn fleet containers --limit web
tricorn --json fleet containers | jq '.[] | select(.status != "running")'"""
_IMAGES: Final = "tricorn fleet images\ntricorn --json fleet images | jq '.[] | [.name, .nodes]'"
_DRIFT: Final = """\
tricorn fleet drift
tricorn fleet drift --desired shop.toml --limit shops
tricorn --json fleet drift --desired shop.toml | jq -r '.[].node' | sort -u"""
_REPORT: Final = """\
tricorn fleet report --html fleet.html
tricorn fleet report --html - --desired shop.toml | gzip > fleet.html.gz
tricorn --json fleet report > fleet.json"""


def _looking(*, again: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of all looks; with `again` those of watching, too."""
    options = [
        click.option(
            "-i", "--inventory", multiple=True, metavar="PATH", type=click.Path(),
            help="An inventory as Ansible takes it; may be repeated (default: ansible.cfg's).",
        ),
        click.option("-l", "--limit", default="", metavar="PATTERN", help="These hosts and groups only."),
        click.option(
            "--parallel", type=click.IntRange(1, 256), default=16, show_default=True,
            help="Ask so many nodes at a time.",
        ),
        click.option(
            "--timeout", default="15s", show_default=True, metavar="DURATION", help="Time for each node."
        ),
    ]  # fmt: skip
    if again:
        options += [
            click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C."),
            click.option(
                "--interval", default="2s", show_default=True, metavar="DURATION", help="Between two looks."
            ),
        ]

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda made, option: option(made), reversed(options), function)

    return add


def _desired(function: Callable[..., Any]) -> Callable[..., Any]:
    text = "What the nodes should be, in the form of `tricorn apply`; `-` is stdin."
    return click.option("--desired", metavar="FILE", type=click.Path(allow_dash=True), help=text)(function)


@command("nodes", examples=_NODES)
@_looking()
def nodes(settings: Settings, **options: Any) -> int:
    """Show each node: its agent, containers, images, memory, and whether it differs from the others.

    Nodes are the hosts of the inventory's group `nodes`, or all hosts where there is no such group. A node
    that isn't reached in time is told as such, and the exit status is 12 then.
    """
    from tricorn.cli import fleet_tables as tables
    from tricorn.fleet.looking import Wanted

    wanted = Wanted(host=True, containers=True, images=True, figures=True)
    return _show(settings, options, wanted, tables.nodes, tables.nodes_document)


@command("containers", examples=_CONTAINERS)
@_looking()
def containers(settings: Settings, **options: Any) -> int:
    """Show the containers of all nodes, in all namespaces."""
    from tricorn.cli import fleet_tables as tables
    from tricorn.fleet.looking import Wanted

    wanted = Wanted(containers=True, figures=True)
    return _show(settings, options, wanted, tables.containers, tables.containers_document)


@command("images", examples=_IMAGES)
@_looking()
def images(settings: Settings, **options: Any) -> int:
    """Show the images of all nodes, in all namespaces, and which nodes have them."""
    from tricorn.cli import fleet_tables as tables
    from tricorn.fleet.looking import Wanted

    return _show(settings, options, Wanted(images=True), tables.images, tables.images_document)


@command("drift", examples=_DRIFT)
@_looking()
@_desired
def drift(settings: Settings, desired: str | None, **options: Any) -> int:
    """Show in what nodes differ from a desired state, or from most of the others. Nothing is changed.

    With --desired each agent plans what `tricorn apply FILE` would do; a node drifts when there is something
    to do. Without, agents are compared by version, images of one name by digest, and containers of one name
    by image and settings; what a node hasn't at all is no drift. The exit status is 1 when a node drifts.
    """
    from tricorn.cli import fleet_tables as tables
    from tricorn.fleet.looking import Wanted

    state = None if desired is None else read_state(desired)
    wanted = Wanted(containers=state is None, images=state is None, desired=state)
    return _show(settings, options, wanted, tables.drift, tables.drift_document, drifted=DRIFTED)


@command("report", examples=_REPORT)
@_looking(again=False)
@_desired
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Write one page without anything beside it.",
)
@click.option("--title", default="Fleet", show_default=True, help="The page's title.")
def report(settings: Settings, html: str | None, title: str, desired: str | None, **options: Any) -> int:
    """Write a page that shows the whole fleet: picture, memory, pull times, tables, drift. Or --json."""
    from tricorn.cli import fleet_tables as tables
    from tricorn.fleet.looking import Wanted

    if not html and not settings.json:
        raise click.UsageError("name the page's file with --html, or ask for --json")
    state = None if desired is None else read_state(desired)
    wanted = Wanted(host=True, containers=True, images=True, figures=True, desired=state)

    def write(view: Any) -> None:
        from tricorn.cli.fleet_page import page

        assert html is not None
        _write(html, page(view, title))

    return _show(settings, options, wanted, write, tables.fleet_document, page=html)


def _write(path: str, text: str) -> None:
    """Write the page as a whole or not at all."""
    if path == "-":
        click.echo(text, nl=False)
        return
    import os

    half = f"{path}.{os.getpid()}.new"
    try:
        with open(half, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(half, path)
    except OSError as error:
        raise FailedPrecondition(f"{path} can't be written", why=error.strerror or "") from error


def _show(
    settings: Settings, options: dict[str, Any], wanted: Any, show: Callable[[Any], None],
    document: Callable[[Any], Any], *, drifted: int = 0, page: str | None = None,
) -> int:  # fmt: skip
    """Look once, or with --watch until Ctrl-C, and print what was seen; return the exit status."""
    from tricorn.cli.fleet_loop import look_and
    from tricorn.fleet import inventory

    pause = parse_duration(options.get("interval", "2s"), "--interval")
    timeout = parse_duration(options["timeout"], "--timeout")
    if timeout <= 0:
        raise InvalidArgument("nodes need some time", field="--timeout")
    watch = bool(options.get("watch"))
    places = inventory.read(options["inventory"], options["limit"], settings.socket)
    emit = emit_line if watch else emit_json
    status = 0

    def told(view: Any) -> None:
        nonlocal status
        if page or not settings.json:
            show(view)
        else:
            emit(document(view))
        for node in view.unreached:
            click.echo(f"tricorn: {clean(node.name)}: {clean(node.error)}", err=True)
        status = Unavailable.exit_status if view.unreached else drifted if view.drift else 0

    again = max(pause, _LEAST) if watch else None
    look_and(told, places, wanted, parallel=options["parallel"], timeout=timeout, again=again,
             draw=watch and not settings.json)  # fmt: skip
    return status


for _each in (nodes, containers, images, drift, report):
    fleet_command.add_command(_each)
