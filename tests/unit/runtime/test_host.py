# ruff: noqa: ASYNC240 - tests look at files directly

from __future__ import annotations

import os
import resource

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired, Mount
from tricorn.model.spec import CAPABILITIES
from tricorn.runtime.cgroup import Hierarchies
from tricorn.runtime.host import host_limits, static_limits


def test_what_does_not_depend_on_a_request():
    found = static_limits(Hierarchies({"memory": "/nonexistent", "cpu": "/nonexistent"}))
    assert found.cgroup_mode == "v1"
    assert found.cgroup_controllers == ("memory", "cpu")
    assert not found.swap_accounting
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert found.rlimits["RLIMIT_NOFILE"] == (2**64 - 1 if hard == resource.RLIM_INFINITY else hard)
    assert set(found.capabilities) <= set(CAPABILITIES)


async def test_bind_sources_become_real_paths(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nothing")
    mounts = tuple(Mount("/x", str(tmp_path / name)) for name in ("real", "link", "dangling", "none"))
    found = await host_limits(ContainerDesired(image="x", mounts=(*mounts, Mount("/t", type="tmpfs"))))
    real = os.path.realpath(tmp_path / "real")
    assert [found.sources[mount.source] for mount in mounts] == [real, real, "", ""]


async def test_devices_are_those_asked_for():
    found = await host_limits(
        ContainerDesired(image="x", devices=("/dev/null:/dev/n", "/dev/none", "/etc/passwd"))
    )
    assert list(found.devices) == ["/dev/null"]
    assert (found.devices["/dev/null"].type, found.devices["/dev/null"].major) == ("c", 1)


async def test_a_privileged_request_sees_all_devices_but_terminals():
    found = await host_limits(ContainerDesired(image="x", privileged=True))
    assert "/dev/null" in found.devices
    assert not any(path.startswith("/dev/pts") for path in found.devices)


async def test_seccomp_profiles_are_read_if_they_are_small_json_files(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    found = await host_limits(ContainerDesired(image="x", seccomp=str(path)))
    assert found.profiles == {str(path): {"defaultAction": "SCMP_ACT_ALLOW"}}
    assert (await host_limits(ContainerDesired(image="x", seccomp="/none"))).profiles == {}
    for bad in ("[]", "{", "x" * (1 << 20) + "y"):
        path.write_text(bad)
        with pytest.raises(InvalidArgument):
            await host_limits(ContainerDesired(image="x", seccomp=str(path)))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidArgument):
        await host_limits(ContainerDesired(image="x", seccomp=str(path)))
