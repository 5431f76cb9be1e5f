"""Docker's config.json: whose credentials it has, in which spelling; and what is no such file."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import FailedPrecondition
from tricorn.model.requests import HeaderAuth, RegistryAuth
from tricorn.registry.docker_config import HUB_KEY, docker_entry

BASIC = base64.b64encode(b"me:pa:ss").decode()
ME = RegistryAuth("me", "pa:ss")


def entry(document: Any, host: str = "reg.example") -> Any:
    return docker_entry(json.dumps(document), host, "/c.json")


@pytest.mark.parametrize(
    "key",
    [
        "reg.example",
        "https://reg.example",
        "http://reg.example/v1/",
        "https://reg.example/v2/",
        "reg.example/x",
    ],
)
def test_a_registry_under_any_of_its_spellings(key: str) -> None:
    assert entry({"auths": {"other": {}, key: {"auth": BASIC}}}).auth == ME


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io"])
def test_dockers_own_registry(host: str, key: str) -> None:
    found = entry({"auths": {key: {"auth": BASIC}}}, host)
    assert (found.server, found.auth) == (HUB_KEY, ME)


def test_a_port_is_part_of_the_name() -> None:
    document = {"auths": {"reg.example": {"auth": BASIC}}}
    assert entry(document, "reg.example:5000").auth is None
    assert entry(document, "sub.reg.example").auth is None


def test_all_kinds_of_secrets() -> None:
    assert entry({"auths": {"reg.example": {"username": "me", "password": "pa:ss"}}}).auth == ME
    token = {"auth": base64.b64encode(b"00000000:").decode(), "identitytoken": "t"}
    assert entry({"auths": {"reg.example": token}}).auth == RegistryAuth("00000000", "", "t")
    assert entry({"auths": {"reg.example": {"registrytoken": "t"}}}).auth == HeaderAuth(header="Bearer t")
    padded = base64.b64encode(b"me:pa:ss\0\0").decode()
    assert entry({"auths": {"reg.example": {"auth": padded}}}).auth == ME


def test_helpers_go_before_the_store() -> None:
    document = {"credsStore": "store", "credHelpers": {"reg.example": "one"}, "auths": {"reg.example": {}}}
    assert (entry(document).helper, entry(document).auth) == ("one", None)
    assert entry(document, "other.example").helper == "store"
    assert entry({}).helper == ""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ('{"auths": []}', "auths"),
        ('{"auths": {"reg.example": "x"}}', "auths.reg.example"),
        ('{"auths": {"reg.example": {"auth": "c2VjcmV0"}}}', "auths.reg.example.auth"),
        ('{"auths": {"reg.example": {"auth": "s-e-c-r-e-t"}}}', "auths.reg.example.auth"),
        ('{"auths": {"reg.example": {"password": 7}}}', "auths.reg.example.password"),
        ('{"credsStore": ["x"]}', "credsStore"),
    ],
)
def test_malformed_files_are_named_and_not_quoted(text: str, key: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"/c\.json") as caught:
        docker_entry(text, "reg.example", "/c.json")
    assert key in str(caught.value)
    assert "c2VjcmV0" not in caught.value.one_line()
    assert "s-e-c" not in caught.value.one_line()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
keys = st.sampled_from(["auths", "credHelpers", "credsStore", "reg.example"])


@given(st.dictionaries(keys, json_values | st.dictionaries(keys, json_values, max_size=2), max_size=4))
def test_any_document_is_an_entry_or_a_typed_refusal(document: dict[str, Any]) -> None:
    with suppress(FailedPrecondition):
        docker_entry(json.dumps(document), "reg.example", "/c.json")
