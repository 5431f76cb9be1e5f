"""Which directory is a registry's, and what an unreadable one says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument
from tricorn.registry.hostsdir import HostsDirectory

Writer = Callable[[str, str], str]


async def server(hosts_dir: str, registry: str) -> str:
    return str((await HostsDirectory(hosts_dir).plan(registry, plain_http=False)).hosts[-1])


async def test_the_names_are_tried_in_containerds_order(hosts_toml: Writer) -> None:
    hosts_dir = hosts_toml("_default", 'server = "https://default.example"')
    assert await server(hosts_dir, "reg.example:5000") == "https://default.example/v2"
    hosts_toml("reg.example:5000", 'server = "https://colon.example"')
    assert await server(hosts_dir, "reg.example:5000") == "https://colon.example/v2"
    hosts_toml("reg.example_5000_", 'server = "https://underscore.example"')
    assert await server(hosts_dir, "reg.example:5000") == "https://underscore.example/v2"
    assert await server(hosts_dir, "reg.example") == "https://default.example/v2"


async def test_no_directory_means_the_registry_itself(tmp_path: Path) -> None:
    assert await server("", "reg.example") == "https://reg.example/v2"
    assert await server(str(tmp_path / "missing"), "reg.example") == "https://reg.example/v2"


async def test_edits_hold_at_once(hosts_toml: Writer) -> None:
    hosts_dir = hosts_toml("reg.example", 'server = "https://one.example"')
    directory = HostsDirectory(hosts_dir)
    assert str((await directory.plan("reg.example", plain_http=False)).hosts[0]) == "https://one.example/v2"
    hosts_toml("reg.example", 'server = "https://two.example"')
    assert str((await directory.plan("reg.example", plain_http=False)).hosts[0]) == "https://two.example/v2"


async def test_dockers_certificate_files(tmp_path: Path) -> None:
    directory = tmp_path / "reg.example"
    directory.mkdir()
    for name in ("b.crt", "a.crt", "client.cert", "client.key", "notes"):
        (directory / name).touch()
    (host,) = (await HostsDirectory(str(tmp_path)).plan("reg.example", plain_http=False)).hosts
    assert host.tls.ca == (str(directory / "a.crt"), str(directory / "b.crt"))
    assert host.tls.client == ((str(directory / "client.cert"), str(directory / "client.key")),)


@pytest.mark.parametrize(
    "text",
    ['server = "x', "[host", '[host."https://a"]\nclient = ["/a", ["/b","/c"]]', "a = 1_", "\x00", "unknown = 1",
     'x = "' + "y" * 300_000 + '"'],
)  # fmt: skip
async def test_a_bad_file_is_named(hosts_toml: Writer, text: str) -> None:
    hosts_dir = hosts_toml("reg.example", text)
    with pytest.raises(InvalidArgument) as caught:
        await server(hosts_dir, "reg.example")
    assert "reg.example/hosts.toml" in (caught.value.field or "")


async def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "reg.example").mkdir()
    (tmp_path / "reg.example" / "hosts.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument):
        await server(str(tmp_path), "reg.example")
