"""OCI and Docker image documents: descriptors, platforms, manifests, indexes, image configs.

Sources: OCI image-spec 1.1, Docker image manifest v2 schema 2. Parsing is strict where ambiguity is an
attack (a document that is both index and manifest, a size that isn't one) and lenient where the
specifications are (unknown members are ignored).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, field, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.model.ids import Digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_COMPRESSION: Final = {
    OCI_LAYER: "", OCI_LAYER + "+gzip": "gzip", OCI_LAYER + "+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    DOCKER_LAYER: "", DOCKER_LAYER_GZIP: "gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}  # fmt: skip


@frozen
class Platform:
    """`os/architecture[/variant]`, normalised as the field does (x86_64 → amd64, arm64/v8 → arm64)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@frozen
class Descriptor:
    """What a document says of another: media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = Factory(dict)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""


@frozen
class Manifest:
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = Factory(dict)


@frozen
class Index:
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = Factory(dict)


@frozen
class ImageConfig:
    """What an image says of how to run it. Untrusted: every value is checked again where it is used."""

    platform: Platform = Platform()
    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = Factory(dict)
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    created: str = field(default="")


def layer_compression(media_type: str) -> str:
    """Return `gzip`, `zstd` or `` for a layer's media type; raise InvalidArgument for another."""
    try:
        return _COMPRESSION[media_type]
    except KeyError:
        raise InvalidArgument(
            f"unknown layer media type {media_type[:160]!r}",
            hint="tar, tar+gzip and tar+zstd layers of OCI and Docker schema 2 images are supported",
            field="mediaType",
        ) from None


def layer_types() -> frozenset[str]:
    """Return the media types of layers that can be unpacked."""
    return frozenset(_COMPRESSION)


