from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.runtime.logs import (
    Follower,
    LineJoiner,
    LogReader,
    Record,
    after,
    names,
    parse_record,
    rotate,
    until,
)
from tricorn.runtime.tail import tail_position
from tricorn.runtime.watch import Watch

AT = "2026-11-22T04:46:02.418884029+00:00"


def record(text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"{AT} {stream} {tag} {text}\n"


def write(path, *lines: str) -> None:
    path.write_text("".join(lines))


async def all_of(reader: LogReader) -> list[bytes]:
    found = []
    while batch := await reader.batch():
        found += [entry.raw() for entry in batch]
    return found


def test_records():
    assert parse_record(b"T stdout F a b  c") == Record("T", "stdout", True, b"a b  c")
    assert parse_record(b"T stderr P ") == Record("T", "stderr", False, b"")
    assert parse_record(b"T stdout F") == Record("T", "stdout", True, b"")
    for damaged in (b"", b"x", b"a b c d", b"T stdout Q x"):
        assert parse_record(damaged) is None


@given(st.binary(max_size=200))
def test_any_line_is_a_record_or_none(line):
    found = parse_record(line)
    assert found is None or found.stream in {"stdout", "stderr"}


def test_partial_records_are_joined_stream_by_stream():
    joiner = LineJoiner()
    assert joiner.feed(Record("1", "stdout", False, b"a")) is None
    assert joiner.feed(Record("2", "stderr", True, b"e")).text == "e"
    line = joiner.feed(Record("3", "stdout", True, b"b"))
    assert (line.timestamp, line.text) == ("1", "ab")
    joiner.feed(Record("4", "stdout", False, b"left"))
    assert [entry.text for entry in joiner.flush()] == ["left"]
    assert joiner.flush() == []


def test_an_endless_line_is_given_out_in_parts():
    joiner = LineJoiner()
    given_out = [joiner.feed(Record("1", "stdout", False, b"x" * 65536)) for _ in range(40)]
    assert sum(line is not None for line in given_out) == 2


async def test_all_files_are_read_oldest_first(tmp_path):
    path = tmp_path / "log"
    write(tmp_path / "log.2", record("1"), record("2"))
    write(tmp_path / "log.1", record("3"))
    write(path, record("4"), record("5", "P"), f"{AT} stdout F unfinish")
    reader = LogReader.open(str(path))
    assert await all_of(reader) == [b"1\n", b"2\n", b"3\n", b"4\n", b"5"]
    with path.open("a") as file:
        file.write("ed\n")
    assert await all_of(reader) == [b"unfinished\n"]
    reader.close()


async def test_reading_goes_on_over_a_rotation_and_what_came_late_to_the_old_file(tmp_path):
    path = tmp_path / "log"
    write(path, record("1"))
    reader = LogReader.open(str(path))
    assert await all_of(reader) == [b"1\n"]
    rotate(str(path), 3)
    with (tmp_path / "log.1").open("a") as late:  # the monitor hasn't opened the new one yet
        late.write(record("2"))
    assert await all_of(reader) == [b"2\n"]
    with (tmp_path / "log.1").open("a") as late:
        late.write(record("3"))
    write(path, record("4"))
    assert await all_of(reader) == [b"3\n", b"4\n"]
    for text in ("5", "6", "7"):
        rotate(str(path), 9)
        write(path, record(text))
    assert await all_of(reader) == [b"5\n", b"6\n", b"7\n"]
    reader.close()


async def test_a_reader_whose_file_was_dropped_goes_on_with_the_oldest(tmp_path):
    path = tmp_path / "log"
    write(path, record("1"))
    reader = LogReader.open(str(path))
    for text in ("2", "3", "4"):
        rotate(str(path), 2)
        write(path, record(text))
    assert await all_of(reader) == [b"1\n", b"3\n", b"4\n"]
    reader.close()


async def test_only_what_comes_after_the_end(tmp_path):
    path = tmp_path / "log"
    write(path, record("old"))
    reader = LogReader.open(str(path), at_end=True)
    assert await all_of(reader) == []
    with path.open("a") as file:
        file.write(record("new"))
    assert await all_of(reader) == [b"new\n"]
    reader.close()


async def test_a_log_that_appears_later_is_read(tmp_path):
    reader = LogReader.open(str(tmp_path / "log"))
    assert await all_of(reader) == []
    write(tmp_path / "log", record("first"))
    assert await all_of(reader) == [b"first\n"]
    reader.close()


async def test_a_symlink_in_place_of_a_log_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text(record("host"))
    (tmp_path / "log").symlink_to(tmp_path / "secret")
    assert await all_of(LogReader.open(str(tmp_path / "log"))) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, []),
        (1, [b"5\n"]),
        (2, [b"4a", b"4b\n", b"5\n"]),
        (3, [b"3\n", b"4a", b"4b\n", b"5\n"]),
        (5, None),
        (99, None),
    ],
)
async def test_the_last_lines(tmp_path, lines, expected):
    path = tmp_path / "log"
    write(tmp_path / "log.1", record("1"), record("2"))
    write(path, record("3"), record("4a", "P"), record("4b"), record("5"))
    reader = LogReader.open(str(path))
    await reader.skip_to_tail(lines)
    assert await all_of(reader) == (
        expected if expected is not None else [b"1\n", b"2\n", b"3\n", b"4a", b"4b\n", b"5\n"]
    )
    reader.close()


