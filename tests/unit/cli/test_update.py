from __future__ import annotations

import stat
from types import SimpleNamespace
from typing import Any

import pytest

from tricorn.cli.update import limits
from tricorn.errors import InvalidArgument


def test_options_become_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=0x810)
    monkeypatch.setattr("os.stat", lambda _path: disk)
    options: dict[str, Any] = {
        "memory": "512m", "memory_swap": "-1", "cpus": 1.5, "pids": -1, "cpuset_cpus": None,
        "device_read_bps": ("/dev/sdb=10m", "8:0=1k"), "device_write_iops": ("8:16=5",), "device_write_bps": (),
    }  # fmt: skip
    assert limits(options) == {
        "memory": 512 << 20, "memory_swap": -1, "cpus": 1.5, "pids": -1,
        "blkio": [
            {"device": "8:16", "read_bps": 10 << 20, "write_iops": 5}, {"device": "8:0", "read_bps": 1024},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("text", ["/dev/sdb", "/dev/null=1", "/dev/not-there=1", "8:0=fast"])
def test_malformed_devices_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        limits({"device_read_bps": (text,)})
    assert raised.value.field == "--device-read-bps"
