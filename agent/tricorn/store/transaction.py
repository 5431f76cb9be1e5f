"""A transaction on the records: one attribute per kind, all methods synchronous.

Changes publish their event in the same transaction. Not to be kept beyond the function it was given to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from tricorn.model.usage import BudgetRule
from tricorn.store.budgets import Budgets
from tricorn.store.codec import to_microseconds, to_time
from tricorn.store.containers import Containers
from tricorn.store.content_records import ContentRecords
from tricorn.store.images import Images
from tricorn.store.ingests import Ingests
from tricorn.store.intents import Intents
from tricorn.store.journal import Events
from tricorn.store.leases import Leases
from tricorn.store.migrations import Migrations
from tricorn.store.namespaces import Namespaces
from tricorn.store.networks import Attachments, Networks
from tricorn.store.quarantine import BlobChecks, Quarantine
from tricorn.store.sandbox_instances import SandboxInstances
from tricorn.store.sandboxes import Sandboxes
from tricorn.store.session import Session
from tricorn.store.snapshots import Snapshots
from tricorn.store.tasks import Tasks
from tricorn.store.verifications import Verifications


class Transaction:
    """All kinds of records as of one moment. Built by `Database` only."""

    __slots__ = (
        "attachments", "blob_checks", "budgets", "containers", "content", "events", "images", "ingests",
        "intents", "leases", "migrations", "namespaces", "networks", "quarantine", "sandbox_instances",
        "sandboxes", "session", "snapshots", "tasks", "verifications",
    )  # fmt: skip

    def __init__(
        self, connection: sqlite3.Connection, now: datetime, budget_rules: Sequence[BudgetRule] = ()
    ) -> None:
        self.session = Session(connection, to_microseconds(now))
        self.budgets = Budgets(self.session, budget_rules)
        self.events = Events(self.session)
        self.namespaces = Namespaces(self.session, self.events)
        self.leases = Leases(self.session, self.namespaces)
        self.images = Images(self.session, self.events, self.namespaces, self.leases, self.budgets)
        self.containers = Containers(self.session, self.events, self.namespaces, self.budgets)
        self.tasks = Tasks(self.session, self.namespaces)
        self.snapshots = Snapshots(self.session, self.events, self.namespaces, self.leases, self.budgets)
        self.content = ContentRecords(self.session, self.events, self.namespaces, self.leases, self.budgets)
        self.ingests = Ingests(self.session, self.namespaces, self.leases, self.budgets)
        self.quarantine = Quarantine(self.session, self.events)
        self.blob_checks = BlobChecks(self.session)
        self.intents = Intents(self.session)
        self.migrations = Migrations(self.session)
        self.sandboxes = Sandboxes(self.session, self.namespaces)
        self.sandbox_instances = SandboxInstances(self.session, self.namespaces)
        self.verifications = Verifications(self.session)
        self.networks = Networks(self.session)
        self.attachments = Attachments(self.session)

    @property
    def now(self) -> datetime:
        """The time that every record of this transaction gets."""
        return to_time(self.session.now)
