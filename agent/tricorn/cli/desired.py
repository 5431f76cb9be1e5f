"""From the options of `run` and `create` to the body of the request: pure but for `--env-file`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tricorn.cli.figures import pairs, parse_duration, parse_size
from tricorn.errors import InvalidArgument

AFTER: Final = "tricorn.io/after"
_UNLIMITED: Final = 2**64 - 1
_NAMESPACES: Final = {"pid": "pid", "ipc": "ipc", "uts": "uts", "userns": "user", "cgroupns": "cgroup"}
_SAME: Final = {
    "pull": "pull",
    "platform": "platform",
    "plain_http": "plain_http",
    "snapshotter": "snapshotter",
    "tty": "terminal",
    "interactive": "stdin",
    "workdir": "cwd",
    "user": "user",
    "group_add": "groups",
    "hostname": "hostname",
    "stop_signal": "stop_signal",
    "stop_timeout": "stop_timeout",
    "restart": "restart",
    "log_max_files": "log_files",
    "read_only": "read_only",
    "device": "devices",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "privileged": "privileged",
    "runtime": "runtime",
}
_RESOURCES: Final = {
    "cpus": "cpus",
    "cpu_shares": "cpu_shares",
    "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems",
    "pids_limit": "pids",
}


def container(
    image: str, command: Sequence[str], options: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the ContainerDesired of a command line, with the fields that were set only.

    Raises InvalidArgument naming the option.
    """
    desired: dict[str, Any] = {"image": image, "state": "present"}
    desired |= {field: _plain(options[name]) for name, field in _SAME.items() if _is_set(options.get(name))}
    built = {
        "env": environment(options["env"], options["env_file"], environ),
        "mounts": mounts(options["mount"], options["volume"], options["tmpfs"]),
        "resources": resources(options),
        "rlimits": [rlimit(text) for text in options["ulimit"]],
        "sysctls": pairs(options["sysctl"], "--sysctl"),
        "labels": pairs(options["label"], "--label") | _after(options.get("after") or ()),
        "annotations": pairs(options["annotation"], "--annotation"),
        "uid_map": list(options.get("uidmap") or ()),
        "gid_map": list(options.get("gidmap") or ()),
        "namespaces": {kind: options[name] for name, kind in _NAMESPACES.items() if options.get(name)},
    }
    desired |= {field: value for field, value in built.items() if value}
    desired |= health(options)
    if options.get("log_max_size"):
        desired["log_size"] = parse_size(options["log_max_size"], "--log-max-size")
    if options.get("net"):
        desired["network"] = "private" if options["net"] == "none" else options["net"]
    if options.get("publish"):
        desired["ports"] = [port(text) for text in options["publish"]]
    return desired | program(options.get("entrypoint"), command) | security(options["security"])


