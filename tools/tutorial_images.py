"""The images of docs/tutorial.md: a counter in three versions, of which the third never gets ready.

PYTHONPATH=tests/support .venv/bin/python tools/tutorial_images.py HOST:PORT
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.registry import Registry

READY = {"1": "touch /ready; ", "2": "touch /ready; ", "3": ""}
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/new; mv /new /count; sleep 0.1; done"


def main(registry: str) -> None:
    """Push demo/web:1 to :3 to a registry on plain HTTP; print what they are called."""
    base = busybox_layer()
    with tempfile.TemporaryDirectory() as directory:
        layout = ImageLayout(Path(directory) / "layout")
        for version, ready in READY.items():
            layers = [base, LayerBuilder().file("version", f"{version}\n").layer()]
            command = ["sh", "-c", f"echo this is version {version}; {ready}{COUNT}"]
            image = layout.add_image(layers, {"Cmd": command, "Env": ["PATH=/bin:/usr/bin"]})
            layout.tag(version, image)
            sys.stdout.write(Registry(registry).push(layout, version, f"demo/web:{version}") + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
