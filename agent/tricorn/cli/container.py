"""The life of containers after their creation: `tricorn ps`, `start`, `stop`, `rm` and the like."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.checkpoint import checkpoint
from tricorn.cli.commit import commit
from tricorn.cli.door import calls
from tricorn.cli.figures import age, labels, parse_duration, truncate
from tricorn.cli.output import attempt, each, each_at_once, emit_json, emit_several, table
from tricorn.cli.settings import Settings, command
from tricorn.cli.wait import wait
from tricorn.client import image_calls
from tricorn.errors import NotFound
from tricorn.exchange import Call

_names = click.argument(
    "names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete.containers
)
_timeout = click.option(
    "-t", "--timeout", metavar="DURATION", help="Before SIGKILL; the container's own otherwise."
)
_PS = """\
tricorn ps
tricorn ps -a --filter labels.app==web
tricorn rm -f $(tricorn ps -aq)"""


@command("ps", examples=_PS)
@click.option("-a", "--all", is_flag=True, help="Show stopped containers as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Print whole images and commands, and labels.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="For example labels.app==web.")
def ps(settings: Settings, all: bool, quiet: bool, no_trunc: bool, filters: tuple[str, ...]) -> None:
    """List containers. Filters are containerd's: FIELD, FIELD==VALUE, FIELD!=VALUE, FIELD~=REGEX."""
    items = settings.door.call(calls.containers(settings.namespace, filters, all=all))["items"]
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["id"])
    else:
        columns = ("ID", "IMAGE", "COMMAND", "STATUS", "PID", "CREATED")
        table((*columns, "LABELS") if no_trunc else columns, (_row(item, full=no_trunc) for item in items))


