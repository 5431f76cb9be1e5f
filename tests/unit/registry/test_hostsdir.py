"""Which directory is a registry's, and what an unreadable one says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument
from tricorn.registry.hostsdir import HostsDirectory
from tricorn.rules.hosts import CAPABILITIES

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


async def test_the_first_of_several_trees_that_knows_the_registry(tmp_path: Path) -> None:
    for tree, registry in (
        ("one", "a.example"),
        ("two", "a.example"),
        ("two", "b.example"),
        ("two", "_default"),
    ):
        (tmp_path / tree / registry).mkdir(parents=True)
        (tmp_path / tree / registry / "hosts.toml").write_text(f'server = "https://{tree}.example"')
    trees = f"{tmp_path}/one:{tmp_path}/missing:{tmp_path}/two"
    assert await server(trees, "a.example") == "https://one.example/v2"
    assert await server(trees, "b.example") == "https://two.example/v2"
    assert await server(trees, "c.example") == "https://two.example/v2"


async def test_a_file_with_everything_that_containerds_documentation_shows(hosts_toml: Writer) -> None:
    text = """
    server = "https://registry-1.docker.io" # upstream
    capabilities = [ "pull", "resolve", # no push
    ]
    ca = [ "one.pem", "/etc/certs/two.pem" ]
    client = [ "both.pem", [ "c.pem", "k.pem" ], [ "c2.pem", "" ] ]
    [host."https://mirror.example"]
      capabilities = [ "pull", "resolve", "push", "referrers" ]
      ca = "/etc/certs/mirror.pem"
      skip_verify = true
      dial_timeout = "300ms"
      override_path = true
      [host."https://mirror.example".header]
        x-custom-2 = ["value1", "value2"]
    [host."mirror.lan:5000/v2"]
    [host."http://[fd00::1]:5000"]
    """
    directory = f"{hosts_toml('docker.io', text)}/docker.io"
    plan = await HostsDirectory(directory.removesuffix("/docker.io")).plan("docker.io")
    one, two, three, up = plan.hosts
    assert [str(host) for host in plan.hosts] == [
        "https://mirror.example", "https://mirror.lan:5000/v2", "http://[fd00::1]:5000/v2",
        "https://registry-1.docker.io/v2",
    ]  # fmt: skip
    assert one.capabilities == two.capabilities == three.capabilities == CAPABILITIES
    assert (one.dial_timeout, one.tls.skip_verify) == (0.3, True)
    assert (up.capabilities, up.tls.ca) == (
        {"pull", "resolve"},
        (f"{directory}/one.pem", "/etc/certs/two.pem"),
    )
    pairs = (("both.pem", ""), ("c.pem", f"{directory}/k.pem"), ("c2.pem", ""))
    assert up.tls.client == tuple((f"{directory}/{certificate}", key) for certificate, key in pairs)
    assert plan.source == f"{directory}/hosts.toml"


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
    ['server = "x', "[host", "a = 1_", "\x00", "unknown = 1",
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
