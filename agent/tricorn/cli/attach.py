"""`tricorn attach`."""

from __future__ import annotations

import click

from tricorn.cli import complete, detach
from tricorn.cli.door import calls
from tricorn.cli.joining import Joining
from tricorn.cli.run import farewell, require_terminal
from tricorn.cli.settings import Settings, command
from tricorn.cli.stdio import Foreground, Wishes
from tricorn.client.exec_calls import exec_of

_EXAMPLES = """\
tricorn attach web
tricorn attach --no-stdin --no-sig-proxy web
tricorn attach --detach-keys ctrl-x,d web
tricorn attach --exec build --replay web"""


@command("attach", examples=_EXAMPLES)
@click.option("--no-stdin", is_flag=True, help="Only watch.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the container.")
@click.option("--detach-keys", default=detach.DEFAULT, metavar="KEYS", show_default=True)
@click.option("--exec", "exec_id", metavar="ID", help="Join an exec of it that was detached or kept.")
@click.option("--replay", is_flag=True, help="With --exec: begin with what it wrote before.")
@click.argument("container", shell_complete=complete.containers)
def attach_command(
    settings: Settings,
    container: str,
    *,
    no_stdin: bool,
    sig_proxy: bool,
    detach_keys: str,
    exec_id: str | None,
    replay: bool,
) -> int:
    """Connect to a running container's own input and output; the exit status is the container's.

    With --exec it is an exec's, running or ended. On a terminal the detach keys leave all of them running.
    """
    keys = detach.parse(detach_keys)
    if exec_id:
        view = settings.door.call(exec_of(settings.namespace, container, exec_id))
        joining = Joining(settings, container, view, replay=replay)
        return joining.run(signals=sig_proxy, keys=keys, stdin=not no_stdin)
    if replay:
        raise click.UsageError("--replay needs --exec")
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
