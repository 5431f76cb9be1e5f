"""Named places where tests break the agent on purpose.

`TRICORN_FAILPOINTS="create.mounted=kill;pull.blob=2*off->error(disk)"` arms them at start; without the
variable every call is one dictionary look-up. Grammar: `NAME=TERM[->TERM…]`, joined by `;`; a TERM is
`[COUNT*]ACTION[(ARG)]`; after COUNT passes the next term holds; actions are `off`, `error(TEXT)`,
`delay(SECONDS)` and `kill` (SIGKILL to the agent itself).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping

from attrs import define

from tricorn.errors import Internal, InvalidArgument

ENVIRONMENT = "TRICORN_FAILPOINTS"
_TERM = re.compile(r"(?:(?P<count>\d+)\*)?(?P<action>off|error|delay|kill)(?:\((?P<arg>[^)]*)\))?")


@define
class _Term:
    action: str
    arg: str
    left: int | None  # passes left, None: for ever


class Failpoints:
    """A set of armed failpoints. `hit(name)` acts; `seen` lists the names passed, for tests."""

    def __init__(self, text: str = "") -> None:
        self._armed = dict(map(_parse, filter(None, text.split(";"))))
        self.seen: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """Pass the place `name`: do what is armed for it, if anything is. Blocks only under `delay`."""
        if not self._armed:
            return
        self.seen[name] = self.seen.get(name, 0) + 1
        terms = self._armed.get(name)
        while terms:
            term = terms[0]
            if term.left == 0:
                terms.pop(0)
                continue
            if term.left is not None:
                term.left -= 1
            _act(name, term)
            return


def _parse(item: str) -> tuple[str, list[_Term]]:
    name, equals, program = item.strip().partition("=")
    terms = []
    for text in program.split("->"):
        match = _TERM.fullmatch(text.strip())
        if not equals or not match:
            raise InvalidArgument(f"failpoint {item!r} is malformed", field=ENVIRONMENT)
        count = match["count"]
        terms.append(_Term(match["action"], match["arg"] or "", int(count) if count else None))
    return name, terms


def _act(name: str, term: _Term) -> None:
    if term.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif term.action == "delay":
        time.sleep(float(term.arg or "0.1"))
    elif term.action == "error":
        raise Internal(f"failpoint {name}", why=term.arg or "armed to fail")


_process = Failpoints()


def arm(environment: Mapping[str, str]) -> None:
    """Arm this process's failpoints from its environment; called once, at start."""
    global _process  # noqa: PLW0603 - one set a process, like the environment it comes from
    _process = Failpoints(environment.get(ENVIRONMENT, ""))


def failpoint(name: str) -> None:
    """Pass the place `name` in this process's set."""
    _process.hit(name)
