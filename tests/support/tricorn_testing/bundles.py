"""Bundles of other releases, made of one that is there: as quick as packing, with nothing to download."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = re.compile(r"lib/python[0-9.]+/site-packages/tricorn/")
# What no agent imports by itself; without it a bundle is half as large.
_LEFT_OUT = re.compile(r"lib/python[0-9.]+/site-packages/(cryptography|pygments|markdown_it)/")
_DISTRIBUTION = re.compile(r"(lib/python[0-9.]+/site-packages/tricorn-)[^/]+(\.dist-info.*)")


def other_release(bundle: Path, version: str, target: Path, appended: Mapping[str, str] | None = None) -> str:
    """Write the bundle `target`: the release in `bundle` as `version`, with lines `appended` to modules by
    their paths below the package. Return the new release's name.
    """
    lines = {"__init__.py": f"__version__ = {version!r}\n", **(appended or {})}
    name = f"{version}-{hashlib.sha256(repr(sorted(lines.items())).encode()).hexdigest()[:12]}"
    stale = {re.sub(r"([^/]+)\.py$", r"__pycache__/\1.", path) for path in lines}
    with (
        tarfile.open(bundle) as old,
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw) as stream,
        tarfile.open(fileobj=stream, mode="w") as new,
    ):
        for member in old:
            content = old.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            inside = _PACKAGE.sub("", member.name, count=1) if _PACKAGE.match(member.name) else ""
            if _LEFT_OUT.match(member.name) or any(inside.startswith(start) for start in stale):
                continue
            if inside in lines:
                content += b"\n" + lines[inside].encode()
            if member.name == "release":
                content = f"{name}\n".encode()
            member.name = _DISTRIBUTION.sub(rf"\g<1>{version}\g<2>", member.name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return name
