"""The child that compresses a layer otherwise: one thread unpacks, another hashes and packs.

It sees an empty directory and holds the blob, the pipe for the new one and the socket for its answer, and
has no capability. Forked by `extractor_child`: no trio, attrs or structlog here.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

from tricorn.fs import confine, decompress, seccomp
from tricorn.fs.diff_child import LayerPipe


def answer(request: Mapping[str, Any], source: int, root: int, output: int) -> dict[str, Any]:
    """Confine this process, write the layer to `output` and return the result as a document.

    Raises InvalidArgument for damaged data, ResourceExhausted for a bomb.
    """
    confine.enter_root(root)
    confine.limit_resources()
    confine.forbid_tracing()
    confine.keep_capabilities(frozenset())
    seccomp.install()
    gc.disable()
    pipe = LayerPipe(output, request["compression"], dense=True)
    try:
        for chunk in _unpacked(source, request["declared"]):
            pipe.put(chunk)
    finally:
        diff_id, size = pipe.finish()
    return {"diff_id": diff_id, "size": size, "entries": 0, "warnings": []}


def _unpacked(source: int, declared: str) -> Any:
    start = b""
    while len(start) < decompress.DETECT_SIZE and (more := os.read(source, decompress.DETECT_SIZE)):
        start += more
    read = decompress.prefixed(start, lambda count: os.read(source, count))
    return decompress.chunks(read, decompress.detect(start, declared))
