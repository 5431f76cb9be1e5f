from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired
from tricorn.rules.log_bounds import LEAST, MOST, check_log


@pytest.mark.parametrize(("size", "files"), [(0, 0), (LEAST, 1), (MOST, 100)])
def test_bounds_that_can_be_kept(size: int, files: int) -> None:
    check_log(ContainerDesired("i", log_size=size, log_files=files))


@pytest.mark.parametrize(
    ("size", "files", "field"),
    [
        (LEAST - 1, 0, "log_size"), (MOST + 1, 0, "log_size"), (-1, 0, "log_size"),
        (0, 101, "log_files"), (0, -1, "log_files"),
    ],
)  # fmt: skip
def test_others_are_refused(size: int, files: int, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_log(ContainerDesired("i", log_size=size, log_files=files))
    assert raised.value.field == field
