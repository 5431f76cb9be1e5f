"""The failpoint grammar and its counting."""

from __future__ import annotations

import pytest

from tricorn.errors import Internal, InvalidArgument
from tricorn.failpoints import Failpoints


def test_unarmed_points_do_nothing() -> None:
    Failpoints().hit("anything")
    Failpoints("other=kill").hit("anything")


def test_terms_are_used_up_in_order() -> None:
    points = Failpoints("a=2*off->1*error(disk)->off")
    points.hit("a")
    points.hit("a")
    with pytest.raises(Internal, match="disk"):
        points.hit("a")
    points.hit("a")
    assert points.seen == {"a": 4}


@pytest.mark.parametrize("text", ["a", "a=explode", "a=1*", "a=error(x"])
def test_malformed_programs_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Failpoints(text)
