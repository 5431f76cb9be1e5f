"""What clients ask for and what they are told: the bodies of the HTTP/JSON API.

All are attrs classes; cattrs structures them (unknown keys are refused by name) and msgspec encodes them.
Sizes in bytes, times in seconds unless a field says otherwise.
"""

from __future__ import annotations

from tricorn.model.requests.container_views import (
    ContainerView,
    ExecResult,
    ExitView,
    LimitsView,
    LogLine,
    NodeStop,
    StopOutcome,
    TaskView,
    WaitState,
    WaitView,
)
from tricorn.model.requests.containers import (
    BlkioLimit,
    ContainerDesired,
    ExecRequest,
    KillRequest,
    LimitsUpdate,
    Mount,
    Resources,
    Rlimit,
    StopRequest,
)
from tricorn.model.requests.images import (
    ArchiveExport,
    ArchiveImport,
    HeaderAuth,
    ImageDesired,
    ImagePush,
    ImageTag,
    ImageTags,
    ImageView,
    ImportResult,
    LayerView,
    NamedImage,
    PullPolicy,
    PushResult,
    RegistryAuth,
)
from tricorn.model.requests.objects import Action, Change, LeaseDesired, SnapshotDesired
from tricorn.model.requests.work import (
    GcExplanation,
    GcKeeper,
    GcReport,
    ObjectPhase,
    ObjectProgress,
    OperationView,
    Progress,
)

__all__ = [
    "Action",
    "ArchiveExport",
    "ArchiveImport",
    "BlkioLimit",
    "Change",
    "ContainerDesired",
    "ContainerView",
    "ExecRequest",
    "ExecResult",
    "ExitView",
    "GcExplanation",
    "GcKeeper",
    "GcReport",
    "HeaderAuth",
    "ImageDesired",
    "ImagePush",
    "ImageTag",
    "ImageTags",
    "ImageView",
    "ImportResult",
    "KillRequest",
    "LayerView",
    "LeaseDesired",
    "LimitsUpdate",
    "LimitsView",
    "LogLine",
    "Mount",
    "NamedImage",
    "NodeStop",
    "ObjectPhase",
    "ObjectProgress",
    "OperationView",
    "Progress",
    "PullPolicy",
    "PushResult",
    "RegistryAuth",
    "Resources",
    "Rlimit",
    "SnapshotDesired",
    "StopOutcome",
    "StopRequest",
    "TaskView",
    "WaitState",
    "WaitView",
]
