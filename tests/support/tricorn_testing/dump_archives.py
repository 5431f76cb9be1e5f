"""Archives of checkpoints in Podman's layout, made of real dumps, some images of which are others."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tricorn_testing.criu import SecludedDaemon
from tricorn_testing.waiting import eventually

NS = "default"
COUNTER = (
    "rm /etc/os-release; i=0; while :; do i=$((i+1)); echo $i >>/ticks; "
    "[ -e /etc/os-release ] && exit; sleep 0.05; done"
)
Entry = tuple[str, bytes]


def blob(agent: SecludedDaemon, digest: str) -> bytes:
    return (agent.root / "content/blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()


def members(data: bytes) -> list[Entry]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(item.name, tar.extractfile(item).read()) for item in tar if item.isfile()]  # type: ignore[union-attr]


def packed(entries: list[Entry], links: Collection[str] = ()) -> bytes:
    """Return an archive of files; the `links` among them have their target as data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in entries:
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(data), 0o600
            if name in links:
                item.type, item.size, item.linkname = tarfile.SYMTYPE, 0, data.decode()
            tar.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def dumped(agent: SecludedDaemon, image: str) -> dict[str, Any]:
    """Return what is in an archive, of a counter that was dumped amid its work."""
    agent.put(f"/v1/{NS}/containers/origin", {"image": image, "args": ["sh", "-c", COUNTER]})
    pid = agent.get(f"/v1/{NS}/containers/origin")["task"]["pid"]
    eventually(Path(f"/proc/{pid}/root/ticks").exists)
    made = agent.post(f"/v1/{NS}/containers/origin/checkpoint", {"image": "test/origin:1"})
    spec = agent.get(f"/v1/{NS}/containers/origin")["spec"]
    agent.delete(f"/v1/{NS}/containers/origin", force=True)
    kinds = {kind.rpartition(".")[2]: digest for kind, digest in made["parts"].items()}
    manifest = agent.get(f"/v1/{NS}/images/{image.replace('/', '%2F')}")["digest"]
    changes = members(gzip.decompress(blob(agent, kinds["tar+gzip"])))
    return {
        "dump": [(f"checkpoint/{name}", data) for name, data in members(blob(agent, kinds["tar"]))],
        "changed": [(name, data) for name, data in changes if "/.wh." not in name],
        "deleted": ["etc/os-release"],
        "spec": spec,
        "manifest": manifest,
        "config": json.loads(blob(agent, manifest))["config"]["digest"],
    }


def podman(parts: dict[str, Any], image: str) -> list[Entry]:
    """What `podman container checkpoint --export` writes, in its order."""
    config = {
        "id": "f" * 64, "name": "web", "rootfsImageName": image, "runtime": "runc",
        "rootfsImageID": parts["config"].removeprefix("sha256:"), "labels": {"io.containers.trusted": "1"},
    }  # fmt: skip
    return [
        ("devshm-checkpoint.tar", packed([])), ("config.dump", json.dumps(config).encode()),
        ("spec.dump", json.dumps(parts["spec"]).encode()), ("network.status", b"{}"), ("stats-dump", b""),
        *parts["dump"], ("rootfs-diff.tar", packed(parts["changed"])),
        ("deleted.files", json.dumps(parts["deleted"]).encode()),
    ]  # fmt: skip


def load(agent: SecludedDaemon, archive: bytes, *options: str, tag: str = "test/archive:1") -> Any:
    file = agent.directory / "archive.tar"
    file.write_bytes(archive)
    return agent.cli("--json", "checkpoint", "import", *options, str(file), tag)


def changed(entries: list[Entry], **documents: Any) -> list[Entry]:
    """Replace documents by name, `_` for the dot."""
    named = {key.replace("_", "."): value for key, value in documents.items()}
    return [(name, named.get(name, data)) for name, data in entries]
