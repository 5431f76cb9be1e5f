"""Containers that go on before they have their memory: none of it is lost while the agent is away, and one that
can't get the rest of it is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tricorn_testing.criu import checkpointing_daemon, criu_program, need_criu
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
IMAGE = "lazy.example/heavy:live"
USR = {"target": "/usr", "source": "/usr", "options": ["ro"]}
# 60 MiB without two equal pages; tells a number and the sum of it all, over and over.
HEAVY = """
import hashlib, itertools, os
memory = bytearray(60 << 20)
for at in range(0, len(memory), 4096):
    memory[at:at + 8] = (at + 1).to_bytes(8, "little")
for number in itertools.count():
    with open("/out/new", "w") as file:
        file.write(f"{number} {hashlib.blake2b(memory).hexdigest()}")
    os.rename("/out/new", "/out/told")
"""


class Brake:
    """Lets programs that give containers their memory have next to no processor time, from their start on.
    Signals and the freezer won't do: CRIU takes an interrupted wait for a failure.
    """

    def __init__(self, directory: Path) -> None:
        v1 = Path("/sys/fs/cgroup/cpu")
        self._v1 = v1.is_dir()
        self._cgroup = (v1 if self._v1 else Path("/sys/fs/cgroup")) / f"tct-brake-{os.getpid()}"
        self.program = directory / "criu"

    def write(self) -> None:
        """Write the program that is to be run instead of CRIU."""
        self.program.write_text(
            f"""#!/bin/sh
            [ "$1" = lazy-pages ] && [ -d {self._cgroup} ] && echo $$ >{self._cgroup}/cgroup.procs
            exec {criu_program()} "$@"
            """
        )
        self.program.chmod(0o755)

    def hold(self) -> None:
        """Let them practically stand still from now on."""
        self._bound(1_000_000)

    def release(self) -> None:
        self._bound(None)

    def _bound(self, period: int | None) -> None:
        """Grant one millisecond in `period` microseconds; it never is without a bound in between."""
        if self._v1:
            if period:
                (self._cgroup / "cpu.cfs_period_us").write_text(str(period))
            (self._cgroup / "cpu.cfs_quota_us").write_text("1000" if period else "-1")
        else:
            (self._cgroup / "cpu.max").write_text(f"1000 {period}" if period else "max")

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        self._bound(100_000)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        eventually(lambda: not (self._cgroup / "cgroup.procs").read_text(), "it runs on")
        self._cgroup.rmdir()


def serving(agent: Daemon) -> int:
    """Return the session that the program which gives the container its memory is in, and leads."""
    return int((agent.state / f"bundles/{NS}/light/lazy-pages.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def braking(tmp_path_factory: pytest.TempPathFactory) -> Brake:
    need_criu()
    made = Brake(tmp_path_factory.mktemp("brake"))
    made.write()
    return made


@pytest.fixture(scope="module")
def agent(braking: Brake) -> Iterator[Daemon]:
    with checkpointing_daemon(str(braking.program)) as daemon:
        found = {item["name"]: item for item in daemon.get("/v1/info")["capabilities"]}
        if not found["lazy-restore"]["available"]:
            pytest.skip(found["lazy-restore"]["reason"])
        yield daemon


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def desired(
    agent: Daemon, place: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A heavy program, of which there is a checkpoint."""
    layout = ImageLayout(tmp_path_factory.mktemp("heavy") / "layout")
    builder = busybox_files(LayerBuilder()).symlink("lib", "usr/lib").symlink("lib64", "usr/lib64")
    layout.tag("1", layout.add_image([builder.layer("")], {"Env": ["PATH=/bin:/usr/bin"]}))
    image = registry.push(layout, "1", "lazy/usr:1")
    agent.put(f"/v1/{NS}/images", {"reference": image, "plain_http": True})
    wanted = {
        "image": image, "args": ["/usr/bin/python3", "-c", HEAVY],
        "mounts": [USR, {"target": "/out", "source": str(place)}],
    }  # fmt: skip
    agent.put(f"/v1/{NS}/containers/heavy", wanted)
    eventually(lambda: number(place) > 0)
    agent.post(f"/v1/{NS}/containers/heavy/checkpoint", {"image": IMAGE})
    agent.delete(f"/v1/{NS}/containers/heavy", force=True)
    return wanted


@pytest.fixture
def brake(agent: Daemon, braking: Brake) -> Iterator[Brake]:
    with braking as made:
        try:
            yield made
        finally:
            agent.delete(f"/v1/{NS}/containers/light", force=True)
    assert not list(agent.root.glob("restores/*/*")), "a dump was left"


def told(place: Path) -> list[str]:
    try:
        return (place / "told").read_text().split()
    except FileNotFoundError:
        return []


def number(place: Path) -> int:
    return int((told(place) or ["0"])[0])


def status(agent: Daemon) -> str:
    return str(agent.get(f"/v1/{NS}/containers/light")["task"]["status"])


def restore(agent: Daemon, desired: dict[str, Any]) -> None:
    body = {"image": IMAGE, "id": "light", "container": desired, "lazy": True}
    agent.post(f"/v1/{NS}/checkpoints/restore", body)


def test_it_goes_on_while_its_memory_comes_and_the_agent_is_killed(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    dump = agent.root / f"restores/{NS}/light"
    last, expected = told(place)
    restore(agent, desired)
    brake.hold()
    assert dump.exists()
    assert status(agent) == "running"
    with pytest.raises(ApiError, match="still being given its memory"):
        agent.post(f"/v1/{NS}/containers/light/checkpoint", {"leave_running": True})
    agent.kill()
    agent.start()
    assert dump.exists()
    assert status(agent) == "running"
    before = number(place)
    brake.release()
    eventually(lambda: not dump.exists(), "the dump stays")
    eventually(lambda: number(place) > max(before, int(last)) + 1)
    assert told(place)[1] == expected


def test_one_that_lost_its_memory_is_ended(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    restore(agent, desired)
    brake.hold()
    seen = told(place)
    os.killpg(serving(agent), signal.SIGKILL)
    eventually(lambda: status(agent) == "stopped")
    assert told(place)[1] == seen[1], "it went on with less"


def test_one_that_lost_it_while_nobody_looked_is_ended(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    restore(agent, desired)
    brake.hold()
    agent.kill()
    os.killpg(serving(agent), signal.SIGKILL)
    agent.start()
    eventually(lambda: status(agent) == "stopped")


def test_by_the_command_line_and_removed_amid_it(
    agent: Daemon, desired: dict[str, Any], brake: Brake
) -> None:
    mounts = [
        f"{each['source']}:{each['target']}:{','.join(each.get('options', ['rw']))}"
        for each in desired["mounts"]
    ]
    options = [word for mount in mounts for word in ("-v", mount)]
    done = agent.cli("--json", "restore", "--lazy", *options, IMAGE, "light")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "light"
    brake.hold()
    group = serving(agent)
    agent.delete(f"/v1/{NS}/containers/light", force=True)  # in the midst of it
    eventually(lambda: not Path(f"/proc/{group}").exists() or zombie(group))
    agent.put(f"/v1/{NS}/containers/light", {**desired, "args": ["sleep", "1000"], "stop_timeout": 0.1})


def zombie(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True
