"""`tricorn attach`."""

from __future__ import annotations

import click

from tricorn.cli import complete, detach
from tricorn.cli.door import calls
from tricorn.cli.run import farewell, require_terminal
from tricorn.cli.settings import Settings, command
from tricorn.cli.stdio import Foreground, Wishes

_EXAMPLES = """\
tricorn attach web
tricorn attach --no-stdin --no-sig-proxy web
tricorn attach --detach-keys ctrl-x,d web"""


@command("attach", examples=_EXAMPLES)
@click.option("--no-stdin", is_flag=True, help="Only watch.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the container.")
@click.option("--detach-keys", default=detach.DEFAULT, metavar="KEYS", show_default=True)
@click.argument("container", shell_complete=complete.containers)
def attach_command(
    settings: Settings, container: str, no_stdin: bool, sig_proxy: bool, detach_keys: str
) -> int:
    """Connect to a running container's own input and output; the exit status is the container's.

    On a terminal the detach keys leave the container running.
    """
    keys = detach.parse(detach_keys)
    view = settings.door.call(calls.container(settings.namespace, container))
    desired = view.get("desired") or {}
    wishes = Wishes(
        stdin=bool(desired.get("stdin")) and not no_stdin,
        terminal=bool((view.get("task") or {}).get("terminal") or desired.get("terminal")),
        signals=sig_proxy,
        keys=keys,
    )
    require_terminal(wishes)
    link, first = settings.door.upgrade(calls.attach(settings.namespace, container))
    return farewell(Foreground(link, first, wishes).run(), container)
