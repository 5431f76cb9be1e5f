"""A container that arrived is on record as running only if it can go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tricorn.errors import FailedPrecondition
from tricorn.service.migration_landing import Landing


class Records:
    """A transaction that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.migrations = SimpleNamespace(advance=lambda *words: self.told.append(words))


@pytest.mark.parametrize(
    ("state", "told"), [("", True), ("serving", True), ("done", True), ("failed", False)]
)
def test_it_runs_unless_its_memory_is_lost(state: str, told: bool) -> None:
    parts: Any = SimpleNamespace(runtime=SimpleNamespace(lazy_state=lambda _: state))
    arrival: Any = SimpleNamespace(ref=object(), offer=SimpleNamespace(id="5f"))
    records: Any = Records()
    landing = Landing(parts, offers=arrival, arrival=arrival, report=arrival)
    if told:
        landing.record(records)
        assert records.told == [("in", "5f", "running")]
    else:
        with pytest.raises(FailedPrecondition, match="before all was given"):
            landing.record(records)
        assert not records.told
