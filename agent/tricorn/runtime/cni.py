"""CNI plugins: where they and their configuration lists are, and running them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
import trio
from attrs import frozen

from tricorn.errors import DeadlineExceeded, InvalidArgument, NotFound, TricornError, Unimplemented
from tricorn.rules.cni import (
    ConfigList,
    failure,
    parse_list,
    parse_result,
    parse_versions,
    plugin_input,
)

log = structlog.get_logger(__name__)
_TIMEOUT: Final = 60.0  # seconds for one plugin: IPAM may ask a server
_LIST_SIZE: Final = 1024 * 1024
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SUFFIX: Final = ".conflist"


@frozen
class Place:
    """Whom a plugin works for: an id that no other container has, the path of its network namespace."""

    id: str
    netns: str
    interface: str = "eth0"
    capabilities: Mapping[str, Any] | None = None


class Cni:
    """`lists` is the directory of configuration lists, `programs` are directories separated by colons."""

    def __init__(self, lists: str, programs: str) -> None:
        self.lists = lists
        self.programs = programs

    # ------------------------------------------------------------ configuration
    def names(self) -> dict[str, str]:
        """Return the lists there are: their names and files. A file that can't be read is left out, and the
        log tells why.
        """
        found: dict[str, str] = {}
        try:
            files = sorted(name for name in os.listdir(self.lists) if name.endswith(_SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        for file in files:
            path = os.path.join(self.lists, file)
            try:
                found.setdefault(_read(path).name, path)
            except TricornError as error:
                log.warning("CNI configuration left out", file=path, error=error.one_line())
        return found

    def find(self, name: str) -> ConfigList:
        """Return a list by its name. NotFound says where it was looked for."""
        path = self.names().get(name)
        if path is None:
            raise NotFound(
                f"there is no CNI network {name}", why=f"no {self.lists}/*{_SUFFIX} has that name",
                hint="`tricorn network ls` lists them", field="network",
            )  # fmt: skip
        return _read(path)

    def path(self, plugin: str) -> str:
        """Return where a plugin is. Unimplemented says where it was looked for."""
        for directory in filter(None, self.programs.split(":")):
            path = os.path.join(directory, plugin)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        raise Unimplemented(
            f"CNI plugin {plugin} isn't installed", why=f"it isn't in {self.programs}",
            hint="install the package containernetworking-plugins, or the plugin's own", plugin=plugin,
        )  # fmt: skip

    # ------------------------------------------------------------ operations
    async def add(self, config: ConfigList, place: Place) -> dict[str, Any]:
        """Have a container join; return the result. What a failure leaves half done, `delete` undoes.

        Unimplemented for a plugin that is missing, FailedPrecondition with the plugin's words.
        """
        for plugin in config.plugins:  # before the first one changes anything
            self.path(plugin["type"])
        result: dict[str, Any] | None = None
        for plugin in config.plugins:
            output = await self._run("ADD", config, plugin, place, previous=result)
            result = parse_result(output, plugin["type"], config.name)
        return result or {}

    async def delete(self, config: ConfigList, place: Place, result: Mapping[str, Any] | None) -> None:
        """Have a container leave: plugins in reverse order, each told the `result` of ADD. A plugin that
        fails doesn't keep those before it from their part; the first failure is raised at the end. Without
        a result, ADD wasn't completed: a plugin that is missing has done nothing then.
        """
        first: TricornError | None = None
        for plugin in reversed(config.plugins):
            try:
                await self._run("DEL", config, plugin, place, previous=result)
            except TricornError as error:
                if result is None and isinstance(error, Unimplemented):
                    continue
                log.warning("CNI plugin failed", plugin=plugin["type"], error=error.one_line())
                first = first or error
        if first:
            raise first

    async def check(self, config: ConfigList, place: Place, result: Mapping[str, Any] | None) -> None:
        """Have plugins look whether all is as ADD left it; FailedPrecondition with the plugin's words."""
        if config.checkable and result is not None:
            for plugin in config.plugins:
                await self._run("CHECK", config, plugin, place, previous=result)

    async def collect(self, config: ConfigList, valid: Sequence[Place]) -> None:
        """Have plugins forget containers other than these, if the network's version of CNI has that."""
        if not config.collectable:
            return
        known = [{"containerID": each.id, "ifname": each.interface} for each in valid]
        for plugin in config.plugins:
            try:
                await self._run("GC", config, plugin, None, valid=known)
            except TricornError as error:
                log.warning("CNI plugin failed", plugin=plugin["type"], error=error.one_line())

    async def versions(self, plugin: str) -> tuple[str, ...]:
        """Return the versions of the specification that a plugin knows. Unimplemented when it is missing."""
        done = await self._start("VERSION", plugin, b'{"cniVersion": "1.0.0"}', None)
        return parse_versions(done.stdout)

    async def _run(
        self,
        command: str,
        config: ConfigList,
        plugin: Mapping[str, Any],
        place: Place | None,
        *,
        previous: Mapping[str, Any] | None = None,
        valid: Sequence[Mapping[str, str]] | None = None,
    ) -> bytes:
        capabilities = place.capabilities if place else None
        text = plugin_input(config, plugin, capabilities=capabilities, previous=previous, valid=valid)
        done = await self._start(command, plugin["type"], text, place)
        if done.returncode:
            code = done.returncode
            raise failure(plugin["type"], config.name, command, done.stdout, done.stderr, code)
        return bytes(done.stdout)

    async def _start(
        self, command: str, plugin: str, text: bytes, place: Place | None
    ) -> subprocess.CompletedProcess[bytes]:
        path = self.path(plugin)
        environment = {"PATH": _PATH, "CNI_COMMAND": command, "CNI_PATH": self.programs}
        if place is not None:
            environment |= {
                "CNI_CONTAINERID": place.id, "CNI_NETNS": place.netns, "CNI_IFNAME": place.interface,
            }  # fmt: skip
        with trio.move_on_after(_TIMEOUT) as scope:
            try:
                return await trio.run_process(
                    [path], stdin=text, capture_stdout=True, capture_stderr=True, check=False,
                    env=environment,
                )  # fmt: skip
            except OSError as error:
                raise Unimplemented(
                    f"CNI plugin {plugin} can't be started", why=os.strerror(error.errno or 0), plugin=plugin
                ) from None
        assert scope.cancelled_caught
        raise DeadlineExceeded(
            f"CNI plugin {plugin} doesn't answer", why=f"it was killed after {_TIMEOUT:.0f} s", plugin=plugin
        )


def _read(path: str) -> ConfigList:
    try:
        with open(path, "rb") as file:
            data = file.read(_LIST_SIZE + 1)
    except OSError as error:
        raise InvalidArgument(f"{path} can't be read", why=os.strerror(error.errno or 0)) from None
    if len(data) > _LIST_SIZE:
        raise InvalidArgument(f"{path} is too large", why=f"over {_LIST_SIZE} bytes")
    return parse_list(data, path)
