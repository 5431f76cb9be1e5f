"""Every bound in one table, each with the reason it exists. Sizes in bytes, times in seconds.

The identifiers in comments name the public defect that taught the bound.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Identifiers and labels (containerd's own limits; clients rely on them)
IDENTIFIER_LENGTH: Final = 76
LABEL_SIZE: Final = 4096
LABELS_PER_OBJECT: Final = 512
REFERENCE_LENGTH: Final = 512
SNAPSHOT_KEY_LENGTH: Final = 4096  # mount points serve as keys, too

# Documents held in memory
MANIFEST_SIZE: Final = 4 * MIB  # manifest, index and image config (GHSA: huge JSON in archives)
INDEX_DEPTH: Final = 4  # CVE-2026-53493: index of index amplification
INDEX_NODES: Final = 512
INDEX_BYTES: Final = 32 * MIB  # all documents of one image together
LAYERS_PER_IMAGE: Final = 500  # the kernel's overlay limit
LAYER_SIZE: Final = 64 * GIB  # one compressed layer
IMAGE_SIZE: Final = 256 * GIB

# Tar application
TAR_ENTRIES: Final = 4_000_000
TAR_PATH_LENGTH: Final = 4096
TAR_NAME_LENGTH: Final = 255  # one path component, as every Linux file system has it
TAR_HEADER_SIZE: Final = 1 * MIB  # one PAX or GNU long-name record
TAR_XATTR_SIZE: Final = 64 * KIB
LAYER_UNPACKED_SIZE: Final = 256 * GIB
DECOMPRESSION_RATIO: Final = 1100  # deflate's own maximum is 1032; beyond it is a bomb by format tricks
ZSTD_WINDOW: Final = 128 * MIB
ZSTD_FREE_OUTPUT: Final = 4 * GIB  # zstd packs zeros 32000 fold: the ratio counts from here on only
EXTRACT_RESULT_SIZE: Final = 32 * MIB  # what a layer's extractor may report

# Archives of images
ARCHIVE_ENTRIES: Final = 20_000  # an image's parts; file systems are inside its layers
ARCHIVE_IMPORTS: Final = 4  # at a time: each holds a thread while its bytes come

# Registry conversations
REGISTRY_ERROR_BODY: Final = 64 * KIB
REGISTRY_HEADERS: Final = 64 * KIB
REGISTRY_REDIRECTS: Final = 5
REGISTRY_TOKEN_SIZE: Final = 256 * KIB
REGISTRY_ATTEMPTS: Final = 6
REGISTRY_RESUMES: Final = 200  # of one transfer, however much progress each of them made
REGISTRY_BACKOFF_FIRST: Final = 0.2
REGISTRY_BACKOFF_MAX: Final = 20.0
REGISTRY_CONNECT_TIMEOUT: Final = 15.0
REGISTRY_STALL: Final = 30.0  # no byte for this long breaks the connection, and the transfer resumes
REGISTRY_SLOWEST: Final = 256  # bytes per second over a stall period: a drip is a stall, too
REGISTRY_CONNECTIONS: Final = 32  # open at a time
REGISTRY_IDLE_CONNECTIONS: Final = 4  # kept for each host
REGISTRY_IDLE_SECONDS: Final = 45.0  # below the 60-75 s after which common front ends close
REGISTRY_TOKENS: Final = 256  # cached
REGISTRY_SECRET_FILE: Final = 1 * MIB  # a password's file, Docker's config.json
REGISTRY_HELPERS: Final = 4  # credential helpers running at a time
REGISTRY_HELPER_OUTPUT: Final = 64 * KIB
REGISTRY_HELPER_TIMEOUT: Final = 15.0  # helpers of clouds ask a service in their turn
REGISTRY_PARALLEL_DOWNLOADS: Final = 3
REGISTRY_PARALLEL_UPLOADS: Final = 3
REGISTRY_WHOLE: Final = 128 * MIB  # of a blob sent in one request: what came of it is lost if it breaks
REFERRERS: Final = 1024  # artifacts that refer to one image: a label keeps each, and a list names them
REFERRERS_PAGES: Final = 64  # of a registry's list of them
REGISTRY_PIECE: Final = 32 * MIB  # of an upload that is resumed or that a proxy wants in pieces
EXTRACTIONS_PARALLEL: Final = 4
FILLED_BESIDE: Final = 32 * MIB  # of a layer that has a process of its own to fill files
FILLED_AFTER: Final = 16_384  # entries, from which on it does: it takes CPU time, and fewer are made soon
COPIES_PARALLEL: Final = 4  # files being copied into containers or out of them
COPY_SHOWN: Final = 64 * KIB  # text of a file that a change shows
COPY_DIGEST: Final = 16 * MIB  # of a file that is to be replaced: a larger one is told by its size
DIFFS_PARALLEL: Final = 2  # layers being made; each takes a core
TRANSFER_BUFFER: Final = 1 * MIB

# API
HTTP_REQUEST_BODY: Final = 8 * MIB
HTTP_HEADERS: Final = 64 * KIB
HTTP_CONNECTIONS: Final = 2048
HTTP_KEEPALIVE: Final = 120.0
HTTP_HEAD_TIMEOUT: Final = 20.0
HTTP_BODY_TIMEOUT: Final = 60.0  # for the whole of a request's body
HTTP_SEND_STALL: Final = 60.0  # an answer of which the client takes no byte for this long is given up
HTTP_READ_AHEAD: Final = 256 * KIB  # bytes of a connection that nobody asked for yet (pipelining, stdin)
FRAME_SIZE: Final = 1 * MIB  # payload of one frame of tricorn-stdio
GRPC_MESSAGE: Final = 16 * MIB  # containerd's own; one message, either way
GRPC_STREAMS: Final = 10_000  # at a time on one connection, calls whose handlers still clean up included
GRPC_STREAM_WINDOW: Final = 1 * MIB  # bytes of a stream that its handler did not ask for yet
GRPC_CONNECTION_WINDOW: Final = 16 * MIB
GRPC_FRAME: Final = 1 * MIB
GRPC_HEADERS: Final = 64 * KIB  # a header list, encoded or decoded (CVE-2016-6581, CVE-2024-27316)
GRPC_CONTINUATIONS: Final = 64  # frames of one header list (CVE-2024-24549)
GRPC_SETTINGS: Final = 64  # entries of one SETTINGS frame
GRPC_UNFINISHED: Final = 64 * MIB  # of incomplete messages on one connection, beyond what its windows hold
GRPC_UNSENT: Final = 128 * MIB  # of messages on one connection whose client doesn't take them
GRPC_CLOSED_STREAMS: Final = 2048  # remembered, to know a late frame from a wrong one
GRPC_READ: Final = 256 * KIB  # one read of a connection
GRPC_OUTBOX: Final = 256 * KIB  # bytes waiting for a client before its handlers have to wait
GRPC_OUTBOX_CONTROL: Final = 1 * MIB  # … before the client isn't heard any more (CVE-2019-9512, -9515)
GRPC_IDLE_FRAMES: Final = 10_000  # frames without work at once (CVE-2019-9513 to -9518, CVE-2023-44487)
GRPC_IDLE_FRAME_RATE: Final = 500.0  # … and per second
STREAMS: Final = 1024  # of the streaming service, open at a time
STREAM_WINDOW: Final = 1 * MIB  # bytes of an import on their way to the agent
EVENTS_KEPT: Final = 100_000
EVENTS_PAGE: Final = 1000
EVENT_SIZE: Final = 64 * KIB  # one that a client publishes; EVENTS_KEPT of them may be kept
OPERATIONS_KEPT: Final = 256
PROGRESS_OBJECTS: Final = 4096  # of one operation that are shown one by one

# Container input and output
EXEC_OUTPUT: Final = 16 * MIB  # per stream, for calls that return output whole (CVE-2022-31030)
EXEC_DRAIN: Final = 5.0  # after the exit, for writers left behind (CVE-2026-53495)
STDIO_OPEN: Final = 10.0  # until a client's FIFOs and files are open
STDIO_LINGER: Final = 30.0  # after the exit, for a client that is slow to take what is left
STDIO_DELETE_WAIT: Final = 2.0  # that a task's deletion waits for its last output, as containerd's does
LOGGER_READY: Final = 10.0  # until a logging program has said that it listens
LOGGER_END: Final = 5.0  # after the end of its input, before a logging program is told to end, then killed
EXECS_PER_CONTAINER: Final = 1024
EXECS_ENDED: Final = 16  # so many of a container's ended execs are kept, with their logs
EXECS_ENDED_AGE: Final = 24 * 3600.0  # seconds that they are kept at most
EXEC_LOG_SIZE: Final = 4 * MIB
EXEC_LOG_FILES: Final = 2
PASSWD_SIZE: Final = 10 * MIB  # CVE-2026-47262
UID_MAX: Final = 2**31 - 1  # CVE-2024-40635
LOG_SIZE: Final = 16 * MIB
LOG_FILES: Final = 3
ENVIRONMENT_SIZE: Final = 1 * MIB

# Clean-up that runs shielded from cancellation must end by itself
CLEANUP_DEADLINE: Final = 20.0
DRAIN_DEADLINE: Final = 10.0
RUNTIME_CALL: Final = 60.0  # one call of an OCI runtime's command line
DUMP_CALL: Final = 900.0  # a dump or a restore: the memory of a container goes through the disk
DUMP_SETTLE: Final = 60.0  # that a start waits for a dump which outlived the agent
DUMP_FILES: Final = 100_000  # in a dump: a handful for each process and thread
DUMP_IMAGE_READ: Final = 64 * MIB  # of a dump's small images, which are looked at before a restore
TIDYING_PAUSE: Final = 0.008  # seconds without a call after which clients are taken to be through
TIDYING_PATIENCE: Final = 0.06  # seconds that clearing lets the calls go first which follow a deletion
TIDYING: Final = 16  # deleted containers being cleared away behind the answers
SECCOMP_FILTERS: Final = 64  # compiled profiles kept in memory
SECCOMP_FILTER_SIZE: Final = 4096 * 8  # the kernel takes no more than BPF_MAXINSNS instructions

# Nodes that serve each other
PEER_CONNECTIONS: Final = 128
PEER_CONNECTIONS_EACH: Final = 32  # of one peer
PEER_HANDSHAKE: Final = 10.0
PEER_SEND_STALL: Final = 30.0  # for a piece of TRANSFER_BUFFER bytes: slower peers are let go
PEER_HOLD: Final = 10.0  # that a request waits for a blob on its way; below REGISTRY_STALL
PEER_POLL: Final = 0.1  # between two looks at a blob on its way
PEER_PATIENCE: Final = 30.0  # with a peer whose blob doesn't grow
PEER_WAIT: Final = 1800.0  # with a peer, however much it grows
PEER_SECOND_LOOK: Final = 0.15  # before the registry itself is asked
PEER_DOCUMENTS: Final = 512  # whose children are remembered

# Migrations
MIGRATIONS_KEPT: Final = 200  # that are over, for people to look at
MIGRATION_IDLE: Final = 120.0  # that a target waits for its source's next word
MIGRATION_WAIT: Final = 10.0  # that a target lets its source wait for an answer; below REGISTRY_STALL
MIGRATION_PATIENCE: Final = 15.0  # with a silent target, before its source calls the migration uncertain
MIGRATION_ASK: Final = 1.0  # between two questions to a target that can't tell, or can't be reached;
MIGRATION_ASK_MAX: Final = 10.0  # they become rarer
MIGRATION_SIZE: Final = 1024 * GIB  # of one part that is received
MIGRATION_ROUNDS: Final = 16  # of memory before the freeze; each takes room on the disks of both nodes
MIGRATION_SMALL: Final = 8 * MIB  # of memory that goes over while a container stands: a round costs as much
MIGRATION_MESSAGE: Final = MIB
MIGRATION_BLOBS: Final = 512  # of an image
MIGRATION_ARRIVALS: Final = 8  # at a time

# A node that takes on nothing new
CORDON_REASON: Final = 500  # characters
CORDON_FILE: Final = 16 * KIB

# The image policy
POLICY_SIZE: Final = 256 * KIB  # the policy's file, and each key's
POLICY_VERIFICATIONS: Final = 4  # at a time
POLICY_REMEMBERED: Final = 4096  # images that passed a verification
VERIFIER_OUTPUT: Final = 32 * KIB  # of each stream of an external verifier; containerd's own
VERIFIER_DEADLINE: Final = 10.0  # of each, where the policy says nothing; containerd's own
VERIFIERS: Final = 10  # programs in one directory, where the policy says nothing; containerd's own
SIGNATURES_PER_IMAGE: Final = 32  # looked at
SIGNATURE_PAYLOAD: Final = 64 * KIB

# Garbage collection and leases
LEASE_DEFAULT_SECONDS: Final = 24 * 3600
INGEST_DEFAULT_SECONDS: Final = 24 * 3600
QUARANTINE_SECONDS: Final = 7 * 24 * 3600  # that a damaged file is kept for people once nobody misses it
PULL_KEPT_SECONDS: Final = 600  # what a pull brought whose registry failed, for the next one to go on from

# Clients of the API
CLIENT_LINE: Final = 16 * MIB  # one NDJSON line; a pull of LAYERS_PER_IMAGE layers has lines of 100 KiB
CLIENT_BODY: Final = 256 * MIB  # an exec's two outputs at EXEC_OUTPUT each, escaped sixfold in JSON
CLIENT_CONNECTIONS: Final = 8  # idle ones kept for reuse
SESSION_BUFFER: Final = 256 * KIB  # of stdin or output in flight before the other side has to wait
