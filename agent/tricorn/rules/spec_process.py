"""The process of a container: command, environment, directory, limits. Pure.

What an image says is untrusted and checked like what a client says; nothing is ever taken from the
agent's own environment.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.model.oci import ImageConfig
from tricorn.model.requests import ContainerDesired, Rlimit
from tricorn.model.spec import HostLimits, Identity

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_NOFILE: Final = 1024
_UNSAFE_DIRECTORY: Final = re.compile(r"/proc(/|$)|/dev/(fd|stdin|stdout|stderr)(/|$)")
_RLIMITS: Final = frozenset(
    "RLIMIT_" + name
    for name in (
        "AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC",
        "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
    )
)  # fmt: skip
_RLIMIT_INFINITY: Final = 2**64 - 1


def arguments(desired: ContainerDesired, image: ImageConfig) -> list[str]:
    """Return the command: the request's entrypoint and args in place of the image's.

    A new entrypoint drops the image's Cmd, which was written for the old one.
    """
    entrypoint = image.entrypoint if desired.entrypoint is None else desired.entrypoint
    default = image.cmd if desired.entrypoint is None else ()
    words = default if desired.args is None else desired.args
    command = [*entrypoint, *words]
    if not command or not command[0]:
        raise InvalidArgument(
            "no command to run", why="neither the request nor the image names one", field="args"
        )
    check_arguments(command)
    return command


def check_arguments(command: Sequence[str], field: str = "args") -> None:
    if any("\0" in word for word in command):
        raise InvalidArgument("a command's words can't hold NUL characters", field=field)


def environment(
    desired: ContainerDesired, image: ImageConfig, identity: Identity, hostname: str
) -> list[str]:
    """Return `K=V` words: defaults, then the image's, then the request's.

    Of the image only well-formed `K=V` count: `*` and bare names ask for the host's values elsewhere.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": identity.home}
    if desired.terminal:
        values["TERM"] = "xterm"
    for word in image.env:
        key, equals, value = word.partition("=")
        if equals and _is_variable(key) and "\0" not in value:
            values[key] = value
    return merge_environment(values, desired.env)


def merge_environment(values: dict[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return `values` as words with `wanted` over them; InvalidArgument, ResourceExhausted beyond 1 MiB."""
    for key, value in wanted.items():
        if not _is_variable(key) or "\0" in value:
            raise InvalidArgument(
                f"environment variable {key[:64]!r} is malformed",
                hint="NAME=VALUE, without NUL, and a NAME without '='",
                field=f"env.{key[:64]}",
            )
    words = [f"{key}={value}" for key, value in (values | dict(wanted)).items()]
    if sum(len(word.encode()) for word in words) > limits.ENVIRONMENT_SIZE:
        raise ResourceExhausted(
            "the environment is too large", why=f"at most {limits.ENVIRONMENT_SIZE} bytes", field="env"
        )
    return words


def _is_variable(key: str) -> bool:
    return bool(key) and key != "*" and "=" not in key and key.isprintable()


def directory(asked: str, image: ImageConfig) -> str:
    """Return the working directory; the request's must be absolute and clean, the image's is cleaned."""
    if asked:
        return check_directory(asked, "cwd")
    if not image.working_dir:
        return "/"
    return check_directory(posixpath.normpath("/" + image.working_dir.lstrip("/")), "image.config.WorkingDir")


def check_directory(path: str, field: str) -> str:
    """Return `path` if a process may start there: nothing that leads to open descriptors (CVE-2024-21626)."""
    if not path.startswith("/") or not path.isprintable():
        raise InvalidArgument(
            f"directory {path[:200]!r} is malformed", why="it must be absolute", field=field
        )
    if posixpath.normpath(path) != path or path.startswith("//"):
        raise InvalidArgument(
            f"directory {path[:200]!r} is malformed",
            why="it has '.', '..', doubled or trailing slashes",
            field=field,
        )
    if _UNSAFE_DIRECTORY.match(path):
        raise InvalidArgument(
            f"a process can't start in {path[:200]!r}", why="descriptors of the host are there", field=field
        )
    return path


def rlimits(wanted: Sequence[Rlimit], host: HostLimits) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the OCI rlimits, clamped to what the host grants, and a warning for each clamped one."""
    asked = {"RLIMIT_NOFILE": Rlimit("RLIMIT_NOFILE", DEFAULT_NOFILE, DEFAULT_NOFILE)}
    for index, entry in enumerate(wanted):
        name = entry.type.upper()
        name = name if name.startswith("RLIMIT_") else f"RLIMIT_{name}"
        _check_rlimit(name, entry, f"rlimits[{index}]")
        asked[name] = Rlimit(name, entry.soft, entry.hard)
    found, warnings = [], []
    for name, entry in asked.items():
        most = _RLIMIT_INFINITY if host.has_cap_sys_resource else host.rlimits.get(name, _RLIMIT_INFINITY)
        soft, hard = (_RLIMIT_INFINITY if value < 0 else value for value in (entry.soft, entry.hard))
        if hard > most:
            warnings.append(f"{name} is {most} instead of {hard}: this host's agent can't raise limits")
        found.append({"type": name, "soft": min(soft, most), "hard": min(hard, most)})
    return found, warnings


def _check_rlimit(name: str, entry: Rlimit, field: str) -> None:
    if name not in _RLIMITS:
        raise InvalidArgument(f"rlimit {entry.type[:64]!r} is unknown", field=f"{field}.type")
    for value in (entry.soft, entry.hard):
        if not -1 <= value <= _RLIMIT_INFINITY:
            raise InvalidArgument(f"{name}: {value} is out of range", hint="-1 means no limit", field=field)
    if entry.hard >= 0 and (entry.soft > entry.hard or entry.soft < 0):
        raise InvalidArgument(f"{name}: the soft limit is above the hard one", field=field)
