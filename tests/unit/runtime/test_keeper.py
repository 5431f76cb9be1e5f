"""The writing end of a pipe, kept in flight."""

from __future__ import annotations

import os

from tricorn.runtime.keeper import Flight


def at_end(fd: int) -> bool:
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 1) == b""
    except BlockingIOError:
        return False


def holding(fd: int) -> Flight:
    flight = Flight.make()
    assert flight.copy() is None
    flight.hold(fd)
    return flight


def test_what_is_held_keeps_the_pipe_open_until_it_is_dropped():
    reading, writing = os.pipe()
    queue = holding(writing)
    os.close(writing)
    assert not at_end(reading)
    copy = queue.copy()
    assert copy is not None
    os.write(copy, b"x")
    os.close(copy)
    assert os.read(reading, 10) == b"x"
    assert not at_end(reading)
    queue.drop()
    assert at_end(reading)
    assert queue.copy() is None
    queue.drop()
    queue.close()
    os.close(reading)


def test_dropping_by_one_holder_drops_it_for_all():
    reading, writing = os.pipe()
    queue = holding(writing)
    os.close(writing)
    other = os.dup(queue.descriptors((1, 2))[1])  # as a monitor has it
    queue.drop()
    assert at_end(reading)
    queue.close()
    os.close(other)
    os.close(reading)
