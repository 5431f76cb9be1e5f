"""A container on its way through a registry, as an image."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.checkpoints import DUMP
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_LAYER, Descriptor
from tricorn.rules.migration_image import empty, image_of, parts_in, repository_of

MEMORY = Descriptor(DUMP, Digest.of(b"memory"), 6)
FILES = Descriptor(OCI_LAYER, Digest.of(b"files"), 5)


def test_what_is_put_in_comes_out() -> None:
    for parts in ([MEMORY], [MEMORY, FILES]):
        image, document = image_of(parts)
        assert (image.digest, image.size) == (Digest.of(document), len(document))
        dump, layer = parts_in(document)
        assert [dump.digest, *([layer.digest] if layer else [])] == [part.digest for part in parts]


@pytest.mark.parametrize("parts", [[], [FILES], [FILES, MEMORY], [MEMORY, FILES, FILES], [MEMORY, MEMORY]])
def test_other_images_hold_no_container(parts: list[Descriptor]) -> None:
    with pytest.raises(InvalidArgument, match="holds no container"):
        parts_in(image_of(parts)[1])


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b'{"layers": 5}'])
def test_what_is_no_manifest_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parts_in(document)


def test_a_registry_alone_stands_for_a_repository_there() -> None:
    assert repository_of("registry.example:5000") == "registry.example:5000/tricorn-migrations"
    assert repository_of("registry.example/moves") == "registry.example/moves"
    assert (repository_of(""), empty()[1]) == ("", b"{}")
