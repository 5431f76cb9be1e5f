"""Dumps on their way to another node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument
from tricorn.fs.dump_transfer import DumpReceipt, DumpUpload


async def sent(directory: Path) -> bytes:
    data = bytearray()

    async def send(piece: memoryview) -> None:
        data.extend(piece)

    upload = DumpUpload(str(directory), lambda _: None)
    await upload.write_to(send)
    assert len(data) == upload.length
    return bytes(data)


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
async def test_what_is_sent_arrives_for_root_alone(tmp_path: Path, step: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    files = {"pages-1.img": b"p" * 5000, "empty.img": b"", "core-1.img": b"core", "a.img": b"", "tail": b"t"}
    for name, data in files.items():
        (source / name).write_bytes(data)
    stream = await sent(source)
    receipt = DumpReceipt(str(target))
    for at in range(0, len(stream), step):
        receipt.feed(stream[at : at + step])
    receipt.finish()
    assert {path.name: path.read_bytes() for path in target.iterdir()} == files
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
    assert receipt.size == len(stream)


async def test_a_part_of_a_dump_is_none(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pages-1.img").write_bytes(b"p" * 100)
    stream = await sent(source)
    for cut in (0, 5, len(stream) - 1):
        target = tmp_path / f"target-{cut}"
        target.mkdir()
        receipt = DumpReceipt(str(target))
        receipt.feed(stream[:cut])
        with pytest.raises(InvalidArgument):
            receipt.finish()
        receipt.close()
    longer = tmp_path / "longer"
    longer.mkdir()
    receipt = DumpReceipt(str(longer))
    with pytest.raises(InvalidArgument):
        receipt.feed(stream + b"x")
    receipt.close()


@pytest.mark.parametrize(
    "listed",
    [[["../x", 1]], [["/etc/x", 1]], [["", 1]], [[".", 1]], [["a", -1]], [["a", True]], [["a", 1], ["a", 1]],
     [["a\0", 1]], {"a": 1}, "a", [[1]]],
)  # fmt: skip
def test_names_and_sizes_that_no_dump_has_are_refused(tmp_path: Path, listed: object) -> None:
    head = json.dumps(listed).encode()
    with pytest.raises(InvalidArgument):
        DumpReceipt(str(tmp_path)).feed(len(head).to_bytes(8, "big") + head)
    assert list(tmp_path.iterdir()) == []
