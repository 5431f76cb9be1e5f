# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible_collections.tricorn.containerd.plugins.lookup import image_digest

NAME, DIGEST = "docker.io/library/redis:7", "sha256:" + "a" * 64


@pytest.fixture
def asked(monkeypatch):
    """Have an agent that knows one image; return what it is asked."""
    found = []

    def exchange(path, data, timeout):
        found.append(data)
        document = {"name": NAME, "digest": DIGEST}
        if b"/data" in data:
            platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
            document = {"manifests": [{"digest": "sha256:arm", "platform": platform}]}
        elif data.startswith(b"PUT"):
            document = {"after": document}
        if b"secret" in data:
            return b'HTTP/1.1 401 No\r\nConnection: close\r\n\r\n{"detail": "secret is wrong"}'
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(document).encode()

    monkeypatch.setattr(image_digest, "exchange", exchange)
    return found


def look(*terms, **options):
    return lookup_loader.get("tricorn.containerd.image_digest").run(list(terms), {}, **options)


def test_the_registry_is_asked_and_nothing_pulled(asked):
    assert look("redis:7", plain_http=True) == [DIGEST]
    assert asked[0].startswith(b"PUT /v1/default/images?plan=true ")
    assert b'"pull": "always"' in asked[0]
    assert look("redis:7", pinned=True) == ["docker.io/library/redis@" + DIGEST]


def test_the_agents_own_and_one_platforms(asked):
    assert look("redis:7", source="agent", platform="linux/arm") == ["sha256:arm"]
    assert asked[0].startswith(b"GET /v1/default/images/redis%3A7 ")
    with pytest.raises(AnsibleLookupError, match="linux/s390x"):
        look("redis:7", platform="linux/s390x")


def test_passwords_are_not_told(asked):
    with pytest.raises(AnsibleLookupError) as refused:
        look("redis:7", registry_username="me", registry_password="secret")
    assert "secret" not in str(refused.value)
    assert "********" in str(refused.value)
    with pytest.raises(AnsibleLookupError, match="together"):
        look("redis:7", registry_username="me")


@pytest.mark.parametrize(
    ("name", "pinned"),
    [("h:5000/a", "h:5000/a@d"), ("h:5000/a:1", "h:5000/a@d"), ("a:1@sha256:b", "a@d")],
)
def test_pinned_references_have_no_tag(name, pinned):
    assert image_digest.pinned(name, "d") == pinned
