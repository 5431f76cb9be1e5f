"""Images that passed what the image policy demands, so that they need not be verified at each use."""

from __future__ import annotations

from tricorn import limits
from tricorn.model.ids import Digest
from tricorn.store.session import Session


class Verifications:
    """A record says that `name`, when it stood for `digest`, met a requirement (its fingerprint)."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def passed(self, name: str, digest: Digest, requirement: str) -> bool:
        """Whether the image passed exactly this requirement."""
        return (
            self._session.one(
                "SELECT 1 FROM verifications WHERE name = ? AND digest = ? AND requirement = ?",
                name, digest, requirement,
            )
            is not None
        )  # fmt: skip

    def remember(self, name: str, digest: Digest, requirement: str) -> None:
        """Record that it did; the oldest records go beyond POLICY_REMEMBERED."""
        self._session.run_aside(
            "INSERT OR REPLACE INTO verifications (name, digest, requirement, verified_at)"
            " VALUES (?, ?, ?, ?)",
            name, digest, requirement, self._session.now,
        )  # fmt: skip
        self._session.run_aside(
            "DELETE FROM verifications WHERE rowid IN"
            " (SELECT rowid FROM verifications ORDER BY verified_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
            limits.POLICY_REMEMBERED,
        )
