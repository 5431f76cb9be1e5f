"""What crun's `start` and `delete` do, done without a process of crun each, which costs 5 ms.

crun keeps a directory for each container. While a container is created and not started, there is a FIFO in
it, from which its init waits for a byte; without the FIFO it counts as started. The directory is all that
is left of a container once its processes and control groups are gone. Where a spec asks for more (hooks
after start or stop, cache allocation), or where a directory looks different, crun is called.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from typing import Any, Final

_FIFO: Final = "exec.fifo"
_GO_ON: Final = b"1"


def release(state: str, config: Mapping[str, Any]) -> bool:
    """Let a created container's init go on; False, with nothing done, where that is for crun to do.

    `state` is crun's directory of the container, `config` its spec.
    """
    if _hooks(config, "poststart"):
        return False
    path = f"{state}/{_FIFO}"
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # there is none, or nobody who reads from it
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(fifo).st_mode):
            return False
        os.write(fifo, _GO_ON)
        os.unlink(path)
    except BrokenPipeError:  # the init ended meanwhile, of which crun knows more
        return False
    finally:
        os.close(fifo)
    return True


def forget(state: str, config: Mapping[str, Any]) -> bool:
    """Remove crun's directory of a container that has neither processes nor control groups any more; False,
    with nothing done, where crun has more to clear up.
    """
    if _hooks(config, "poststop") or (config.get("linux") or {}).get("intelRdt"):
        return False
    shutil.rmtree(state, ignore_errors=True)
    return not os.path.exists(state)


def _hooks(config: Mapping[str, Any], kind: str) -> bool:
    return bool((config.get("hooks") or {}).get(kind))
