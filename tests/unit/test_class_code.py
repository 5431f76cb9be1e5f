"""Classes made of kept code are those that the compiler makes, and nothing that goes wrong with it is felt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tricorn.class_code import ClassCode

SOURCE = "def __hash__(self):\n    return hash((\n        {salt},\n        self.x,\n    ))\n"

# A class of its own, after which the file's state is told; hashes are salted differently in each process.
SCRIPT = """
import sys, zlib
from tricorn import class_code
class_code.kept_at = lambda: sys.argv[1]
class_code.start()
import attr._make, attrs
code = attr._make.compile.__self__
@attrs.frozen
class Point:
    x: int
    y: int = attrs.field(default=3, validator=attrs.validators.instance_of(int))
class_code.finish()
assert not hasattr(attr._make, "compile")
assert Point(1) == Point(1, 3) != Point(2) and hash(Point(1)) == hash(Point(1)), "equality"
assert repr(Point(1)) == "Point(x=1, y=3)" and Point(1).__match_args__ == ("x", "y")
try:
    Point(1, "no")
except TypeError:
    print(code.compiled)
"""


def run(path: Path, **environment: str) -> str:
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", SCRIPT, str(path)]
    done = subprocess.run(
        command, env=variables | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.stderr
    return done.stdout.strip()


def test_a_second_start_compiles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.attrs"
    assert run(path) == "1"
    written = path.stat().st_mtime_ns
    assert run(path, PYTHONHASHSEED="17") == "0"
    assert path.stat().st_mtime_ns == written
    assert os.listdir(tmp_path) == ["kept.attrs"]


def test_nothing_is_written_where_python_writes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "kept.attrs", PYTHONDONTWRITEBYTECODE="1") == "1"
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_missing_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert run(tmp_path / "missing/kept.attrs") == "1"


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 400], ids=["empty", "short", "noise"])
def test_a_damaged_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "kept.attrs"
    path.write_bytes(damage)
    code = ClassCode(str(path))
    code.compile(SOURCE.format(salt=1), "<attrs>", "exec")
    code.save()
    again = ClassCode(str(path))
    again.compile(SOURCE.format(salt=1), "<attrs>", "exec")
    assert (code.compiled, again.compiled) == (1, 0)


def test_a_flipped_bit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "kept.attrs"
    code = ClassCode(str(path))
    code.compile(SOURCE.format(salt=1), "<attrs>", "exec")
    code.save()
    data = bytearray(path.read_bytes())
    data[-20] ^= 4
    path.write_bytes(data)
    again = ClassCode(str(path))
    again.compile(SOURCE.format(salt=1), "<attrs>", "exec")
    assert again.compiled == 1


@pytest.mark.parametrize(
    ("source", "filename"),
    [
        (SOURCE.format(salt=-5) + "\n", "<attrs>"),
        (SOURCE.format(salt=-5), "<attrs of another class>"),
        (SOURCE.format(salt=-5).replace("self.x", "self.y"), "<attrs>"),
    ],
)
def test_other_sources_are_other_pieces(source: str, filename: str) -> None:
    code = ClassCode(None)
    code.compile(SOURCE.format(salt=7), "<attrs>", "exec")
    code.compile(source, filename, "exec")
    assert code.compiled == 2


def test_what_is_no_longer_asked_for_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = str(tmp_path / "kept.attrs")
    for source in ("old = 1", "new = 1"):
        code = ClassCode(path)
        code.compile(source, "<attrs>", "exec")
        code.save()
    last = ClassCode(path)
    last.compile("old = 1", "<attrs>", "exec")
    assert last.compiled == 1


def test_the_agent_keeps_the_code_of_its_classes(tmp_path: Path) -> None:
    """A whole agent's: the second command of the same release compiles no class at all."""
    script = (
        "import sys; from tricorn import class_code, lean_logging; class_code.kept_at = lambda: sys.argv[1]\n"
        "class_code.start(); import attr._make; code = attr._make.compile.__self__; lean_logging.load()\n"
        "import tricorn.agent_command, tricorn.daemon; class_code.finish(); print(code.compiled)\n"
    )
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    compiled = [
        subprocess.check_output(
            [sys.executable, "-c", script, str(tmp_path / "kept")], env=variables, text=True, timeout=60
        ).strip()
        for _ in range(2)
    ]
    assert int(compiled[0]) > 300
    assert compiled[1] == "0"
