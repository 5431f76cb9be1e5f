"""The audit trail: one line for each change a client asked for, and for each refusal."""

from __future__ import annotations

from typing import Any

import structlog
from attrs import Factory, define

from tricorn.rules.authorise import Peer

audit_log = structlog.get_logger("audit")
_PATH = 300


@define
class Audit:
    """Collects what is worth telling of one request. Secrets (bodies, environment) never go in."""

    peer: Peer
    namespace: str
    method: str
    path: str
    notes: dict[str, Any] = Factory(dict)

    def note(self, **values: Any) -> None:
        """Add facts to the line, such as the program that an exec starts."""
        self.notes.update(values)

    def write(self, outcome: str) -> None:
        """Write the line. `outcome` is `ok`, an error's code, or `cancelled`."""
        who = {"uid": self.peer.uid, "gid": self.peer.gid, "pid": self.peer.pid}
        what = {"namespace": self.namespace, "method": self.method, "path": self.path[:_PATH]}
        audit_log.info("request", logger="audit", **who, **what, outcome=outcome, **self.notes)
