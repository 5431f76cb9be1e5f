"""Instructions of a commit, and the documents that come of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    parse_image_config,
    parse_image_document,
)
from tricorn.rules.committed_image import (
    EMPTY_LAYER,
    Added,
    committed_config,
    committed_manifest,
    empty_config,
)
from tricorn.rules.image_changes import with_changes

BASE = {"Cmd": ["sh"], "Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "WorkingDir": "/srv"}
THEN = datetime(2020, 1, 2, tzinfo=UTC)
A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        (['CMD ["a", "b c"]'], "Cmd", ["a", "b c"]),
        (["cmd echo $HOME"], "Cmd", ["/bin/sh", "-c", "echo $HOME"]),
        (["CMD []"], "Cmd", []),
        (['CMD ["broken'], "Cmd", ["/bin/sh", "-c", '["broken']),
        (['ENTRYPOINT ["x"]'], "Entrypoint", ["x"]),
        (['ENTRYPOINT ["x"]'], "Cmd", None),
        (['ENTRYPOINT ["x"]', 'CMD ["y"]'], "Cmd", ["y"]),
        (['CMD ["y"]', 'ENTRYPOINT ["x"]'], "Cmd", ["y"]),
        (["ENV A=9 C='two words'"], "Env", ["A=9", "B=2", "C=two words"]),
        (["ENV C two  words"], "Env", ["A=1", "B=2", "C=two  words"]),
        (['LABEL y="a b" z='], "Labels", {"x": "1", "y": "a b", "z": ""}),
        (
            ["EXPOSE 80 53/udp 8000-8001"],
            "ExposedPorts",
            {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}},
        ),
        (['VOLUME ["/a b"]', "VOLUME /c /d"], "Volumes", {"/a b": {}, "/c": {}, "/d": {}}),
        (["WORKDIR sub/../other"], "WorkingDir", "/srv/other"),
        (["WORKDIR /x"], "WorkingDir", "/x"),
        (["USER 1000:1000"], "User", "1000:1000"),
        (["STOPSIGNAL SIGINT"], "StopSignal", "SIGINT"),
    ],
)
def test_instructions(changes: list[str], key: str, value: Any) -> None:
    assert with_changes(BASE, changes).get(key) == value
    assert BASE["Cmd"] == ["sh"]


@pytest.mark.parametrize(
    "change", ["RUN x", "", "CMD", "ENV =x", "ENV A", "ENV A=1 B", "EXPOSE x", "EXPOSE 0", "EXPOSE 9-1", "USER a b",
               "LABEL 'x", "EXPOSE 70000"]
)  # fmt: skip
def test_what_is_not_understood(change: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        with_changes(BASE, ["USER a", change])
    assert caught.value.field == "changes[1]"


def test_the_config_of_a_commit() -> None:
    base = {
        "architecture": "arm64", "os": "linux", "config": {"Cmd": ["a"]}, "container_config": {"x": 1},
        "rootfs": {"type": "layers", "diff_ids": [A]}, "history": [{"created_by": "x"}],
    }  # fmt: skip
    added = Added(THEN, "sh -c x", "me", "why", ["USER u"], B)
    data = committed_config(base, added)
    assert data == committed_config(base, added)
    raw = json.loads(data)
    assert raw["rootfs"]["diff_ids"] == [A, B]
    assert raw["history"][1] == {
        "created": "2020-01-02T00:00:00Z", "created_by": "sh -c x", "author": "me", "comment": "why"
    }  # fmt: skip
    assert "container_config" not in raw
    assert parse_image_config(data).user == "u"
    assert parse_image_config(data).platform == Platform("linux", "arm64")
    bare = json.loads(committed_config(base, Added(THEN)))
    assert bare["rootfs"]["diff_ids"] == [A]
    assert bare["history"][1]["empty_layer"] is True


def test_an_image_of_nothing() -> None:
    data = committed_config(empty_config(Platform("linux", "arm", "v7")), Added(THEN, diff_id=A))
    config = parse_image_config(data)
    assert (config.platform, config.diff_ids) == (Platform("linux", "arm", "v7"), (A,))


def test_the_manifest_is_in_oci_form() -> None:
    base = Manifest("x", Descriptor(DOCKER_CONFIG, A, 1), (Descriptor(DOCKER_LAYER_GZIP, B, 2),))
    config, layer = Descriptor(OCI_CONFIG, A, 3), Descriptor(f"{OCI_LAYER}+zstd", C, 4)
    made = parse_image_document(committed_manifest(base, config, layer), OCI_MANIFEST)
    assert isinstance(made, Manifest)
    assert made.layers == (Descriptor(f"{OCI_LAYER}+gzip", B, 2), layer)
    assert made.config == config
    unchanged = parse_image_document(committed_manifest(base, config, None), OCI_MANIFEST)
    assert isinstance(unchanged, Manifest)
    assert len(unchanged.layers) == 1


def test_the_empty_layer() -> None:
    assert Digest.of(bytes(1024)) == EMPTY_LAYER
