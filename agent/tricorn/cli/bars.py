"""The progress bars of long work, drawn with rich. Imported only on a terminal that shows one."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn

from tricorn.cli.figures import duration, short_digest, size
from tricorn.cli.output import clean
from tricorn.cli.progress import OVER

_MARGIN: Final = 4  # lines of the screen that aren't an object's
_WIDE, _MEDIUM = 90, 56  # columns of a screen that shows all, and of one that shows a bar


class Bars:
    """One line per object and one for the whole; on a short screen only the objects that are at work.
    Documents, which are small, show only while they take their time.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            *_columns(self._console.width), console=self._console, transient=True, expand=True
        )
        self._whole = self._add("total")
        self._progress.start()

    def close(self) -> None:
        """Take the bars off the screen."""
        self._progress.stop()

    def report(self, progress: dict[str, Any]) -> None:
        """Draw one line of progress."""
        changed = progress.get("objects") or ()
        for each in changed:
            if each["digest"] not in self._tasks:
                self._tasks[each["digest"]] = self._add(short_digest(each["digest"]))
        crowded = len(self._tasks) > self._console.height - _MARGIN
        for each in changed:
            self._object(each, crowded=crowded)
        self._draw(self._whole, progress, progress.get("offset") or 0)

    def _add(self, name: str) -> TaskID:
        return self._progress.add_task(
            f"{name:<12}", total=None, phase="", bytes="", share="", rate="", left=""
        )

    def _object(self, each: dict[str, Any], *, crowded: bool) -> None:
        task, phase = self._tasks[each["digest"]], each["phase"]
        count = (
            each.get("total") if phase in OVER else each.get("unpacked" if phase == "unpack" else "offset")
        )
        self._draw(task, each, count or 0)
        idle = phase in (*OVER, "wait")
        self._progress.update(task, visible=not idle or (each["kind"] == "layer" and not crowded))

    def _draw(self, task: TaskID, shown: dict[str, Any], count: float) -> None:
        total, rate, eta = shown.get("total") or 0, shown.get("rate") or 0, shown.get("eta")
        part = total and count < total
        self._progress.update(
            task,
            completed=count,
            total=total or None,
            phase=escape(clean(shown.get("phase", ""))),
            bytes=f"{size(count)} / {size(total)}"
            if part
            else size(total or count)
            if total or count
            else "",
            share=f"{100 * count / total:.0f}%" if total else "",
            rate=f"{size(rate)}/s" if rate else "",
            left="" if eta is None else duration(eta),
        )


def _columns(width: int) -> list[ProgressColumn]:
    """What a line holds: the narrower the screen, the less; never more than fits."""
    name, phase = TextColumn("{task.description}"), TextColumn("{task.fields[phase]:<8}")
    share, rate = TextColumn("{task.fields[share]:>4}"), TextColumn("{task.fields[rate]:>10}")
    left = TextColumn("{task.fields[left]:>6}")
    if width >= _WIDE:
        amount = TextColumn("{task.fields[bytes]:>21}")
        return [name, phase, BarColumn(bar_width=None), amount, rate, left]
    if width >= _MEDIUM:
        return [name, phase, BarColumn(bar_width=None), share, rate, left]
    return [name, phase, share, left]
