"""Being attached to an exec that goes on by itself."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli.run import farewell, require_terminal
from tricorn.cli.settings import Settings
from tricorn.cli.stdio import Foreground, Wishes
from tricorn.client.exec_calls import attach_exec
from tricorn.errors import Unavailable


class Joining:
    """One connection to an exec, of which its ExecView tells; with `replay` from its first output on."""

    def __init__(self, settings: Settings, container: str, view: dict[str, Any], *, replay: bool) -> None:
        self._settings = settings
        self._container = container
        self._view = view
        self._replay = replay

    def run(self, *, signals: bool = True, keys: bytes = b"", stdin: bool = True) -> int:
        """Stay until its exit, or until the detach keys; return the exit status."""
        stdin, terminal = bool(self._view["stdin"]) and stdin, bool(self._view["terminal"])
        wishes = Wishes(stdin, terminal, signals, keys, keeps=True)
        require_terminal(wishes)
        name = self._view["id"]
        call = attach_exec(self._settings.namespace, self._container, name, replay=self._replay)
        try:
            link, first = self._settings.door.upgrade(call)
            ending = Foreground(link, first, wishes).run()
        except Unavailable:
            self._tell_how_to_join()
            raise
        status = farewell(ending, f"exec {name} of {self._container}")
        if ending.exit is None:
            self._tell_how_to_join()
        return status

    def _tell_how_to_join(self) -> None:
        name = self._view["id"]
        click.echo(
            f"exec {name} goes on: `tricorn attach --exec {name} {self._container}` joins it", err=True
        )
