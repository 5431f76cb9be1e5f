"""`tricorn update`: other limits for containers, at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import parse_size
from tricorn.cli.output import complain, each
from tricorn.cli.settings import Settings, command
from tricorn.errors import FailedPrecondition, InvalidArgument

_EXAMPLES = """\
tricorn update --memory 512m --cpus 1.5 web
tricorn update --pids-limit -1 web db
tricorn update --device-read-bps /dev/sda=10m web"""
_RATES: Final = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_MANY: Final[dict[str, Any]] = {"multiple": True, "metavar": "DEVICE=RATE"}


@command("update", examples=_EXAMPLES)
@click.option("-m", "--memory", metavar="SIZE")
@click.option("--memory-swap", metavar="SIZE", help="Memory and swap together; -1: all swap there is.")
@click.option("--memory-reservation", metavar="SIZE")
@click.option("--cpus", type=float, metavar="NUMBER", help="Cores; 1.5 is one and a half.")
@click.option("--cpu-shares", type=int, metavar="NUMBER")
@click.option("--cpuset-cpus", metavar="LIST")
@click.option("--cpuset-mems", metavar="LIST")
@click.option("--pids-limit", "pids", type=int, metavar="NUMBER")
@click.option("--blkio-weight", type=int, metavar="NUMBER", help="Share of the devices' time, 10 to 1000.")
@click.option("--device-read-bps", **_MANY, help="Bytes read a second; the device by path or numbers.")
@click.option("--device-write-bps", **_MANY)
@click.option("--device-read-iops", **_MANY)
@click.option("--device-write-iops", **_MANY)
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete.containers)
def update(settings: Settings, names: tuple[str, ...], **options: Any) -> int:
    """Change limits of containers; of running ones at once, and they stay for the next start.

    What isn't named stays as it is; -1 takes a limit away.
    """
    body = limits(options)

    def act(name: str) -> Any:
        answer = settings.door.call(calls.action(settings.namespace, name, "update", body))
        for warning in answer.get("warnings") or ():
            complain(FailedPrecondition(warning))
        return answer

    return each(settings, names, act)


def limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the LimitsUpdate of the options that were given. InvalidArgument names a malformed one."""
    given = {key: value for key, value in options.items() if value is not None and key not in _RATES}
    for key in ("memory", "memory_swap", "memory_reservation"):
        if key in given:
            given[key] = -1 if given[key] == "-1" else parse_size(given[key], f"--{key.replace('_', '-')}")
    devices: dict[str, dict[str, Any]] = {}
    for key in _RATES:
        for device, rate in _device_rates(options.get(key) or (), f"--{key.replace('_', '-')}"):
            devices.setdefault(device, {"device": device})[key.removeprefix("device_")] = rate
    return {**given, **({"blkio": list(devices.values())} if devices else {})}


def _device_rates(texts: Sequence[str], field: str) -> list[tuple[str, int]]:
    found = []
    for text in texts:
        device, equals, rate = text.rpartition("=")
        if not equals:
            raise InvalidArgument(f"{text!r} isn't DEVICE=RATE", field=field)
        found.append((_numbers(device, field), parse_size(rate, field)))
    return found


def _numbers(device: str, field: str) -> str:
    """Return a device's numbers; a path is looked up here, on the agent's own node."""
    if not device.startswith("/"):
        return device
    try:
        status = os.stat(device)
    except OSError as error:
        raise InvalidArgument(f"{device} can't be looked at", why=str(error.strerror), field=field) from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"{device} is no block device", field=field)
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