@given(
    st.lists(st.tuples(st.text("ab", max_size=3), st.booleans()), max_size=12),
    st.integers(0, 14),
    st.integers(0, 12),
)
def test_the_tail_is_what_joining_everything_gives(tmp_path_factory, entries, lines, cut):
    directory = tmp_path_factory.mktemp("tail")
    texts = [record(text, "F" if whole else "P").encode() for text, whole in entries]
    for name, part in (("a", texts[:cut]), ("b", texts[cut:])):
        (directory / name).write_bytes(b"".join(part))
    fds = [os.open(directory / name, os.O_RDONLY) for name in ("a", "b")]
    try:
        index, offset = tail_position(fds, lines)
        rest = os.pread(fds[index], 10**6, offset) + (os.pread(fds[1], 10**6, 0) if index == 0 else b"")
    finally:
        for fd in fds:
            os.close(fd)

    def joined(data: bytes) -> list[str]:
        joiner = LineJoiner()
        found = [joiner.feed(entry) for line in data.split(b"\n") if (entry := parse_record(line))]
        return [line.text for line in [*filter(None, found), *joiner.flush()]]

    whole = joined(b"".join(texts))
    assert joined(rest) == (whole[-lines:] if lines else [])


def test_rotation_keeps_so_many_files(tmp_path):
    path = tmp_path / "log"
    for number in range(6):
        write(path, record(str(number)))
        rotate(str(path), 3)
    assert sorted(os.listdir(tmp_path)) == ["log.1", "log.2"]
    assert names(str(path)) == [f"{path}.1", f"{path}.2"]
    assert "5" in (tmp_path / "log.1").read_text()


def test_since():
    late = after(datetime(2026, 11, 22, 4, 46, 2, 418884, UTC))
    line = LineJoiner().feed(parse_record(record("x").encode().rstrip()))
    assert late(line)
    assert not after(datetime(2026, 11, 22, 4, 46, 3, tzinfo=UTC))(line)
    with pytest.raises(InvalidArgument):
        after(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def at(second: int, text: str, tag: str = "F") -> str:
    return f"2026-11-22T04:46:{second:02}.5+00:00 stdout {tag} {text}\n"


@pytest.mark.parametrize(
    ("lines", "second", "expected"),
    [
        (2, 5, [b"4\n", b"5\n"]),
        (2, 3, [b"2\n", b"3a"]),  # the line began early enough: where it is read, its end comes, too
        (1, 2, [b"2\n"]),
        (9, 1, [b"1\n"]),
        (1, 0, []),
    ],
)
async def test_the_last_lines_up_to_a_time(tmp_path, lines, second, expected):
    write(tmp_path / "log.1", at(1, "1"), at(2, "2"), at(3, "3a", "P"))
    write(tmp_path / "log", at(4, "3b"), at(4, "4"), at(5, "5"))
    reader = LogReader.open(str(tmp_path / "log"))
    early = until(datetime(2026, 11, 22, 4, 46, second, 500000, UTC))
    await reader.skip_to_tail(lines, early)
    found = []
    while batch := await reader.batch():
        found += [entry.raw() for entry in batch if early(entry.timestamp)]
    assert found == expected
    reader.close()


def test_until():
    early = until(datetime(2026, 11, 22, 4, 46, 2, tzinfo=UTC))
    assert early("2026-11-22T05:46:02+01:00")
    assert not early(AT)
    assert early("no time")
    with pytest.raises(InvalidArgument) as raised:
        until(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    assert raised.value.field == "until"


async def test_a_follower_ends_at_its_deadline(tmp_path, autojump_clock):
    write(tmp_path / "log", at(1, "1"))
    reader = LogReader.open(str(tmp_path / "log"))
    watch = Watch(str(tmp_path), 0)
    follower = Follower(reader, watch, lambda: False, watch.changed, trio.current_time() + 3)
    assert [entry.raw() for entry in await follower.batch()] == [b"1\n"]
    assert await follower.batch() == []
    reader.close()
