"""The progress bars of a pull, drawn with rich. Imported only on a terminal that shows one."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tricorn.cli.figures import duration, short_digest, size
from tricorn.cli.output import clean
from tricorn.cli.progress import Meter

_OVER: Final = ("done", "exists")
_MARGIN: Final = 4  # lines of the screen that aren't a layer's


class Bars:
    """One line per layer and one for the whole; on a short screen only the layers that are at work."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._layers: dict[str, tuple[TaskID, Meter]] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[phase]:<11}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[bytes]:>21}"),
            TextColumn("{task.fields[rate]:>11}"),
            TextColumn("{task.fields[left]:>6}"),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._whole = self._add("total")
        self._progress.start()

    def close(self) -> None:
        """Take the bars off the screen."""
        self._progress.stop()

    def report(self, progress: dict[str, Any]) -> None:
        """Draw one Progress."""
        layers = progress.get("layers") or ()
        for layer in layers:
            self._layer(layer, crowded=len(layers) > self._console.height - _MARGIN)
        total, offset = progress.get("total") or 0, progress.get("offset") or 0
        rate, eta = progress.get("rate") or 0, progress.get("eta")
        self._draw(
            self._whole,
            phase=progress.get("phase", ""),
            count=offset,
            total=total,
            rate=rate,
            left="" if eta is None else duration(eta),
        )

    def _add(self, name: str) -> TaskID:
        return self._progress.add_task(f"{name:<12}", total=None, phase="", bytes="", rate="", left="")

    def _layer(self, layer: dict[str, Any], *, crowded: bool) -> None:
        digest, phase, total = layer["digest"], layer["phase"], layer.get("total") or 0
        if digest not in self._layers:
            self._layers[digest] = self._add(short_digest(digest)), Meter()
        task, meter = self._layers[digest]
        if phase in _OVER:
            self._draw(task, phase=phase, count=total, total=total)
        else:
            count = (layer.get("unpacked") if phase == "unpacking" else layer.get("offset")) or 0
            meter.update(count)
            left = meter.left(total) if total else ""
            self._draw(task, phase=phase, count=count, total=total, rate=meter.rate, left=left)
        self._progress.update(task, visible=not crowded or phase not in (*_OVER, "waiting"))

    def _draw(
        self, task: TaskID, *, phase: str, count: float, total: float, rate: float = 0, left: str = ""
    ) -> None:
        amount = f"{size(count)} / {size(total)}" if total and count < total else size(total) if total else ""
        self._progress.update(
            task,
            completed=count,
            total=total or None,
            phase=escape(clean(phase)),
            bytes=amount,
            rate=f"{size(rate)}/s" if rate else "",
            left=left,
        )
