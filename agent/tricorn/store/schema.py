"""The database's schema as numbered migrations: `MIGRATIONS[n]` brings version n to n + 1.

A released migration is never edited; a change is a new one at the end.
"""

from __future__ import annotations

from typing import Final

_FIRST: Final = (
    """CREATE TABLE namespaces (
        name TEXT PRIMARY KEY, labels BLOB NOT NULL, created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE images (
        namespace TEXT NOT NULL REFERENCES namespaces (name), name TEXT NOT NULL,
        target BLOB NOT NULL, labels BLOB NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE containers (
        namespace TEXT NOT NULL REFERENCES namespaces (name), id TEXT NOT NULL,
        image TEXT NOT NULL, image_digest TEXT NOT NULL, runtime TEXT NOT NULL,
        snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL,
        spec BLOB NOT NULL, desired BLOB NOT NULL, labels BLOB NOT NULL, extensions BLOB NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, id)
    ) STRICT""",
    """CREATE TABLE tasks (
        namespace TEXT NOT NULL REFERENCES namespaces (name), container TEXT NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (namespace, container)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE snapshots (
        namespace TEXT NOT NULL REFERENCES namespaces (name), snapshotter TEXT NOT NULL, key TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
        backend_id TEXT NOT NULL, parent TEXT NOT NULL, labels BLOB NOT NULL,
        size INTEGER NOT NULL, inodes INTEGER NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, snapshotter, key)
    ) STRICT, WITHOUT ROWID""",
    # Two records over one directory would delete each other's files.
    "CREATE UNIQUE INDEX snapshots_backend ON snapshots (snapshotter, backend_id)",
    "CREATE INDEX snapshots_parent ON snapshots (namespace, snapshotter, parent)",
    """CREATE TABLE content (
        namespace TEXT NOT NULL REFERENCES namespaces (name), digest TEXT NOT NULL,
        size INTEGER NOT NULL, labels BLOB NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX content_digest ON content (digest)",
    """CREATE TABLE ingests (
        namespace TEXT NOT NULL REFERENCES namespaces (name), ref TEXT NOT NULL,
        total INTEGER NOT NULL, expected TEXT NOT NULL,
        started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, expires_at INTEGER,
        PRIMARY KEY (namespace, ref)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE leases (
        namespace TEXT NOT NULL REFERENCES namespaces (name), id TEXT NOT NULL,
        labels BLOB NOT NULL, created_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE lease_resources (
        namespace TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
        PRIMARY KEY (namespace, lease, type, id),
        FOREIGN KEY (namespace, lease) REFERENCES leases (namespace, id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX lease_resources_object ON lease_resources (namespace, type, id)",
    # Intents outlive whatever they speak of, hence no foreign key.
    """CREATE TABLE intents (
        id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, kind TEXT NOT NULL,
        object TEXT NOT NULL, data BLOB NOT NULL, created_at INTEGER NOT NULL
    ) STRICT""",
    # AUTOINCREMENT: a cursor must never meet the same number twice, not even after trimming to nothing.
    """CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL,
        namespace TEXT NOT NULL, topic TEXT NOT NULL, event BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX events_namespace ON events (namespace, sequence)",
)

# What containerd's containers service keeps of a container and the HTTP API has no name for.
_CONTAINERS_AS_MESSAGES: Final = (
    "ALTER TABLE containers ADD COLUMN runtime_name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE containers ADD COLUMN runtime_options BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE containers ADD COLUMN spec_type TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE containers ADD COLUMN sandbox TEXT NOT NULL DEFAULT ''",
)

_SANDBOXES: Final = (
    """CREATE TABLE sandboxes (
        namespace TEXT NOT NULL REFERENCES namespaces (name), id TEXT NOT NULL,
        runtime TEXT NOT NULL, runtime_options BLOB NOT NULL, spec BLOB NOT NULL, sandboxer TEXT NOT NULL,
        labels BLOB NOT NULL, extensions BLOB NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, id)
    ) STRICT""",
)

# Images that passed a verification of the image policy; they play no part in collection.
_VERIFICATIONS: Final = (
    """CREATE TABLE verifications (
        name TEXT NOT NULL, digest TEXT NOT NULL, requirement TEXT NOT NULL, verified_at INTEGER NOT NULL,
        PRIMARY KEY (name, digest, requirement)
    ) STRICT""",
)

# Blobs as they were read again, and those that had to be taken out of service. What a namespace knew of such
# a blob waits in `quarantined`: it still keeps what its labels name, and comes back with the blob.
_SCRUBBING: Final = (
    "CREATE TABLE blob_checks (digest TEXT PRIMARY KEY, checked_at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE quarantine (
        digest TEXT PRIMARY KEY, size INTEGER NOT NULL, why TEXT NOT NULL, file TEXT NOT NULL,
        found_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE quarantined (
        namespace TEXT NOT NULL REFERENCES namespaces (name), digest TEXT NOT NULL,
        size INTEGER NOT NULL, labels BLOB NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX quarantined_digest ON quarantined (digest)",
)

_SANDBOX_INSTANCES: Final = (
    """CREATE TABLE sandbox_instances (
        namespace TEXT NOT NULL REFERENCES namespaces (name), id TEXT NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (namespace, id)
    ) STRICT, WITHOUT ROWID""",
)

# Networks are the node's; a container's place in one may come before its record and go after it.
_NETWORKS: Final = (
    """CREATE TABLE networks (
        name TEXT PRIMARY KEY, data BLOB NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE attachments (
        namespace TEXT NOT NULL, container TEXT NOT NULL, network TEXT NOT NULL, address TEXT,
        data BLOB NOT NULL, PRIMARY KEY (namespace, container)
    ) STRICT, WITHOUT ROWID""",
    # Two containers with one address would have each other's visitors.
    "CREATE UNIQUE INDEX attachments_address ON attachments (network, address) WHERE address IS NOT NULL",
    """CREATE TABLE published (
        protocol TEXT NOT NULL, port INTEGER NOT NULL, address TEXT NOT NULL,
        namespace TEXT NOT NULL, container TEXT NOT NULL,
        PRIMARY KEY (protocol, port, address)
    ) STRICT, WITHOUT ROWID""",
)

_MIGRATIONS_OF_CONTAINERS: Final = (
    """CREATE TABLE migrations (
        role TEXT NOT NULL, id TEXT NOT NULL, namespace TEXT NOT NULL, state TEXT NOT NULL,
        data BLOB NOT NULL, created_at INTEGER NOT NULL,
        PRIMARY KEY (role, id)
    ) STRICT, WITHOUT ROWID""",
)

_SECOND_ADDRESSES: Final = (
    "ALTER TABLE attachments ADD COLUMN address6 TEXT",
    "CREATE UNIQUE INDEX attachments_address6 ON attachments (network, address6) WHERE address6 IS NOT NULL",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    _FIRST, _CONTAINERS_AS_MESSAGES, _SANDBOXES, _VERIFICATIONS, _SCRUBBING, _SANDBOX_INSTANCES, _NETWORKS,
    _MIGRATIONS_OF_CONTAINERS, _SECOND_ADDRESSES,
)  # fmt: skip