def load_document(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`, or raise a typed error; at most 4 MiB are accepted."""
    if len(data) > limits.MANIFEST_SIZE:
        raise ResourceExhausted(
            f"{what} is too large", why=f"{len(data)} bytes, at most {limits.MANIFEST_SIZE}"
        )
    try:
        document = json.loads(data)
        if b"\\ud" in data.lower():  # a lone surrogate is no text: it could be neither stored nor sent on
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not valid JSON", why=str(error)[:200]) from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    return document


def parse_platform(raw: Any, field: str = "platform") -> Platform:
    """Read the `platform` member of a descriptor."""
    raw = _mapping(raw, field)
    return Platform(
        os=_text(raw.get("os", ""), f"{field}.os"),
        architecture=_text(raw.get("architecture", ""), f"{field}.architecture"),
        variant=_text(raw.get("variant", ""), f"{field}.variant"),
        os_version=_text(raw.get("os.version", ""), f"{field}.os.version"),
    )


def parse_descriptor(raw: Any, field: str) -> Descriptor:
    """Read one descriptor; raise InvalidArgument naming the dotted `field`."""
    raw = _mapping(raw, field)
    size = raw.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidArgument("a descriptor's size must be a whole number ≥ 0", field=f"{field}.size")
    if size > limits.LAYER_SIZE:
        raise ResourceExhausted(
            "a descriptor's size is over the limit",
            why=f"{size} > {limits.LAYER_SIZE}",
            field=f"{field}.size",
        )
    return Descriptor(
        media_type=_text(raw.get("mediaType", ""), f"{field}.mediaType"),
        digest=Digest.parse(_text(raw.get("digest"), f"{field}.digest"), f"{field}.digest"),
        size=size,
        platform=parse_platform(raw["platform"], f"{field}.platform") if raw.get("platform") else None,
        annotations=_strings(raw.get("annotations"), f"{field}.annotations"),
        urls=tuple(_text(url, f"{field}.urls") for url in _list(raw.get("urls"), f"{field}.urls")),
        artifact_type=_text(raw.get("artifactType", ""), f"{field}.artifactType"),
    )


def parse_image_document(data: bytes, media_type: str) -> Manifest | Index:
    """Read a manifest or an index. `media_type` is what the registry or the descriptor called it.

    Raises InvalidArgument if the document claims another type, or could be read as both kinds
    (GHSA-mc8v-mgrf-8f4m), ResourceExhausted beyond the limits on size, manifests and layers.
    """
    raw = load_document(data, "manifest")
    declared = raw.get("mediaType")
    if declared is not None and declared != media_type:
        raise InvalidArgument(
            "manifest's media type is ambiguous",
            why=f"served as {media_type[:120]!r}, says {str(declared)[:120]!r}",
            field="mediaType",
        )
    if "manifests" in raw and ("config" in raw or "layers" in raw or "fsLayers" in raw):
        raise InvalidArgument("the document is both an index and a manifest", field="manifests")
    if media_type in INDEX_TYPES:
        return _parse_index(raw, media_type)
    if media_type in MANIFEST_TYPES:
        return _parse_manifest(raw, media_type)
    raise InvalidArgument(
        f"unsupported manifest media type {media_type[:160]!r}",
        hint="OCI and Docker schema 2 images are supported; schema 1 has been withdrawn",
        field="mediaType",
    )


def _parse_index(raw: dict[str, Any], media_type: str) -> Index:
    entries = _list(raw.get("manifests"), "manifests")
    if len(entries) > limits.INDEX_NODES:
        raise ResourceExhausted(
            "index lists too many manifests", why=f"{len(entries)} > {limits.INDEX_NODES}"
        )
    return Index(
        media_type=media_type,
        manifests=tuple(parse_descriptor(entry, f"manifests[{i}]") for i, entry in enumerate(entries)),
        annotations=_strings(raw.get("annotations"), "annotations"),
    )


def _parse_manifest(raw: dict[str, Any], media_type: str) -> Manifest:
    layers = _list(raw.get("layers"), "layers")
    if len(layers) > limits.LAYERS_PER_IMAGE:
        raise ResourceExhausted("image has too many layers", why=f"{len(layers)} > {limits.LAYERS_PER_IMAGE}")
    manifest = Manifest(
        media_type=media_type,
        config=parse_descriptor(raw.get("config"), "config"),
        layers=tuple(parse_descriptor(layer, f"layers[{i}]") for i, layer in enumerate(layers)),
        annotations=_strings(raw.get("annotations"), "annotations"),
    )
    total = sum(layer.size for layer in manifest.layers)
    if total > limits.IMAGE_SIZE:
        raise ResourceExhausted("image is too large", why=f"{total} bytes, at most {limits.IMAGE_SIZE}")
    return manifest


def parse_image_config(data: bytes) -> ImageConfig:
    """Read an image config (OCI image-spec, config.md)."""
    raw = load_document(data, "image config")
    run = _mapping(raw.get("config") or {}, "config")
    rootfs = _mapping(raw.get("rootfs") or {}, "rootfs")
    return ImageConfig(
        platform=parse_platform(raw, "image"),
        user=_text(run.get("User") or "", "config.User"),
        env=_texts(run.get("Env"), "config.Env"),
        entrypoint=_texts(run.get("Entrypoint"), "config.Entrypoint"),
        cmd=_texts(run.get("Cmd"), "config.Cmd"),
        working_dir=_text(run.get("WorkingDir") or "", "config.WorkingDir"),
        labels=_strings(run.get("Labels"), "config.Labels"),
        stop_signal=_text(run.get("StopSignal") or "", "config.StopSignal"),
        volumes=tuple(_mapping(run.get("Volumes") or {}, "config.Volumes")),
        exposed_ports=tuple(_mapping(run.get("ExposedPorts") or {}, "config.ExposedPorts")),
        diff_ids=tuple(
            Digest.parse(text, f"rootfs.diff_ids[{i}]")
            for i, text in enumerate(_texts(rootfs.get("diff_ids"), "rootfs.diff_ids"))
        ),
        created=_text(raw.get("created") or "", "created"),
    )


def document_of(descriptor: Descriptor) -> dict[str, Any]:
    """Return the descriptor as OCI JSON (the inverse of `parse_descriptor`)."""
    raw: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.platform:
        platform = descriptor.platform
        raw["platform"] = {"architecture": platform.architecture, "os": platform.os}
        if platform.variant:
            raw["platform"]["variant"] = platform.variant
        if platform.os_version:
            raw["platform"]["os.version"] = platform.os_version
    if descriptor.annotations:
        raw["annotations"] = dict(descriptor.annotations)
    if descriptor.urls:
        raw["urls"] = list(descriptor.urls)
    if descriptor.artifact_type:
        raw["artifactType"] = descriptor.artifact_type
    return raw


def _mapping(raw: Any, field: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidArgument("expected an object", field=field)
    return raw


def _list(raw: Any, field: str) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidArgument("expected a list", field=field)
    return raw


def _text(raw: Any, field: str) -> str:
    if not isinstance(raw, str):
        raise InvalidArgument("expected a string", field=field)
    return raw


def _texts(raw: Any, field: str) -> tuple[str, ...]:
    return tuple(_text(item, field) for item in _list(raw, field))


def _strings(raw: Any, field: str) -> dict[str, str]:
    return {key: _text(value, f"{field}.{key[:64]}") for key, value in _mapping(raw or {}, field).items()}
