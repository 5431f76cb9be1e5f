"""Compiles agent/proto into the descriptor set that the agent reads its messages from."""

from __future__ import annotations

import argparse
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "agent/proto"
TARGET = ROOT / "agent/tricorn/wire/containerd.binpb"


def compile_protos() -> bytes:
    """Return the serialised FileDescriptorSet of all sources and what they import, without comments."""
    files = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as directory:
        compiled = Path(directory) / "set.binpb"
        options = [f"-I{SOURCES}", f"-I{known}", "--include_imports", f"--descriptor_set_out={compiled}"]
        if protoc.main(["protoc", *options, *files]):
            raise SystemExit("protoc refused the sources")
        return compiled.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    TARGET.write_bytes(compile_protos())
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
