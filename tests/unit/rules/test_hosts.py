"""hosts.toml: order, schemes, defaults and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.rules.hosts import CAPABILITIES, HostPlan, is_literal_loopback, plan_hosts, with_headers

FILE = """
server = "https://registry-1.docker.io"

[host."https://zz.example:5000"]
  capabilities = ["pull", "Resolve"]
  ca = "certs/ca.pem"
  client = [["/abs/a.cert", "a.key"], ["b.pem", ""]]
  dial_timeout = "1m30s"
  [host."https://zz.example:5000".header]
    x-custom-2 = ["value1", "value2"]
    x-single = "one"

[host."http://aa.example/harbor"]
  skip_verify = true
  client = "both.pem"

[host."https://mm.example/exact/path"]
  override_path = true
  capabilities = ["push"]
  client = ["one.pem", "two.pem"]
"""


def plan(text: str = "", registry: str = "docker.io", **more: Any) -> HostPlan:
    return plan_hosts(registry, toml.loads(text), base_dir="/etc/h", **more)


def urls(hosts: HostPlan) -> list[str]:
    return [str(host) for host in hosts.hosts]


def test_hosts_keep_the_order_of_the_file_and_the_server_is_last() -> None:
    assert urls(plan(FILE)) == [
        "https://zz.example:5000/v2",
        "http://aa.example/harbor/v2",
        "https://mm.example/exact/path",
        "https://registry-1.docker.io/v2",
    ]
    assert [host.upstream for host in plan(FILE).hosts] == [False, False, False, True]


def test_all_settings_of_a_host_are_read() -> None:
    first, second, third, _ = plan(FILE).hosts
    assert first.capabilities == {"pull", "resolve"}
    assert first.tls.ca == ("/etc/h/certs/ca.pem",)
    assert first.tls.client == (("/abs/a.cert", "/etc/h/a.key"), ("/etc/h/b.pem", ""))
    assert first.dial_timeout == 90
    assert first.headers == (("x-custom-2", "value1"), ("x-custom-2", "value2"), ("x-single", "one"))
    assert "value1" not in repr(first)
    assert second.tls.skip_verify
    assert second.tls.client == (("/etc/h/both.pem", ""),)
    assert third.tls.client == (("/etc/h/one.pem", ""), ("/etc/h/two.pem", ""))


def test_hosts_are_picked_by_capability() -> None:
    hosts = plan(FILE)
    assert [host.host for host in hosts.able("resolve")] == [
        "zz.example",
        "aa.example",
        "registry-1.docker.io",
    ]
    assert [host.host for host in hosts.able("push")] == ["aa.example", "mm.example", "registry-1.docker.io"]


def test_a_file_without_server_ends_at_the_registry_itself() -> None:
    text = 'ca = "ca.pem"\n[host."https://mirror.example"]\n'
    mirror, upstream = plan(text, "quay.io").hosts
    assert str(upstream) == "https://quay.io/v2"
    assert upstream.tls.ca == ("/etc/h/ca.pem",)
    assert mirror.tls.ca == ()
    assert mirror.capabilities == CAPABILITIES


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("quay.io", "https://quay.io/v2"),
        ("quay.io:443", "https://quay.io/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("127.9.9.9:5000", "http://127.9.9.9:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("localhost", "https://localhost/v2"),
        ("127.0.0.1:443", "https://127.0.0.1/v2"),
        # A name that DNS may point at 127.0.0.1 stays on TLS.
        ("localhost.example:5000", "https://localhost.example:5000/v2"),
        ("127.0.0.1.nip.io:5000", "https://127.0.0.1.nip.io:5000/v2"),
        ("foo.localhost:5000", "https://foo.localhost:5000/v2"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/v2"),
    ],
)
def test_plain_http_is_for_literal_loopback_only(registry: str, expected: str) -> None:
    assert urls(plan_hosts(registry)) == [expected]


def test_plain_http_when_somebody_asks_for_it() -> None:
    assert urls(plan_hosts("10.0.0.1:5000", plain_http=True)) == ["http://10.0.0.1:5000/v2"]
    assert urls(plan('server = "http://10.0.0.1:5000"', "10.0.0.1:5000")) == ["http://10.0.0.1:5000/v2"]


def test_plain_http_of_a_request_changes_no_written_url() -> None:
    text = 'server = "https://up.example"\n[host."https://mirror.example"]\n'
    assert urls(plan(text, "up.example", plain_http=True)) == [
        "https://mirror.example/v2",
        "https://up.example/v2",
    ]


def test_plain_http_never_downgrades_docker_hub() -> None:
    assert urls(plan_hosts("docker.io", plain_http=True)) == ["https://registry-1.docker.io/v2"]


def test_tls_settings_for_a_loopback_registry_mean_tls() -> None:
    assert urls(plan('ca = "x"', "127.0.0.1:5000")) == ["https://127.0.0.1:5000/v2"]


def test_a_server_without_scheme_is_https() -> None:
    assert urls(plan('server = "reg.example:5000"')) == ["https://reg.example:5000/v2"]


def test_mirrors_are_told_the_registry_they_stand_for() -> None:
    hosts = plan(FILE)
    assert [hosts.is_mirror(host) for host in hosts.hosts] == [True, True, True, False]
    for registry in ("quay.io:443", "Quay.IO", "[::1]:5000", "127.0.0.1:5000"):
        own = plan_hosts(registry)
        assert not own.is_mirror(own.hosts[0])


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('servers = "x"', "hosts.toml.servers"),
        (
            '[host."https://a.example"]\ncapability = ["pull"]',
            'hosts.toml.host."https://a.example".capability',
        ),
        ('[host."https://a.example"]\ncapabilities = ["pul"]', "capabilities"),
        ('[host."https://a.example"]\ncapabilities = "pull"', "capabilities"),
        ('[host."https://a.example"]\nserver = "x"', ".server"),
        ('[host."ftp://a.example"]', 'host."ftp://a.example"'),
        ('[host."https://"]', 'host."https://"'),
        ('[host."https://user:pw@a.example"]', "a.example"),
        ('[host."https://a.example?x=1"]', "a.example"),
        ('[host."https://a.example:99999"]', "a.example"),
        ('[host."https://a.example"]\nskip_verify = "yes"', "skip_verify"),
        ('[host."https://a.example"]\nca = 5', "ca"),
        ('[host."https://a.example"]\nclient = [["a", "b", "c"]]', "client"),
        ('[host."https://a.example"]\nclient = 7', "client"),
        ('[host."https://a.example"]\ndial_timeout = "soon"', "dial_timeout"),
        ('[host."https://a.example"]\ndial_timeout = "0s"', "dial_timeout"),
        ('[host."https://a.example"]\n[host."https://a.example".header]\n"a b" = "x"', "header"),
        ('[host."https://a.example"]\n[host."https://a.example".header]\nHost = "x"', "header"),
        ('[host."https://a.example"]\n[host."https://a.example".header]\nX = "a\\r\\nY: b"', "header"),
        ("server = 5", "server"),
        ("host = 5", "host"),
        ("host = {x = 5}", "host"),
    ],
)
def test_mistakes_are_refused_by_name(text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(text)
    assert field in (caught.value.field or "")


def test_dial_timeout_takes_durations_and_seconds() -> None:
    for raw, seconds in (('"500ms"', 0.5), ('"1h"', 3600), ("10", 10), ("2.5", 2.5)):
        text = f'[host."https://a.example"]\ndial_timeout = {raw}'
        assert plan(text).hosts[0].dial_timeout == seconds


@given(st.text(max_size=40))
def test_no_name_but_localhost_is_loopback(name: str) -> None:
    if is_literal_loopback(name) and name != "localhost":
        assert name.strip("[]").startswith("127.") or ":" in name


@given(st.dictionaries(st.text(max_size=12), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
), max_size=4))  # fmt: skip
def test_any_document_is_a_plan_or_a_typed_refusal(document: dict[str, Any]) -> None:
    for wrapped in (document, {"host": {"https://a.example": document}}, {"host": document}):
        refusal = None
        try:
            hosts = plan_hosts("quay.io", wrapped)
        except InvalidArgument as error:
            refusal = error
        assert refusal.field if refusal else hosts.hosts[-1].upstream


def test_headers_of_a_request_are_for_the_registry_itself() -> None:
    plan = plan_hosts("r.test", {"host": {"https://mirror.test": {"header": {"x-own": "1"}}}})
    mirror, upstream = with_headers(plan, [("X-Team", "blue")]).hosts
    assert mirror.headers == (("x-own", "1"),)
    assert upstream.headers == (("X-Team", "blue"),)
    assert with_headers(plan, []) is plan
    for name, value in (("Host", "x"), ("Content-Length", "1"), ("bad name", "x"), ("X", "line\nbreak")):
        with pytest.raises(InvalidArgument):
            with_headers(plan, [(name, value)])
