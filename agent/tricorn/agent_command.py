"""The commands of `tricornd`: the agent in the foreground, and its configuration's tools."""

from __future__ import annotations

import os
import signal
import sys

import attrs
import click

import tricorn
from tricorn import class_code, lean_logging
from tricorn import config as configuration
from tricorn.config import Config
from tricorn.errors import InvalidArgument

_EPILOG = """\b
Examples:
  tricornd                                   with /etc/tricorn/config.toml
  tricornd --root /srv/tricorn --state /run/lab --config ./lab.toml
  tricornd config default > /etc/tricorn/config.toml
  tricornd config check ./config.toml
  echo '{"settings": {"log_level": "debug"}}' | tricornd config put debugging --reload
  tricornd --root /var/lib/tricorn state check
"""


@click.group(invoke_without_command=True, epilog=_EPILOG)
@click.version_option(tricorn.__version__, prog_name="tricornd")
@click.option("--root", metavar="DIR", help="Where images and containers are kept.")
@click.option("--state", metavar="DIR", help="Where sockets and bundles are, emptied by a reboot.")
@click.option(
    "--config", "path", metavar="FILE", help=f"Default: {configuration.DEFAULT_PATH}, if it exists."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.pass_context
def cli(
    context: click.Context, root: str | None, state: str | None, path: str | None, log_level: str | None
) -> None:
    """Run the agent that runs this node's containers.

    It stays in the foreground. SIGTERM stops it and leaves the containers running; SIGHUP reads the
    configuration again.
    """
    given = {"root": root, "state": state, "log_level": log_level}
    path = os.path.abspath(path) if path else None  # the agent changes its directory
    context.obj = (path, {key: value for key, value in given.items() if value is not None})
    if context.invoked_subcommand is None:
        serve(*context.obj)


def load(path: str | None, overrides: dict[str, str]) -> Config:
    """Return the configuration of the files, with the command line's values over it."""
    cleaned = {
        key: os.path.abspath(value) if key in {"root", "state"} else value for key, value in overrides.items()
    }
    return attrs.evolve(configuration.load(path), **cleaned)  # type: ignore[arg-type]  # checked by click


def serve(path: str | None, overrides: dict[str, str]) -> None:
    """Run the agent until it is told to stop."""
    config = load(path, overrides)
    if os.geteuid() != 0:
        raise click.ClickException("the agent needs root (hint: sudo, or the systemd unit)")
    lean_logging.load()
    from tricorn import daemon

    class_code.finish()
    raise SystemExit(daemon.run(config, lambda: load(path, overrides)))


@cli.group("config")
def config_group() -> None:
    """Print and check configurations."""


@config_group.command("default")
def config_default() -> None:
    """Print the configuration that holds where nothing is set."""
    click.echo(configuration.dump(Config()), nl=False)


@config_group.command("check")
@click.argument("file", required=False)
@click.pass_obj
def config_check(given: tuple[str | None, dict[str, str]], file: str | None) -> None:
    """Check FILE (or the one in use) and its conf.d; say what is wrong and where."""
    configuration.load(file or given[0])
    click.echo("the configuration is valid")


@config_group.command("put")
@click.argument("name")
@click.option("--plan", is_flag=True, help="Only tell what would change.")
@click.option(
    "--reload", "reloads", is_flag=True, help="Have a running agent read what it can without a restart."
)
@click.pass_obj
def config_put(given: tuple[str | None, dict[str, str]], name: str, plan: bool, reloads: bool) -> None:
    """Make sure that conf.d/NAME.toml holds what a JSON document on standard input says, or that it is gone.

    The document has `state` (present, absent), `settings`, and `secrets`: contents by names of files beside
    conf.d, null for one that shall go. Nothing is written that the agent wouldn't take. Prints what changed,
    and which keys wait for a reload or a restart, as JSON.
    """
    import json

    from tricorn.config_files import put

    try:
        document = json.loads(sys.stdin.buffer.read())
    except ValueError as error:
        raise InvalidArgument("standard input holds no JSON document", why=str(error)) from None
    done = put(given[0], name, document, plan=plan)
    if reloads and done["reload"] and not plan:
        _reload(configuration.load(given[0]).root)
    click.echo(json.dumps(done))


def _reload(root: str) -> None:
    from tricorn.directories import holder

    if (pid := holder(root)) is not None:
        os.kill(pid, signal.SIGHUP)


@config_group.command("dump")
@click.pass_obj
def config_dump(given: tuple[str | None, dict[str, str]]) -> None:
    """Print the configuration as it holds, all files merged."""
    click.echo(configuration.dump(load(*given)), nl=False)


@cli.group("state")
def state_group() -> None:
    """Check what an agent has left in its root directory; for upgrades and downgrades."""


@state_group.command("check")
@click.pass_obj
def state_check(given: tuple[str | None, dict[str, str]]) -> None:
    """Tell whether this release can read the database, whether or not an agent runs.

    The exit code is 0 if it can.
    """
    from tricorn.store.connection import database_path
    from tricorn.store.schema_copies import check_fit

    fit = check_fit(database_path(_root(given)))
    if not fit.found:
        click.echo("there is no database yet")
    elif fit.found < fit.known:
        click.echo(f"the database has schema version {fit.found}; this release changes it to {fit.known}")
    else:
        click.echo(f"the database has schema version {fit.found}, which is this release's own")


@state_group.command("restore")
@click.pass_obj
def state_restore(given: tuple[str | None, dict[str, str]]) -> None:
    """Put back the database as it was before a newer release changed its schema, if it did.

    What was recorded since then is forgotten. No agent may run.
    """
    from tricorn.directories import root_lock
    from tricorn.store.connection import database_path
    from tricorn.store.schema_copies import fit_of, restore_copy

    root = _root(given)
    path = database_path(root)
    if fit_of(path).readable:
        click.echo("this release can read the database as it is")
        return
    with root_lock(root):
        click.echo(f"the database of schema version {restore_copy(path).found} is back")


@state_group.command("forget")
@click.pass_obj
def state_forget(given: tuple[str | None, dict[str, str]]) -> None:
    """Begin anew where the database is missing or empty: an agent refuses to start over what it knew.

    Its blobs, snapshots and containers are removed when an agent starts. No agent may run.
    """
    from tricorn.directories import root_lock
    from tricorn.store.lost_database import forget

    root = _root(given)
    with root_lock(root):
        made = forget(root)
    click.echo(
        "there is a new database; what the old one knew is removed with the next start"
        if made
        else "there is a database: nothing is forgotten"
    )


def _root(given: tuple[str | None, dict[str, str]]) -> str:
    """Return the root directory; a configuration that another release has written needn't be readable."""
    named = given[1].get("root")
    return os.path.abspath(named) if named else load(*given).root
