"""What namespaces use, and the check of their budgets: in the transaction that would go beyond one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tricorn.errors import ResourceExhausted
from tricorn.model.ids import Digest
from tricorn.model.usage import Budget, BudgetRule, NamespaceUsage
from tricorn.rules import budgets
from tricorn.store.codec import to_labels
from tricorn.store.session import Session

_LARGEST: Final = 3  # objects that a refusal names
_SHARES: Final = (
    "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(CASE WHEN EXISTS (SELECT 1 FROM content o "
    "WHERE o.digest = c.digest AND o.namespace != c.namespace) THEN size ELSE 0 END), 0) "
    "FROM content c WHERE namespace = ?"
)
_BYTES: Final = (
    "SELECT (SELECT coalesce(sum(size), 0) FROM content WHERE namespace = ?1) "
    "+ (SELECT coalesce(sum(size), 0) FROM snapshots WHERE namespace = ?1) "
    "+ (SELECT coalesce(sum(total), 0) FROM ingests WHERE namespace = ?1 AND ref != ?2)"
)
_TOP: Final = (
    "SELECT kind, key, size FROM (SELECT 'content' AS kind, digest AS key, size FROM content "
    "WHERE namespace = ?1 UNION ALL SELECT 'snapshot', snapshotter || '/' || key, size FROM snapshots "
    "WHERE namespace = ?1 UNION ALL SELECT 'ingest', ref, total FROM ingests WHERE namespace = ?1) "
    "WHERE size > 0 ORDER BY size DESC, key LIMIT ?2"
)
_COUNTS: Final = {
    "images": "SELECT count(*) FROM images WHERE namespace = ?",
    "containers": "SELECT count(*) FROM containers WHERE namespace = ?",
}
_OLDEST: Final = {
    "images": "SELECT name FROM images WHERE namespace = ? ORDER BY updated_at, name LIMIT ?",
    "containers": "SELECT c.id FROM containers c LEFT JOIN tasks t "
    "ON t.namespace = c.namespace AND t.container = c.id WHERE c.namespace = ? "
    "ORDER BY t.container IS NOT NULL, c.updated_at, c.id LIMIT ?",
}


class Budgets:
    __slots__ = ("_rules", "_session")

    def __init__(self, session: Session, rules: Sequence[BudgetRule] = ()) -> None:
        self._session = session
        self._rules = rules

    def of(self, namespace: str) -> Budget:
        """Return the budget that holds for a namespace, whether or not it exists yet."""
        row = self._session.one("SELECT labels FROM namespaces WHERE name = ?", namespace)
        labels: Mapping[str, str] = {}
        if row and b"tricorn.budget/" in row[0]:
            labels = to_labels(row[0])
        return budgets.effective(namespace, labels, self._rules) if labels or self._rules else Budget()

    def admit_bytes(self, namespace: str, more: int, *, ref: str = "") -> None:
        """Refuse `more` bytes of content or snapshots if they go beyond the budget. The transfer `ref`
        itself doesn't count, the others do with all that they are to bring. ResourceExhausted.
        """
        budget = self.of(namespace).bytes
        if budget is None or more <= 0:
            return
        used = self._used(namespace, ref)
        if used + more > budget:
            raise self._too_many_bytes(namespace, budget, used, more)

    def admit_blobs(self, namespace: str, sizes: Mapping[Digest, int]) -> None:
        """Refuse blobs that are to come, by digest, together; those that are there don't count, nor what
        transfers have reserved for these. ResourceExhausted.
        """
        if self.of(namespace).bytes is None:
            return
        here = "SELECT 1 FROM content WHERE namespace = ? AND digest = ?"
        missing = [str(digest) for digest in sizes if not self._session.one(here, namespace, str(digest))]
        coming = "SELECT coalesce(sum(total), 0) FROM ingests WHERE namespace = ? AND expected = ?"
        reserved = sum((self._session.one(coming, namespace, digest) or (0,))[0] for digest in missing)
        self.admit_bytes(namespace, sum(size for d, size in sizes.items() if str(d) in missing) - reserved)

    def admit_images(self, namespace: str, names: Sequence[str]) -> None:
        """Refuse a new name of an image if it is one more than the budget allows. ResourceExhausted."""
        here = "SELECT 1 FROM images WHERE namespace = ? AND name = ?"
        if any(not self._session.one(here, namespace, name) for name in names):
            self.admit(namespace, "images")

    def room(self, namespace: str, ref: str) -> int | None:
        """Return how many bytes the transfer `ref` may come to, None for any."""
        budget = self.of(namespace).bytes
        return None if budget is None else max(0, budget - self._used(namespace, ref))

    def admit(self, namespace: str, kind: str) -> None:
        """Refuse one more of `kind` (images or containers) beyond the budget. ResourceExhausted."""
        budget: int | None = getattr(self.of(namespace), kind)
        if budget is None:
            return
        (count,) = self._session.one(_COUNTS[kind], namespace) or (0,)
        if count + 1 > budget:
            raise self._too_many(namespace, kind, budget, count)

    def _used(self, namespace: str, ref: str) -> int:
        (used,) = self._session.one(_BYTES, namespace, ref) or (0,)
        return int(used)

    def _too_many_bytes(self, namespace: str, budget: int, used: int, more: int) -> ResourceExhausted:
        rows = self._session.all(_TOP, namespace, _LARGEST)
        largest = [{"object": f"{row[0]}/{row[1]}", "size": row[2]} for row in rows]
        named = ", ".join(f"{item['object']} ({item['size']} bytes)" for item in largest)
        return ResourceExhausted(
            f"namespace {namespace} has no room for {more} more bytes",
            why=f"its budget is {budget} bytes of content and snapshots, {used} are taken or reserved"
            + (f"; most by {named}" if named else ""),
            hint=f"remove images and containers that nobody needs, then `tricorn gc`; or raise the budget: "
            f"`tricorn namespace budget {namespace} --bytes SIZE`",
            namespace=namespace, budget=budget, used=used, wanted=more, largest=largest,
        )  # fmt: skip

    def _too_many(self, namespace: str, kind: str, budget: int, count: int) -> ResourceExhausted:
        names = [row[0] for row in self._session.all(_OLDEST[kind], namespace, _LARGEST)]
        which = "those without a task, oldest first" if kind == "containers" else "the oldest"
        verb = "rm" if kind == "containers" else "rmi"
        return ResourceExhausted(
            f"namespace {namespace} may not have more {kind}",
            why=f"its budget is {budget}, it has {count}"
            + (f"; {which}: {', '.join(names)}" if names else ""),
            hint=f"remove some: `tricorn -n {namespace} {verb} NAME`; or raise the budget: "
            f"`tricorn namespace budget {namespace} --{kind} N`",
            namespace=namespace, budget=budget, used=count, oldest=names,
        )  # fmt: skip

    def usage(self, namespace: str) -> NamespaceUsage:
        """Return what the records say that a namespace uses."""
        blobs, content, shared = self._session.one(_SHARES, namespace) or (0, 0, 0)
        (ingests,) = self._session.one(
            "SELECT coalesce(sum(total), 0) FROM ingests WHERE namespace = ?", namespace
        ) or (0,)
        snapshots, size = self._session.one(
            "SELECT count(*), coalesce(sum(size), 0) FROM snapshots WHERE namespace = ?", namespace
        ) or (0, 0)
        counts = {kind: (self._session.one(query, namespace) or (0,))[0] for kind, query in _COUNTS.items()}
        return NamespaceUsage(
            namespace, content, content - shared, shared, blobs, ingests, size, snapshots, None,
            counts["images"], counts["containers"], self.of(namespace),
        )  # fmt: skip

    def usage_of_all(self) -> list[NamespaceUsage]:
        """Return that of every namespace, by name."""
        rows = self._session.all("SELECT name FROM namespaces ORDER BY name")
        return [self.usage(row[0]) for row in rows]
