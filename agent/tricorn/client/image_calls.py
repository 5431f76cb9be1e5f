"""The requests of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def images(ns: str, filters: Iterable[str] = ()) -> Call:
    return Call("GET", path(ns, "images"), query(filters))


def image(ns: str, name: str) -> Call:
    return Call("GET", path(ns, "images", name))


def put_image(
    ns: str, desired: Any, *, plan: bool = False, stream: bool = False, detach: bool = False
) -> Call:
    return Call("PUT", path(ns, "images"), query(plan=plan), desired, stream=stream, detach=detach)


def delete_image(ns: str, name: str, *, sync: bool = False, plan: bool = False) -> Call:
    return Call("DELETE", path(ns, "images", name), query(sync=sync, plan=plan))


def push_image(ns: str, name: str, wanted: Any, *, stream: bool = False, detach: bool = False) -> Call:
    return Call("POST", path(ns, "images", name, "push"), body=wanted, stream=stream, detach=detach)


def tag_image(ns: str, name: str, reference: str) -> Call:
    return Call("POST", path(ns, "images", name, "tag"), body={"reference": reference})


def put_tags(ns: str, name: str, wanted: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "images", name, "tags"), query(plan=plan), wanted)


def put_push(ns: str, name: str, wanted: Any, *, plan: bool = False, stream: bool = False) -> Call:
    return Call("PUT", path(ns, "images", name, "push"), query(plan=plan), wanted, stream=stream)


def put_export(ns: str, wanted: Any, *, plan: bool = False, stream: bool = False) -> Call:
    return Call("PUT", path(ns, "archive", "export"), query(plan=plan), wanted, stream=stream)


def put_import(ns: str, wanted: Any, *, plan: bool = False, stream: bool = False) -> Call:
    return Call("PUT", path(ns, "archive", "import"), query(plan=plan), wanted, stream=stream)


def export_images(
    ns: str,
    names: Iterable[str],
    *,
    platform: str = "",
    all_platforms: bool = False,
    operation: str = "",
) -> Call:
    pairs = tuple(("name", name) for name in names)
    more = query(platform=platform or None, all_platforms=all_platforms, operation=operation or None)
    return Call("GET", path(ns, "archive"), (*pairs, *more))


def import_images(
    ns: str,
    *,
    base_name: str = "",
    platform: str = "",
    all_platforms: bool = False,
    unpack: bool = True,
    compress: bool = False,
    operation: str = "",
    size: int = 0,
) -> Call:
    """Return the upload whose bytes are the archive's."""
    fields = query(
        base_name=base_name or None,
        platform=platform or None,
        all_platforms=all_platforms,
        unpack=None if unpack else "false",
        compress=compress,
        operation=operation or None,
        size=size or None,
    )
    return Call("POST", path(ns, "archive"), fields, upload=True)


def label_image(ns: str, name: str, labels: dict[str, str]) -> Call:
    return Call("PATCH", path(ns, "images", name), body={"labels": labels})


def convert_image(ns: str, name: str, wanted: Any, *, stream: bool = False, detach: bool = False) -> Call:
    return Call("POST", path(ns, "images", name, "convert"), body=wanted, stream=stream, detach=detach)


def referrers(ns: str, name: str, *, type: str = "", platform: str = "") -> Call:
    """Return the question for what is on the node and refers to an image."""
    return Call(
        "GET", path(ns, "images", name, "referrers"), query(type=type or None, platform=platform or None)
    )


def ask_referrers(ns: str, name: str, wanted: Any, *, stream: bool = False, detach: bool = False) -> Call:
    """Return the question to the image's registry."""
    return Call("POST", path(ns, "images", name, "referrers"), body=wanted, stream=stream, detach=detach)


def check_images(
    ns: str, names: Iterable[str] = (), *, platform: str = "", all_platforms: bool = False
) -> Call:
    pairs = tuple(("name", name) for name in names)
    more = query(platform=platform or None, all_platforms=all_platforms)
    return Call("GET", path(ns, "image-check"), (*pairs, *more))


def image_usage(ns: str, names: Iterable[str] = ()) -> Call:
    return Call("GET", path(ns, "image-usage"), tuple(("name", name) for name in names))
