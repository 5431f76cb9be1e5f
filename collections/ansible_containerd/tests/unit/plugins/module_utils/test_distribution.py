# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response
from ansible_collections.tricorn.containerd.tests.unit.scripted_agent import MISSING, run

PLAN = [("plan", "true")]
UNCHANGED = Response(200, {"changed": False, "actions": [], "before": {}, "after": {}})


def listed(*items):
    return Response(200, {"items": list(items), "cursor": None})


@pytest.mark.parametrize(
    "module, given, line, body",
    [
        (
            "image_push",
            {"name": "a", "reference": "r.example/a:1", "registry_username": "u", "registry_password": "p"},
            "PUT /v1/default/images/a/push",
            {"plain_http": False, "reference": "r.example/a:1", "auth": {"username": "u", "password": "p"}},
        ),
        ("image_push", {"name": "a/b:1"}, "PUT /v1/default/images/a%2Fb%3A1/push", {"plain_http": False}),
        (
            "image_tag",
            {"name": "a", "tags": ["b", "c"], "force": True},
            "PUT /v1/default/images/a/tags",
            {"references": ["b", "c"], "force": True},
        ),
        (
            "image_export",
            {"names": ["a"], "dest": "/x.tar", "namespace": "n"},
            "PUT /v1/n/archive/export",
            {"path": "/x.tar", "images": ["a"], "all_platforms": False},
        ),
        (
            "image_import",
            {"src": "/x.tar", "unpack": False},
            "PUT /v1/default/archive/import",
            {"path": "/x.tar", "all_platforms": False, "unpack": False, "compress": False},
        ),
        ("namespace", {"name": "n", "labels": {"a": 1}}, "PUT /v1/namespaces/n", {"labels": {"a": "1"}}),
        (
            "lease",
            {"name": "l", "expires_in": 60, "resources": [{"type": "images", "id": "a"}]},
            "PUT /v1/default/leases/l",
            {"state": "present", "renew": False, "expire_seconds": 60, "resources": [{"type": "images", "id": "a"}]},
        ),
        (
            "network",
            {"name": "front", "subnet": "10.40.0.0/24", "namespaces": ["ci-*"], "labels": {"a": 1}},
            "PUT /v1/networks/front",
            {"state": "present", "subnet": "10.40.0.0/24", "namespaces": ["ci-*"], "labels": {"a": "1"}},
        ),
        (
            "network",
            {"name": "six", "ipv4": False, "ipv6": True, "subnet6": "fd40::/64", "gateway6": "fd40::9"},
            "PUT /v1/networks/six",
            {"state": "present", "ipv4": False, "ipv6": True, "subnet6": "fd40::/64", "gateway6": "fd40::9"},
        ),
        (
            "content",
            {"digest": "sha256:1", "labels": {"a": 1}, "keep": True},
            "PUT /v1/default/content/sha256%3A1",
            {"state": "present", "labels": {"a": "1", "containerd.io/gc.root": "true"}},
        ),
        (
            "content",
            {"digest": "sha256:1", "state": "absent"},
            "PUT /v1/default/content/sha256%3A1",
            {"state": "absent", "labels": {}},
        ),
        ("network", {"name": "front", "state": "absent"}, "PUT /v1/networks/front", {"state": "absent"}),
        ("lease", {"name": "l", "state": "absent"}, "PUT /v1/default/leases/l", {"state": "absent", "renew": False}),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_states_are_put_and_planned(module, given, line, body, check_mode):
    result, (asked,) = run(module, UNCHANGED, check_mode=check_mode, **given)
    assert ("%s %s" % (asked.method, asked.path), asked.body) == (line, body)
    assert asked.query == (PLAN if check_mode else [])
    assert result["changed"] is False
    assert result["diff"]["before"] == {}


def test_the_names_and_images_of_an_answer_have_their_place():
    change = {"changed": True, "actions": [{"verb": "tag"}], "before": {}, "after": {"names": {"b": "sha256:1"}}}
    result, dummy = run("image_tag", Response(200, change), name="a", tags=["b"])
    assert result["names"] == {"b": "sha256:1"}
    assert result["diff"]["after"] == {"names": {"b": "sha256:1"}}
    change["after"] = {"images": {"a": "sha256:1"}}
    result, dummy = run("image_import", Response(200, change), src="/x")
    assert result["images"] == {"a": "sha256:1"}


def test_a_namespace_that_is_not_there_needs_no_removal():
    result, (asked,) = run("namespace", MISSING, name="n", state="absent", check_mode=True)
    assert (asked.method, asked.query, result["changed"]) == ("DELETE", PLAN, False)


def test_leases_come_with_what_they_hold():
    held = [{"type": "images", "id": "a"}]
    result, asked = run("lease_info", Response(200, {"id": "l"}), MISSING, listed(*held), name=["l", "m"])
    assert [message.path for message in asked] == [
        "/v1/default/leases/l", "/v1/default/leases/m", "/v1/default/leases/l/resources",
    ]
    assert result == {"changed": False, "exists": False, "leases": [{"id": "l", "resources": held}]}
    result, dummy = run("lease_info", listed({"id": "l"}), MISSING)
    assert result["leases"] == [{"id": "l", "resources": []}]


def test_lookups():
    result, (asked,) = run("namespace_info", listed({"name": "n"}), filters=["name==n"])
    assert (asked.path, asked.query) == ("/v1/namespaces", [("filter", "name==n")])
    assert result == {"changed": False, "exists": True, "namespaces": [{"name": "n"}]}
    result, (asked,) = run("network_info", MISSING, name=["front"])
    assert (asked.path, result["exists"], result["networks"]) == ("/v1/networks/front", False, [])
    result, (asked,) = run("content_info", MISSING, digest=["sha256:1"])
    assert asked.path == "/v1/default/content/sha256%3A1"
    assert result == {"changed": False, "exists": False, "content": []}
    result, (asked,) = run("snapshot_info", listed(), snapshotter="native", filters=["kind==active"])
    assert asked.query == [("filter", "kind==active"), ("snapshotter", "native")]
    assert result["exists"] is False


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_collection_tells_what_went(check_mode):
    went = [{"namespace": "n", "type": "content", "key": key} for key in ("b", "a")]
    report = {"dry_run": check_mode, "removed": went, "bytes": 5, "seconds": 0.1}
    result, (asked,) = run("gc", Response(200, report), check_mode=check_mode)
    assert asked.query == ([("dry_run", "true")] if check_mode else [])
    assert [each["key"] for each in result["removed"]] == ["a", "b"]
    assert (result["changed"], result["bytes"]) == (True, 5)
    assert result["diff"]["before"] == "n: content a\nn: content b\n"
    result, dummy = run("gc", Response(200, dict(report, removed=[], bytes=0)))
    assert result["changed"] is False


def test_the_latest_image_for_several_platforms_that_the_policy_vouches_for():
    answer = {"allowed": True, "rule": "ours", "reason": "signed", "digest": "sha256:1"}
    result, asked = run(
        "image", Response(200, answer), UNCHANGED, name="a", state="latest", verify=True, platforms=["linux/arm64"]
    )
    assert asked[0].path == "/v1/default/policy/check"
    assert asked[0].body == {"plain_http": False, "reference": "a"}
    assert (asked[1].body["pull"], asked[1].body["platforms"]) == ("always", ["linux/arm64"])
    assert result["policy"] == answer


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"allowed": False, "rule": "r", "reason": "no signature", "remedy": "sign it"}, "no signature .hint: sign it."),
        ({"allowed": False, "rule": "r", "reason": "no signature"}, "refuses a: no signature$"),
        ({"allowed": True, "rule": "", "reason": "there is no policy"}, "no rule .* speaks of a"),
    ],
)
def test_what_no_policy_vouches_for_fails(answer, message):
    with pytest.raises(AgentError, match=message):
        run("image", Response(200, answer), name="a", verify=True)


def test_an_older_image_of_a_verified_name_fails():
    answer = Response(200, {"allowed": True, "rule": "ours", "reason": "signed", "digest": "sha256:2"})
    here = Response(200, {"changed": False, "actions": [], "after": {"digest": "sha256:1"}})
    with pytest.raises(AgentError, match="sha256:1, and verified was sha256:2"):
        run("image", answer, here, name="a", verify=True)


def test_a_snapshot_is_described_as_the_agent_has_it():
    answer = Response(200, {"changed": True, "actions": [], "before": {}, "after": {"kind": "committed"}})
    given = {"key": "a/b", "state": "committed", "source": "work", "labels": {"n": 1}, "keep": True}
    result, asked = run("snapshot", answer, check_mode=True, **given)
    assert result["snapshot"] == {"kind": "committed"}
    assert (asked[0].path, asked[0].query) == ("/v1/default/snapshots/overlayfs/a%2Fb", [("plan", "true")])
    labels = {"n": "1", "containerd.io/gc.root": "true"}
    assert asked[0].body == {"state": "committed", "source": "work", "labels": labels}
    result, asked = run("snapshot", answer, key="a", keep=False)
    assert asked[0].body == {"state": "active", "labels": {"containerd.io/gc.root": ""}}
