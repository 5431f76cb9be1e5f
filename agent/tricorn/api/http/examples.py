"""Examples of request bodies, by class, for the API's description."""

from __future__ import annotations

from typing import Any, Final

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "NamespacePut": {"labels": {"team": "web"}},
    "LabelsPatch": {"labels": {"team": "web", "old": ""}},
    "ImageDesired": {"reference": "docker.io/library/redis:7", "pull": "missing"},
    "ImagePush": {"reference": "registry.example/team/app:1"},
    "ImageTag": {"reference": "registry.example/team/app:1"},
    "ImageTags": {"references": ["registry.example/team/app:1"], "force": True},
    "ArchiveExport": {"path": "/srv/redis.tar", "images": ["docker.io/library/redis:7"]},
    "ArchiveImport": {"path": "/srv/redis.tar"},
    "ContentDesired": {"labels": {"team": "web", "containerd.io/gc.root": "2026-01-31T12:00:00Z"}},
    "LeaseDesired": {
        "labels": {"team": "web"},
        "expire_seconds": 0,
        "resources": [{"type": "images", "id": "docker.io/library/redis:7"}],
    },
    "ImageConversion": {
        "reference": "registry.example/team/app:1-zstd",
        "form": "oci",
        "compression": "zstd",
    },
    "ReferrersQuery": {"type": "application/spdx+json", "fetch": True},
    "SnapshotDesired": {"parent": "sha256:…", "labels": {"containerd.io/gc.root": "2026-01-31T12:00:00Z"}},
    "SnapshotDiff": {"compression": "zstd", "timestamp": "2026-01-31T12:00:00Z"},
    "ContainerCommit": {"reference": "registry.example/team/app:debug", "changes": ["ENV MODE=test"]},
    "CheckpointRequest": {"image": "registry.example/team/web:live", "leave_running": True},
    "RestoreRequest": {"image": "registry.example/team/web:live", "id": "web-2"},
    "MigrateRequest": {"to": "node-2", "keep_image": True},
    "ResolveRequest": {"keep": "source"},
    "ContainerDesired": {
        "image": "docker.io/library/redis:7",
        "state": "started",
        "env": {"TZ": "UTC"},
        "mounts": [{"target": "/data", "source": "/srv/redis", "options": ["rw"]}],
        "resources": {"memory": 268435456, "cpus": 1.5},
    },
    "CordonDesired": {"reason": "new disks"},
    "NetworkDesired": {"subnet": "10.90.7.0/24", "mtu": 1400, "namespaces": ["default", "ci-*"]},
    "ContainerCreate": {
        "name": "job-1",
        "desired": {"image": "docker.io/library/alpine:3", "args": ["true"]},
    },
    "NodeState": {
        "namespaces": {
            "shop": {
                "labels": {"team": "web"},
                "images": [{"reference": "docker.io/library/redis:7"}],
                "containers": {"cache": {"image": "docker.io/library/redis:7", "restart": "always"}},
                "prune": True,
            }
        },
        "networks": {"backend": {"subnet": "10.90.7.0/24"}},
    },
    "FileDesired": {"path": "/etc/app.conf", "content": "mode = production\n", "mode": 420},
    "NodeCopy": {"path": "/srv/www", "node_path": "/srv/site", "to": "container"},
    "StopRequest": {"timeout": 5},
    "KillRequest": {"signal": "SIGHUP"},
    "ExecRequest": {"args": ["redis-cli", "ping"], "timeout": 10},
    "ExecStart": {"args": ["redis-cli", "monitor"], "id": "watch", "terminal": True, "stdin": True},
    "LimitsUpdate": {"memory": 536870912, "cpus": 1.5, "pids": -1},
    "ResizeRequest": {"rows": 40, "columns": 120},
    "LeaseResource": {"type": "snapshots/overlayfs", "id": "sha256:…"},
    "LeaseCreate": {"id": "build-7", "expire_seconds": 3600},
    "PolicyQuestion": {"reference": "registry.example/team/app:1"},
}