def health(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the health check that the options make, if any."""
    given = {name: options.get(f"health_{name}") for name in ("cmd", "tcp", "http", "retries")}
    check: dict[str, Any] = {name: value for name, value in given.items() if _is_set(value)}
    if "cmd" in check:
        check["exec"] = ["/bin/sh", "-c", check.pop("cmd")]
    for name in ("interval", "timeout", "start_period"):
        if text := options.get(f"health_{name}"):
            check[name] = parse_duration(text, f"--health-{name.replace('_', '-')}")
    if options.get("health_on_failure"):
        check["on_unhealthy"] = options["health_on_failure"]
    return {"health": check} if check else {}


def port(text: str) -> dict[str, Any]:
    """Return the Port of `127.0.0.1:8080:80/udp`, `[::1]:8080:80`; a bare number is published as itself."""
    places, _, protocol = text.partition("/")
    address, places = _bracketed(places)
    *before, host, container = places.split(":") if ":" in places else (places, places)
    address += before
    if len(address) > 1 or "[" in places or not host.isdecimal() or not container.isdecimal():
        raise InvalidArgument(
            f"{text!r} isn't [ADDRESS:]HOST:CONTAINER", hint="write for example 8080:80", field="--publish"
        )
    if protocol not in ("", "tcp", "udp"):
        raise InvalidArgument(
            f"protocol {protocol!r} can't be published", hint="tcp or udp", field="--publish"
        )
    made: dict[str, Any] = {"container": int(container), "host": int(host)}
    if protocol:
        made["protocol"] = protocol
    return made | ({"address": address[0]} if address else {})


def _bracketed(text: str) -> tuple[list[str], str]:
    """Return the address in brackets that a text begins with, as those of IPv6 are written, and the rest."""
    inside, bracket, rest = text.removeprefix("[").partition("]:")
    return ([inside], rest) if text.startswith("[") and bracket and inside else ([], text)


def _after(names: Sequence[str]) -> dict[str, str]:
    return {AFTER: ",".join(names)} if names else {}


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value not in ((), "")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def program(entrypoint: str | None, command: Sequence[str]) -> dict[str, Any]:
    """Return entrypoint and args. A new entrypoint leaves the image's own arguments behind."""
    found: dict[str, Any] = {}
    if entrypoint is not None:
        found = {"entrypoint": [entrypoint] if entrypoint else [], "args": []}
    if command:
        found["args"] = list(command)
    return found


def environment(texts: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of files, then options; a bare KEY takes the caller's own value, if any."""
    found: dict[str, str] = {}
    for text in [*(line for path in files for line in _file_lines(path)), *texts]:
        key, equals, value = text.partition("=")
        if not key:
            raise InvalidArgument(f"{text!r} isn't KEY=VALUE", field="--env")
        if equals:
            found[key] = value
        elif key in environ:
            found[key] = environ[key]
    return found


def _file_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.rstrip("\r\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}", why=str(error), field="--env-file") from error
    return [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def mounts(specs: Sequence[str], volumes: Sequence[str], tmpfs: Sequence[str]) -> list[dict[str, Any]]:
    return [*map(mount, specs), *map(volume, volumes), *map(_tmpfs, tmpfs)]


_MOUNT_KEYS: Final = {
    "type": "type",
    "src": "source",
    "source": "source",
    "dst": "target",
    "target": "target",
    "destination": "target",
}


def mount(text: str) -> dict[str, Any]:
    """Return the Mount of `type=bind,src=/a,dst=/b,options=rbind:ro`."""
    made: dict[str, Any] = {"type": "bind", "options": []}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key in _MOUNT_KEYS and equals:
            made[_MOUNT_KEYS[key]] = value
        elif key == "options":
            made["options"] += value.split(":")
        elif part in ("ro", "readonly"):
            made["options"].append("ro")
        else:
            raise InvalidArgument(f"{part!r} is no part of a mount", hint="see --help", field="--mount")
    if not made.get("target"):
        raise InvalidArgument(f"{text!r} has no dst=", field="--mount")
    return _bound(made, "--mount") if made["type"] == "bind" else made


def volume(text: str) -> dict[str, Any]:
    """Return the Mount of `SRC:DST[:OPTIONS]`, options separated by commas."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidArgument(f"{text!r} isn't SRC:DST[:ro]", field="--volume")
    options = parts[2].split(",") if len(parts) == 3 else []
    return _bound({"type": "bind", "source": parts[0], "target": parts[1], "options": options}, "--volume")


def _bound(made: dict[str, Any], field: str) -> dict[str, Any]:
    """Make a bind mount's source absolute, and have it bind with the mounts below it."""
    source = str(made.get("source", ""))
    if source.startswith("."):
        source = os.path.abspath(source)
    if not source.startswith("/"):
        hint = "name a directory of the node, like /srv/data or ./data; there are no named volumes"
        raise InvalidArgument(f"{source!r} isn't a path", hint=hint, field=field)
    options = made["options"]
    if not {"bind", "rbind"} & set(options):
        options = ["rbind", *options]
    return {**made, "source": source, "options": options}


def _tmpfs(text: str) -> dict[str, Any]:
    target, _, options = text.partition(":")
    given = options.split(",") if options else []
    return {
        "type": "tmpfs",
        "source": "tmpfs",
        "target": target,
        "options": ["noexec", "nosuid", "nodev", *given],
    }


def resources(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {field: options[name] for name, field in _RESOURCES.items() if _is_set(options.get(name))}
    for name in ("memory", "memory_swap", "memory_reservation"):
        if text := options.get(name):
            found[name] = -1 if text == "-1" else parse_size(text, "--" + name.replace("_", "-"))
    return found


def rlimit(text: str) -> dict[str, Any]:
    """Return the Rlimit of `nofile=1024:4096`; one number is both, `unlimited` is none."""
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    try:
        numbers = [
            _UNLIMITED if value in ("unlimited", "-1") else int(value) for value in (soft, hard or soft)
        ]
    except ValueError as error:
        hint = "write for example nofile=1024:4096"
        raise InvalidArgument(f"{text!r} isn't NAME=SOFT[:HARD]", hint=hint, field="--ulimit") from error
    kind = name.upper() if name.upper().startswith("RLIMIT_") else f"RLIMIT_{name.upper()}"
    return {"type": kind, "soft": numbers[0], "hard": numbers[1]}


def security(texts: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.replace("no-new-privileges:", "no-new-privileges=").partition("=")
        if name == "seccomp" and value:
            found["seccomp"] = value
        elif name == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        else:
            hint = "seccomp=default|unconfined|PATH or no-new-privileges=true|false"
            raise InvalidArgument(f"{text!r} is no security option", hint=hint, field="--security")
    return found
