"""The nodes of an Ansible inventory, asked of Ansible itself in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tricorn.errors import DeadlineExceeded, InvalidArgument, NotFound, TricornError, Unavailable
from tricorn.fleet.places import Place, place

_RESOLVER: Final = Path(__file__).with_name("resolver.py")
_SETTINGS: Final = {
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "PYTHONSAFEPATH": "1",  # the resolver's neighbours aren't modules of Ansible's
}
_PATIENCE: Final = 60.0  # seconds: an inventory plugin may ask a cloud


def read(sources: Sequence[str], limit: str, socket: str, *, patience: float = _PATIENCE) -> list[Place]:
    """Return the nodes of `sources` (none: of ansible.cfg's inventory) within the pattern `limit`.

    These are the hosts of the group `nodes`, or of all groups where there is none of that name. NotFound if
    there is none, InvalidArgument with Ansible's words if the inventory can't be read, Unavailable without
    Ansible, DeadlineExceeded when it takes too long.
    """
    answer = _asked({"sources": [_absolute(source) for source in sources], "limit": limit}, patience)
    if "error" in answer:
        raise InvalidArgument("the inventory can't be read", why=" ".join(str(answer["error"]).split()))
    hosts = answer["hosts"]
    if not hosts:
        what = f"no node of the inventory matches {limit}" if limit else "the inventory has no nodes"
        raise NotFound(what, hint="name an inventory with -i; `ansible-inventory --graph` shows it")
    return [place(host, socket) for host in hosts]


def _asked(question: dict[str, Any], patience: float) -> dict[str, Any]:
    command = [_interpreter(), str(_RESOLVER), json.dumps(question)]
    environment = {**os.environ, **_SETTINGS}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience,
            check=False,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded("the inventory isn't read", why=f"waited {patience:g} s") from error
    except OSError as error:
        raise Unavailable("Ansible can't be started", why=error.strerror or str(error)) from error
    except ValueError as error:
        raise _failed(done.stderr.decode("utf-8", "replace")) from error
    assert isinstance(answer, dict)
    return answer


def _failed(said: str) -> TricornError:
    lines = [line for line in said.splitlines() if line.strip()]
    return Unavailable("Ansible can't read the inventory", why=lines[-1] if lines else "it said nothing")


def _interpreter() -> str:
    """Return the Python that Ansible is installed for: this one, else that of the command in PATH."""
    if importlib.util.find_spec("ansible"):
        return sys.executable
    program = shutil.which("ansible-inventory")
    if program is not None:
        with open(program, "rb") as file:
            first = file.readline().decode("utf-8", "replace").strip()
        words = first.removeprefix("#!").split()
        if first.startswith("#!") and words and os.access(words[-1], os.X_OK):
            return words[-1]
    raise Unavailable("Ansible isn't installed here", hint="pip install 'tricorn[fleet]', or ansible-core")


def _absolute(source: str) -> str:
    """Return a path as it is from anywhere; a list of hosts (`a,b,`) stays."""
    return source if "," in source else os.path.abspath(source)