def _row(item: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    desired = item.get("desired") or {}
    program = " ".join([*(desired.get("entrypoint") or ()), *(desired.get("args") or ())])
    pid = (item.get("task") or {}).get("pid")
    cells = (
        item["id"],
        truncate(complete.familiar(item.get("image") or "-"), 40, full=full),
        truncate(program or "-", 24, full=full),
        status(item),
        str(pid) if pid else "-",
        age(item.get("created_at")),
    )
    return (*cells, labels(item.get("labels"))) if full else cells


def status(view: dict[str, Any], now: datetime | None = None) -> str:
    """Return a container's state as people read it: `running 5m`, `exited (137, out of memory) 2h ago`."""
    task = view.get("task")
    if not task:
        return "created"
    now = now or datetime.now(UTC)
    if task["status"] == "stopped":
        notes = [str(task.get("exit_code")), *(["out of memory"] if task.get("oom_killed") else [])]
        notes += [task["exit_note"]] if task.get("exit_note") else []
        since = age(task.get("exited_at"), now)
        return f"exited ({', '.join(notes)})" + (f" {since} ago" if since != "-" else "")
    since = age(task.get("started_at"), now)
    health = f" ({task['health']['status']})" if task.get("health") else ""
    return str(task["status"]) + (f" {since}" if since != "-" else "") + health


def _steer(settings: Settings, names: tuple[str, ...], verb: str, body: Any = None) -> int:
    return each(
        settings, names, lambda name: settings.door.call(calls.action(settings.namespace, name, verb, body))
    )


@command("start", examples="tricorn start web")
@_names
def start(settings: Settings, names: tuple[str, ...]) -> int:
    """Start containers that aren't running."""
    return _steer(settings, names, "start")


@command("stop", examples="tricorn stop web\ntricorn stop -t 30s web db")
@_timeout
@_names
def stop(settings: Settings, timeout: str | None, names: tuple[str, ...]) -> int:
    """Ask containers to stop; they are killed when they don't in time."""
    return _stop(settings, names, "stop", timeout)


@command("restart", examples="tricorn restart web\ntricorn restart -t 30s web db")
@_timeout
@_names
def restart(settings: Settings, timeout: str | None, names: tuple[str, ...]) -> int:
    """Stop containers, as `stop` does, and start them again; those that don't run are started."""
    return _stop(settings, names, "restart", timeout)


def _stop(settings: Settings, names: tuple[str, ...], verb: str, timeout: str | None) -> int:
    body = {} if timeout is None else {"timeout": parse_duration(timeout, "--timeout")}
    return each_at_once(settings, names, lambda name: calls.action(settings.namespace, name, verb, body))


@command("kill", examples="tricorn kill web\ntricorn kill -s HUP --all web")
@click.option("-s", "--signal", default="SIGKILL", show_default=True, metavar="SIGNAL")
@click.option("--all", is_flag=True, help="Signal all processes, not only the first.")
@_names
def kill(settings: Settings, signal: str, all: bool, names: tuple[str, ...]) -> int:
    """Send a signal to containers."""
    body = {"signal": signal_name(signal), "all": all}
    return _steer(settings, names, "kill", body)


def signal_name(text: str) -> str:
    """Return HUP, sighup or 1 as SIGHUP; what isn't known here is for the agent to judge."""
    import signal

    if text.isdigit():
        try:
            return signal.Signals(int(text)).name
        except ValueError:
            return text
    upper = text.upper()
    return upper if upper.startswith("SIG") else f"SIG{upper}"


@command("pause", examples="tricorn pause web")
@_names
def pause(settings: Settings, names: tuple[str, ...]) -> int:
    """Freeze the processes of containers."""
    return _steer(settings, names, "pause")


@command("resume", examples="tricorn resume web")
@_names
def resume(settings: Settings, names: tuple[str, ...]) -> int:
    """Let paused containers go on."""
    return _steer(settings, names, "resume")


@command("rm", examples="tricorn rm web\ntricorn rm -f $(tricorn ps -aq)")
@click.option("-f", "--force", is_flag=True, help="Stop running containers first.")
@click.option("-t", "--timeout", metavar="DURATION", help="With -f: before SIGKILL.")
@_names
def rm(settings: Settings, force: bool, timeout: str | None, names: tuple[str, ...]) -> int:
    """Remove containers and their files."""
    seconds = None if timeout is None else parse_duration(timeout, "--timeout")

    def request(name: str) -> Call:
        return calls.delete_container(settings.namespace, name, force=force, stop_timeout=seconds)

    return each_at_once(settings, names, request)


@command("inspect", examples="tricorn inspect web\ntricorn inspect web | jq .task")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete.containers)
def inspect(settings: Settings, names: tuple[str, ...]) -> int:
    """Print all about containers as JSON; a name that no container has may be an image's."""

    def look(name: str) -> Any:
        try:
            return settings.door.call(calls.container(settings.namespace, name))
        except NotFound as error:
            return _image(settings, name, error)

    return emit_several(names, look)


def _image(settings: Settings, name: str, missing: NotFound) -> Any:
    try:
        return settings.door.call(image_calls.image(settings.namespace, name))
    except NotFound:
        raise NotFound(f"no container and no image is called {name}", hint=missing.hint) from None


@command("stats", examples="tricorn stats\ntricorn stats web\ntricorn --json stats web | jq")
@click.argument("names", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete.containers)
def stats(settings: Settings, names: tuple[str, ...]) -> int:
    """Show what containers use now: all that run, or the named ones."""
    from tricorn.cli.usage import print_usage

    chosen = names or _running(settings)
    figures, code = attempt(
        chosen,
        lambda name: {"id": name, **settings.door.call(calls.stats(settings.namespace, name))},
    )
    if settings.json:
        emit_json(figures[0] if len(names) == 1 and figures else figures)
    else:
        print_usage(figures)
    return code


def _running(settings: Settings) -> tuple[str, ...]:
    items = settings.door.call(calls.containers(settings.namespace, all=False))["items"]
    return tuple(item["id"] for item in items)


def _list() -> click.Command:
    """Return `container ls`: `ps` under the name that the other nouns' lists have."""
    import copy

    alias = copy.copy(ps)
    alias.name = "ls"
    return alias


container_command = click.Group("container", help="List, inspect and steer containers.")
container_command.add_command(_list())
for _made in (checkpoint, commit, ps, start, stop, restart, kill, pause, resume, rm, wait, inspect, stats):
    container_command.add_command(_made)
