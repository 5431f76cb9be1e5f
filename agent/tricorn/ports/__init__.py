"""The interfaces between the service layer and the four workers (store, fs, registry, runtime).

Each has one conformance suite in `tests/conformance/`. Everything here may be called from any Trio task;
nothing blocks the loop. Failures are `tricorn.errors` only.
"""

from __future__ import annotations

from tricorn.ports.checkpoints import Capability, Checkpointer, CheckpointRuntime, CriuInfo, LazyState
from tricorn.ports.clock import Clock
from tricorn.ports.content import BlobSink, ContentStore, ContentWriter
from tricorn.ports.layers import (
    Diffing,
    DiffResult,
    Extraction,
    Extractor,
    ExtractResult,
    LayerDiffer,
    LayerRepacker,
    Repacking,
    WhiteoutFormat,
)
from tricorn.ports.processes import (
    BundleRef,
    Created,
    ExecSession,
    Exit,
    FoundExec,
    ProcessStreams,
    RuntimeInfo,
    StdioStream,
    StreamKind,
)
from tricorn.ports.registry import (
    DEFAULT_WAY,
    Auth,
    CredentialSource,
    Push,
    PushOutcome,
    Referrals,
    Registry,
    RegistryWay,
)
from tricorn.ports.runtime import Runtime
from tricorn.ports.snapshots import FilesystemMount, Snapshotter

__all__ = [
    "DEFAULT_WAY",
    "Auth",
    "BlobSink",
    "BundleRef",
    "Capability",
    "CheckpointRuntime",
    "Checkpointer",
    "Clock",
    "ContentStore",
    "ContentWriter",
    "Created",
    "CredentialSource",
    "CriuInfo",
    "DiffResult",
    "Diffing",
    "ExecSession",
    "Exit",
    "ExtractResult",
    "Extraction",
    "Extractor",
    "FilesystemMount",
    "FoundExec",
    "LayerDiffer",
    "LayerRepacker",
    "LazyState",
    "ProcessStreams",
    "Push",
    "PushOutcome",
    "Referrals",
    "Registry",
    "RegistryWay",
    "Repacking",
    "Runtime",
    "RuntimeInfo",
    "Snapshotter",
    "StdioStream",
    "StreamKind",
    "WhiteoutFormat",
]
