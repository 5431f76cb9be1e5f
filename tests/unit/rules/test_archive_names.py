"""Names of images in archives, as containerd's clients ask for them."""

from __future__ import annotations

import pytest

from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.model.transfer import Naming
from tricorn.rules.archive_names import (
    IMAGE_NAME,
    REF_NAME,
    name_annotations,
    names_in_archive,
    names_of_target,
)

DIGEST = Digest.of(b"x")


def entry(**annotations: str) -> Descriptor:
    names = {"image": IMAGE_NAME, "ref": REF_NAME}
    return Descriptor(
        OCI_MANIFEST, DIGEST, 1, annotations={names[key]: value for key, value in annotations.items()}
    )


PREFIX = Naming("ex.com/app", is_prefix=True)
ANY = Naming("ex.com/app", is_prefix=True, allow_overwrite=True)
COMPLETED = Naming("app", is_prefix=True, completed=True)
ANY_COMPLETED = Naming("import-2026", is_prefix=True, allow_overwrite=True, completed=True)


@pytest.mark.parametrize(
    ("annotations", "naming", "names"),
    [
        ({"ref": "v1"}, PREFIX, ["ex.com/app:v1"]),
        ({"ref": "ex.com/app:v1"}, PREFIX, ["ex.com/app:v1"]),
        ({"ref": "ex.com/app/sub:v1"}, PREFIX, ["ex.com/app/sub:v1"]),
        ({"ref": "ex.com/application:v1"}, PREFIX, []),
        ({"ref": "other.com/app:v1"}, PREFIX, []),
        ({"ref": "other.com/app:v1"}, ANY, ["other.com/app:v1"]),
        ({"image": "ex.com/app:v2", "ref": "v1"}, PREFIX, ["ex.com/app:v2"]),
        ({"image": "v2", "ref": "v1"}, ANY, []),
        ({}, ANY, []),
        ({"ref": "v1"}, COMPLETED, ["docker.io/library/app:v1"]),
        ({"ref": "app:v1"}, COMPLETED, ["docker.io/library/app:v1"]),
        ({"image": "docker.io/library/app:v1"}, COMPLETED, ["docker.io/library/app:v1"]),
        ({"ref": "other:v1"}, COMPLETED, []),
        ({"ref": "ex.com/app:v1"}, Naming("ex.com", is_prefix=True, completed=True), ["ex.com/app:v1"]),
        ({"ref": "v1"}, ANY_COMPLETED, ["docker.io/library/import-2026:v1"]),
        ({"ref": "team/app"}, ANY_COMPLETED, ["docker.io/team/app:latest"]),
        ({"ref": "No Name:1"}, ANY_COMPLETED, ["No Name:1"]),
        ({"ref": "v1"}, Naming("", is_prefix=True), []),
        ({"ref": "v1"}, Naming("ex.com/app:fixed"), []),
        (
            {"ref": "v1"}, Naming("ex.com/app", is_prefix=True, add_digest=True),
            ["ex.com/app:v1", f"ex.com/app@{DIGEST}"],
        ),
        (
            {"ref": "v1"}, Naming("ex.com/app", is_prefix=True, add_digest=True, skip_named_digest=True),
            ["ex.com/app:v1"],
        ),
        (
            {}, Naming("ex.com/app", is_prefix=True, add_digest=True, skip_named_digest=True),
            [f"ex.com/app@{DIGEST}"],
        ),
    ],
)  # fmt: skip
def test_entries(annotations: dict[str, str], naming: Naming, names: list[str]) -> None:
    assert names_in_archive(entry(**annotations), [naming]) == names


def test_targets() -> None:
    references = [
        Naming("ex.com/b:1"), PREFIX, Naming("ex.com/c", is_prefix=True, add_digest=True), Naming("ex.com/a:1"),
    ]  # fmt: skip
    assert names_of_target(entry(), "ex.com/a:1", references) == [
        "ex.com/a:1", "ex.com/b:1", f"ex.com/c@{DIGEST}",
    ]  # fmt: skip
    assert names_of_target(entry(), "", []) == []


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("docker.io/library/redis:7", "7"),
        (f"docker.io/library/redis@{DIGEST}", f"docker.io/library/redis@{DIGEST}"),
        ("no valid name", "no valid name"),
    ],
)
def test_annotations_of_exports(name: str, ref: str) -> None:
    assert name_annotations(name) == {IMAGE_NAME: name, REF_NAME: ref}
