"""OCI runtimes: which there are, what they can do here, and calls of their command lines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import DeadlineExceeded, FailedPrecondition, Unimplemented
from tricorn.ports import RuntimeInfo
from tricorn.rules.runtimes import choose_default, known_defects
from tricorn.runtime import crun_state, process
from tricorn.runtime.cgroup import Hierarchies

WELL_KNOWN: Final = ("crun", "runc")
_LOGRUS: Final = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_PROBE_SECONDS: Final = 10.0
HYBRID_REASON: Final = (
    "the unified cgroup hierarchy of this host has controllers ({controllers}) beside v1 ones, "
    "which every crun refuses; remedy: mount them as v1, such as "
    "'mkdir -p /sys/fs/cgroup/{first} && mount -t cgroup -o {first} none /sys/fs/cgroup/{first}', "
    "or boot with systemd.unified_cgroup_hierarchy=1"
)


@frozen
class OciRuntime:
    """One runtime and the directory where it keeps its state (one for each namespace)."""

    path: str
    root: str
    environment: Mapping[str, str]
    flavour: str = ""
    started_by: str = ""  # another path to the same program

    def arguments(self, namespace: str) -> list[str]:
        """Return the program and its global arguments."""
        return [self.started_by or self.path, "--root", f"{self.root}/{namespace}"]

    def state_of(self, namespace: str, container: str) -> str:
        """Return the directory in which the runtime keeps what it knows of a container."""
        return f"{self.root}/{namespace}/{container}"

    def knows(self, namespace: str, container: str) -> bool:
        return os.path.exists(self.state_of(namespace, container))

    async def delete(self, namespace: str, container: str, config: Mapping[str, Any] | None) -> None:
        """Delete a container; `config` is its spec if it has no process any more. Fails as `call`."""
        if (
            self.flavour == "crun"
            and config
            and crun_state.forget(self.state_of(namespace, container), config)
        ):
            return
        await self.call(namespace, "delete", "--force", container)

    async def call(
        self, namespace: str, *arguments: str, seconds: float = limits.RUNTIME_CALL
    ) -> process.Completed:
        """Run one command. FailedPrecondition with the runtime's own words, DeadlineExceeded."""
        done = await process.run([*self.arguments(namespace), *arguments], self.environment, seconds=seconds)
        if done.code != 0:
            raise FailedPrecondition(
                f"{os.path.basename(self.path)} {arguments[0]} failed",
                why=readable(done.stderr.decode(errors="replace")) or f"exit code {done.code}",
            )
        return done


def readable(text: str) -> str:
    """Return a runtime's complaint without the dress of its log format (runc's logrus, crun's time)."""
    lines = [_undress(line.strip()) for line in text.splitlines() if line.strip()]
    lines = list(dict.fromkeys(filter(None, lines)))
    return "; ".join(lines)[-2000:]


def _undress(line: str) -> str:
    if line.startswith("{"):
        try:
            document = json.loads(line)
        except ValueError:
            return line
        return str(document.get("msg", line)) if isinstance(document, dict) else line
    if "msg=" in line and "level=" in line:
        fields = dict(_LOGRUS.findall(line))
        message = fields.get("msg", "")
        if message.startswith('"'):
            try:
                message = str(json.loads(message))
            except ValueError:
                message = message.strip('"')
        # warnings tell of the host, not of this failure
        return message if fields.get("level") in {"error", "fatal", "panic"} else ""
    return re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?:? ", "", line)


async def discover(
    configured: Mapping[str, str], default: str, environment: Mapping[str, str], hierarchies: Hierarchies
) -> dict[str, RuntimeInfo]:
    """Probe the configured runtimes, or the well-known ones in PATH; one gets the feature `default`.

    Raises Unimplemented if the configured default isn't among them.
    """
    paths = {name: shutil.which(name, path=environment.get("PATH")) or "" for name in WELL_KNOWN}
    paths = {name: path for name, path in paths.items() if path} | dict(configured)
    found = {name: await _probe(name, path, environment, hierarchies) for name, path in paths.items()}
    if default and default not in found:
        raise Unimplemented(f"runtime {default!r}", why="it is the configured default and isn't configured")
    chosen = default or choose_default({name: info.usable for name, info in found.items()})
    if chosen:
        info = found[chosen]
        found[chosen] = evolve(info, features=(*info.features, "default"))
    return found


async def _probe(
    name: str, path: str, environment: Mapping[str, str], hierarchies: Hierarchies
) -> RuntimeInfo:
    missing = RuntimeInfo(name, path, usable=False)
    if not (os.path.isabs(path) and os.access(path, os.X_OK)):
        return evolve(missing, reason=f"{path or name} isn't an executable file with an absolute path")
    try:
        done = await process.run([path, "--version"], environment, seconds=_PROBE_SECONDS)
    except (OSError, DeadlineExceeded) as error:
        return evolve(missing, reason=f"it can't be run: {error}")
    text = done.stdout.decode(errors="replace")
    if done.code != 0:
        return evolve(missing, reason=f"--version failed: {done.stderr.decode(errors='replace')[:200]}")
    flavour, version = _version(text)
    info = RuntimeInfo(
        name, path, version, features=await _features(path, text, environment), flavour=flavour
    )
    info = evolve(info, warnings=known_defects(flavour, version))
    if flavour == "crun" and hierarchies.mode == "hybrid" and hierarchies.v2_controllers:
        reason = HYBRID_REASON.format(
            controllers=" ".join(hierarchies.v2_controllers), first=hierarchies.v2_controllers[0]
        )
        return evolve(info, usable=False, reason=reason)
    return info


def _version(text: str) -> tuple[str, str]:
    """Return what it really is and its version: `runc version 1.1.5+ds1`."""
    match = re.search(r"^(\w+) version:? (\S+)", text, re.MULTILINE)
    return (match[1], match[2]) if match else ("", "")


async def _features(path: str, version_text: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the runtime says it was built with, in lower case; runc tells by `features`."""
    listed = [word[1:].lower() for word in version_text.split() if re.fullmatch(r"\+[A-Z0-9_]+", word)]
    if listed:
        return tuple(dict.fromkeys(listed))
    done = await process.run([path, "features"], environment, seconds=_PROBE_SECONDS)
    try:
        document = json.loads(done.stdout) if done.code == 0 else {}
    except ValueError:
        document = {}
    return _features_of(document) if isinstance(document, dict) else ()


def _features_of(document: Mapping[str, object]) -> tuple[str, ...]:
    linux = document.get("linux")
    parts = linux if isinstance(linux, dict) else {}
    found = [
        name
        for name in ("seccomp", "apparmor", "selinux")
        if isinstance(parts.get(name), dict) and parts[name].get("enabled")
    ]
    annotations = document.get("annotations")
    checkpoint = "org.opencontainers.runc.checkpoint.enabled"
    if isinstance(annotations, dict) and annotations.get(checkpoint) == "true":
        found.append("criu")
    if document:
        found.append("cap")
    return tuple(found)


def refused(arguments: Sequence[str], why: str) -> bool:
    """Return whether a runtime's complaint is about the command to run, not about the container."""
    text = why.lower()
    if "executable" in text or "exec format error" in text:
        return True
    program = arguments[0].lower() if arguments else ""
    denied = "no such file or directory" in text or "permission denied" in text
    return denied and bool(program) and program in text
