"""Images for playbooks that run inside containers: one with a shell alone, one that sees the node's own Python."""

from __future__ import annotations

from typing import Any, Final

from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer

USERS: Final = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home:/bin/sh\n"
# What a container of the image `rich` needs, and `tricorn run` says as --mount.
USR: Final[dict[str, Any]] = {"type": "bind", "source": "/usr", "target": "/usr", "options": ["rbind", "ro"]}
USR_OPTION: Final = "type=bind,src=/usr,dst=/usr,options=rbind:ro"


def inhabited_images(layout: ImageLayout) -> None:
    """Put the images `plain` and `rich` into a layout; both have the users root and app, and sleep."""
    users = LayerBuilder().file("etc/passwd", USERS).directory("root").directory("home", mode=0o777)
    users.directory("tmp", mode=0o1777).directory("var/tmp", mode=0o1777)
    links = LayerBuilder()
    for name in ("bin", "sbin", "lib", "lib64"):
        links.symlink(name, f"usr/{name}")
    settings = {"Cmd": ["sleep", "3600"], "Env": ["PATH=/usr/bin:/bin"]}
    layout.tag("plain", layout.add_image([busybox_layer(), users.layer()], settings))
    layout.tag("rich", layout.add_image([links.layer(), users.layer()], settings))
