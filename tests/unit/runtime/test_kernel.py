"""What the kernel can do: looked at here, and with files of other kernels in place of this one's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn.runtime import kernel
from tricorn.runtime.cgroup import Hierarchies


def test_each_is_told_of_with_a_reason_where_it_is_missing() -> None:
    found = {item.name: item for item in kernel.kernel_capabilities()}
    assert {
        "cgroup",
        "overlay",
        "erofs",
        "btrfs",
        "idmapped-mounts",
        "user-namespaces",
        "seccomp",
        "nftables",
    } == {*found}
    assert all(item.available or item.reason for item in found.values())


def test_control_groups_without_a_controller() -> None:
    found = kernel._cgroup(Hierarchies(v2="/sys/fs/cgroup", v2_controllers=("memory", "pids")))
    assert (found.available, found.details["version"], found.details["mode"]) == (False, 2, "unified")
    assert "cpu" in found.reason
    whole = kernel._cgroup(Hierarchies(v1={"memory": "/m", "pids": "/p", "cpu": "/c"}))
    assert (whole.available, whole.details["version"]) == (True, 1)


def test_a_module_on_disk_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel._file_system("no-such-fs", "nothing").hint.startswith("`modprobe no-such-fs`")
    listing = tmp_path / "modules.dep"
    listing.write_text("kernel/fs/x/no-such-fs.ko.xz: kernel/lib/crc.ko\n")
    monkeypatch.setattr(kernel, "_MODULES", str(tmp_path))
    assert kernel._file_system("no-such-fs", "nothing").available
    assert not kernel._file_system("crc", "nothing").available


@pytest.mark.parametrize(("number", "there"), [(39, True), (100_000, False)], ids=["getpid", "none"])
def test_whether_there_is_a_call(number: int, *, there: bool) -> None:
    assert kernel._has_call(number) is there
