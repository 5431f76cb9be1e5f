"""The child that reads two trees and writes a layer: one thread walks, another hashes and compresses.

It holds a descriptor of each tree (read-only mounts without devices), the pipe for the layer and the socket
for its answer, and no right but to read whatever the trees hold. Forked by `extractor_child`: no trio,
attrs or structlog here.
"""

from __future__ import annotations

import gc
import hashlib
import os
import queue
import threading
from collections.abc import Mapping
from typing import Any, Final

from tricorn.fs import confine, seccomp
from tricorn.fs.compress import compressor
from tricorn.fs.diff_walk import LayerDiff
from tricorn.fs.failures import typed
from tricorn.fs.tarwriter import TarWriter

_QUEUED_CHUNKS: Final = 4
# Two for each level of a path of at most `limits.TAR_PATH_LENGTH` bytes.
_OPEN_FILES: Final = 8192
_READER: Final = frozenset({confine.DAC_READ_SEARCH})


def answer(request: Mapping[str, Any], left: int, right: int, output: int) -> dict[str, Any]:
    """Confine this process, write the layer to `output` and return the result as a document.

    Raises typed errors. `left` is a stand-in unless the request says `left`.
    """
    confine.enter_root(right)
    confine.limit_resources(_OPEN_FILES)
    confine.forbid_tracing()
    # The marks in an upper directory are `trusted.` attributes.
    confine.keep_capabilities(_READER | ({confine.SYS_ADMIN} if request["form"] == "upper" else set()))
    seccomp.install()
    gc.disable()
    pipe = LayerPipe(output, request["compression"])
    writer = TarWriter(pipe.put)
    diff = LayerDiff(
        left if request["left"] else None, right, writer, form=request["form"], epoch=request["epoch"]
    )
    try:
        diff.run()
        writer.finish()
    except OSError as error:
        raise typed(error, f"a file could not be read for the layer: {error.filename or ''}") from error
    finally:
        diff_id, size = pipe.finish()
    return {"diff_id": diff_id, "size": size, "entries": writer.entries, "warnings": diff.warnings}


class LayerPipe:
    """Hashes what is put into it, compresses it and writes it to a descriptor, in a thread of its own."""

    def __init__(self, output: int, compression: str, *, dense: bool = False) -> None:
        self._output = output
        self._compressor = compressor(compression, dense=dense)
        self._chunks: queue.Queue[bytes] = queue.Queue(_QUEUED_CHUNKS)
        self._hash = hashlib.sha256()
        self._size = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, chunk: bytes) -> None:
        """Take some bytes of the archive; waits while the reader of the layer is slow."""
        self._chunks.put(chunk)

    def finish(self) -> tuple[str, int]:
        """Write out what is left; return the digest and the size of the uncompressed archive."""
        self._chunks.put(b"")
        self._thread.join()
        os.close(self._output)
        return f"sha256:{self._hash.hexdigest()}", self._size

    def _run(self) -> None:
        try:
            while chunk := self._chunks.get():
                self._hash.update(chunk)
                self._size += len(chunk)
                self._write(self._compressor.compress(chunk))
            self._write(self._compressor.flush())
        except BaseException:  # noqa: BLE001 - the agent died, or memory ran out: nobody gets the layer
            os._exit(1)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._output, view) :]
