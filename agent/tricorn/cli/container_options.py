"""The options that `run` and `create` share, in groups as the help shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from tricorn.cli.complete import container_networks

_MANY: Final[dict[str, Any]] = {"multiple": True}

OPTIONS: Final = (
    # naming
    click.option("--name", metavar="ID", help="Name of the container; one is made up otherwise."),
    click.option("-l", "--label", **_MANY, metavar="KEY=VALUE", help="Label of the container."),
    click.option("--annotation", **_MANY, metavar="KEY=VALUE", help="Annotation in the runtime's spec."),
    # image
    click.option("--pull", type=click.Choice(["missing", "always", "never"]), default="missing"),
    click.option("--platform", metavar="OS/ARCH", help="Platform of the image; the node's own otherwise."),
    click.option("--plain-http", is_flag=True, help="Pull without TLS."),
    click.option("--snapshotter", metavar="NAME", help="Snapshotter of the root file system."),
    click.option("-q", "--quiet", is_flag=True, help="Don't show the pull's progress."),
    # process
    click.option("-i", "--interactive", is_flag=True, help="Forward stdin."),
    click.option("-t", "--tty", is_flag=True, help="Give the container a terminal."),
    click.option("--entrypoint", metavar="PROGRAM", help="Replaces the image's entrypoint; '' clears it."),
    click.option("-e", "--env", **_MANY, metavar="KEY[=VALUE]", help="Variable; KEY alone takes yours."),
    click.option("--env-file", **_MANY, type=click.Path(), help="File of KEY=VALUE lines."),
    click.option("-w", "--workdir", metavar="DIR", help="Working directory."),
    click.option("-u", "--user", metavar="USER[:GROUP]"),
    click.option("--group-add", **_MANY, metavar="GROUP"),
    click.option("--hostname", metavar="NAME"),
    click.option("--after", **_MANY, metavar="CONTAINER", help="Starts after it, and stops before it."),
    click.option("--log-max-size", metavar="SIZE", help="Of one file of its log; the config's otherwise."),
    click.option("--log-max-files", type=int, metavar="NUMBER", help="Kept of its log, the newest one too."),
    click.option("--stop-signal", metavar="SIGNAL"),
    click.option("--stop-timeout", type=float, metavar="SECONDS", help="Before stop turns to SIGKILL."),
    click.option(
        "--restart", metavar="POLICY", help="no, always, unless-stopped, on-failure or on-failure:N."
    ),
    click.option("--health-cmd", metavar="COMMAND", help="Well if this, run by sh -c in it, ends with 0."),
    click.option("--health-tcp", type=int, metavar="PORT", help="Well if this port can be connected to."),
    click.option("--health-http", metavar="URL", help="Well if http://127.0.0.1:PORT/… answers 200 to 399."),
    click.option("--health-interval", metavar="TIME", help="Between two checks; default 30s."),
    click.option("--health-timeout", metavar="TIME", help="For one check; default 5s."),
    click.option("--health-retries", type=int, metavar="NUMBER", help="Failures in a row; default 3."),
    click.option("--health-start-period", metavar="TIME", help="In which failures don't count."),
    click.option("--health-on-failure", type=click.Choice(["none", "kill"]), help="When it is unhealthy."),
    # files
    click.option(
        "--mount", **_MANY, metavar="type=bind,src=S,dst=D,options=ro", help="Several options: ro:nosuid."
    ),
    click.option("-v", "--volume", **_MANY, metavar="SRC:DST[:ro]", help="Bind mount."),
    click.option("--tmpfs", **_MANY, metavar="DST[:OPTIONS]", help="In-memory file system."),
    click.option("--read-only", is_flag=True, help="Root file system can't be written to."),
    click.option("--device", **_MANY, metavar="HOST[:CONTAINER[:rwm]]"),
    # limits
    click.option("-m", "--memory", metavar="SIZE", help="For example 512m."),
    click.option("--memory-swap", metavar="SIZE", help="Memory and swap together."),
    click.option("--memory-reservation", metavar="SIZE"),
    click.option("--cpus", type=float, metavar="NUMBER", help="Cores; 1.5 is one and a half."),
    click.option("--cpu-shares", type=int, metavar="NUMBER"),
    click.option("--cpuset-cpus", metavar="LIST"),
    click.option("--cpuset-mems", metavar="LIST"),
    click.option("--pids-limit", type=int, metavar="NUMBER"),
    click.option("--ulimit", **_MANY, metavar="NAME=SOFT[:HARD]", help="For example nofile=1024:4096."),
    # isolation
    click.option(
        "--net", "--network", "net", metavar="NETWORK", shell_complete=container_networks,
        help="none (loopback only, the default), host, a network's name, cni:NAME, container:NAME or"
        " path:/PATH.",
    ),
    click.option(
        "-p", "--publish", **_MANY, metavar="[ADDRESS:]HOST:CONTAINER[/udp]",
        help="Have a port of the node lead to one of the container.",
    ),
    click.option("--pid", metavar="host|private|PATH"),
    click.option("--ipc", metavar="host|private|PATH"),
    click.option("--uts", metavar="host|private|PATH"),
    click.option("--userns", metavar="host|private|PATH"),
    click.option("--uidmap", **_MANY, metavar="CONTAINER:HOST:SIZE", help="User namespace of its own."),
    click.option("--gidmap", **_MANY, metavar="CONTAINER:HOST:SIZE", help="Groups; else as --uidmap."),
    click.option("--cgroupns", metavar="host|private|PATH"),
    click.option("--cap-add", **_MANY, metavar="CAPABILITY"),
    click.option("--cap-drop", **_MANY, metavar="CAPABILITY"),
    click.option("--privileged", is_flag=True),
    click.option(
        "--security", "--security-opt", "security", **_MANY,
        metavar="NAME=VALUE", help="seccomp=default|unconfined|PATH, no-new-privileges=true|false.",
    ),
    click.option("--sysctl", **_MANY, metavar="KEY=VALUE"),
    click.option("--runtime", metavar="NAME", help="crun, runc or a name from the agent's config."),
)  # fmt: skip


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options, the image and the command of a new container."""
    from tricorn.cli.complete import images

    function = click.argument("command", nargs=-1, type=click.UNPROCESSED)(function)
    function = click.argument("image", shell_complete=images)(function)
    for option in reversed(OPTIONS):
        function = option(function)
    return function
