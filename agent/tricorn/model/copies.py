"""Files that go into containers and come out of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from attrs import field, frozen

PathKind = Literal["file", "directory", "symlink", "fifo", "device", "socket"]


@frozen
class Placing:
    """How files are put in place. `uid`, `gid` and the modes take the place of the archive's, where given;
    `mode` is that of files. `parents` makes missing directories on the way; `show` tells the text of a single
    file in the answer; `plan` changes nothing.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    directory_mode: int | None = None
    parents: bool = False
    show: bool = False
    plan: bool = False


@frozen
class FileDesired:
    """Body of `PUT /v1/{namespace}/containers/{id}/files`: what `path` in the container shall be, a file with
    this content or a directory. Modes are numbers, 420 for 0644.
    """

    path: str
    type: Literal["file", "directory"] = "file"
    content: str = field(default="", repr=False)
    encoding: Literal["text", "base64"] = "text"
    uid: int = 0
    gid: int = 0
    mode: int | None = None  # 0644 for files, 0755 for directories
    parents: bool = False
    show: bool = False


@frozen
class NodeCopy:
    """Body of `PUT /v1/{namespace}/containers/{id}/copy`: `path` in the container and `node_path` on the node
    shall be the same, a file or a directory with all in it; `to` says which of them is changed. What is there
    beside stays. Owners are 0:0 in containers unless given, and the agent's own on the node.
    """

    path: str
    node_path: str
    to: Literal["container", "node"] = "container"
    follow: bool = False
    uid: int = 0
    gid: int = 0
    keep_owner: bool = False
    mode: int | None = None
    directory_mode: int | None = None
    parents: bool = False
    show: bool = False


@frozen
class PathView:
    """One path in a container. `size` in bytes, of files; `link` is where a symlink points to."""

    path: str
    type: PathKind
    mode: int
    uid: int
    gid: int
    size: int = 0
    link: str = ""
    sha256: str = ""
    modified_at: datetime | None = None
