"""The error tree: each class maps once, and a problem document carries it over the wire unchanged."""

from __future__ import annotations

import pytest

from tricorn import errors

CODES = sorted(errors.BY_CODE)


@pytest.mark.parametrize("code", CODES)
def test_an_error_survives_the_wire(code: str) -> None:
    original = errors.BY_CODE[code]("it broke", why="a reason", hint="do this", field="a.b", children=["c"])
    rebuilt = errors.from_problem(original.problem())
    assert type(rebuilt) is type(original)
    assert rebuilt.one_line() == original.one_line() == "a.b: it broke: a reason (hint: do this)"
    assert rebuilt.details == {"children": ["c"]}


def test_codes_and_grpc_numbers_are_those_of_the_table() -> None:
    expected = {
        "Canceled": 1, "InvalidArgument": 3, "DeadlineExceeded": 4, "NotFound": 5, "AlreadyExists": 6,
        "PermissionDenied": 7, "ResourceExhausted": 8, "FailedPrecondition": 9, "Conflict": 9, "Aborted": 10,
        "OutOfRange": 11, "Unimplemented": 12, "Internal": 13, "Unavailable": 14, "DataLoss": 15,
        "Unauthenticated": 16, "PolicyDenied": 7,
    }  # fmt: skip
    assert {code: cls.grpc for code, cls in errors.BY_CODE.items()} == expected


def test_an_unknown_problem_is_an_internal_error() -> None:
    assert isinstance(errors.from_problem({"detail": "?"}), errors.Internal)
