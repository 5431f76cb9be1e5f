"""Containers that move and go on before they have their memory, whoever dies meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.criu import need_criu
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.lazy import Brake, heavy_container, heavy_image, number, serving, told, zombie
from tricorn_testing.migrating import NS, Pair, migrating_pair
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture(scope="module")
def braking(tmp_path_factory: pytest.TempPathFactory) -> Brake:
    need_criu()
    made = Brake(tmp_path_factory.mktemp("brake"))
    made.write()
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def pair(braking: Brake, place: Path) -> Iterator[Pair]:
    rule = f'mounts = ["/usr", "{place}"]\n'
    with migrating_pair(rule, criu=str(braking.program)) as made:
        yield made


@pytest.fixture(scope="module")
def desired(
    pair: Pair, place: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    image = heavy_image(registry, tmp_path_factory.mktemp("heavy"))
    pair.source.put(f"/v1/{NS}/images", {"reference": image, "plain_http": True})
    return heavy_container(image, place)


@pytest.fixture
def name(
    pair: Pair, braking: Brake, desired: dict[str, Any], place: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A heavy container that runs at the source; what will give it its memory has next to no processor time."""
    made = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-40:].strip("-")
    with braking:
        try:
            (place / "told").unlink(missing_ok=True)
            pair.source.put(f"/v1/{NS}/containers/{made}", desired)
            eventually(lambda: number(place) > 0)
            yield made
        finally:
            for agent in pair.both:
                if agent.process is None:
                    agent.start()
                try:
                    agent.delete(f"/v1/{NS}/containers/{made}", force=True)
                except ApiError as error:
                    assert error.status == 404  # noqa: PT017 - in a fixture's end
    for agent in pair.both:
        eventually(
            lambda where=agent.root: not [*found(where, "migrations/*"), *found(where, "restores/*/*")]
        )


def one_copy(pair: Pair, name: str, where: Daemon) -> None:
    """Wait until nothing is uncertain; exactly one copy runs then, on `where`."""

    def settled() -> bool:
        states = {item["state"] for agent in pair.both for item in pair.migrations(agent)}
        return states <= {"done", "failed", "refused", "running"}

    eventually(settled, "a migration stays unsettled")
    other = next(agent for agent in pair.both if agent is not where)
    assert (pair.status(where, name), pair.status(other, name)) == ("running", "")


def test_it_goes_on_while_its_memory_comes_and_the_target_is_killed(
    pair: Pair, name: str, place: Path, braking: Brake
) -> None:
    expected = told(place)[1]
    done = pair.source.cli("--json", "migrate", name, "--to", "there", "--lazy")
    assert done.returncode == 0, done.stderr
    braking.hold()
    last = number(place)
    print(json.loads(done.stdout)["report"])
    dump = pair.target.root / f"restores/{NS}/{name}"
    assert dump.exists()
    one_copy(pair, name, pair.target)
    for verb, wanted in (("migrate", {"to": "127.0.0.1:1"}), ("checkpoint", {"base": False})):
        with pytest.raises(ApiError, match="still being given its memory"):
            pair.target.post(f"/v1/{NS}/containers/{name}/{verb}", wanted)
    pair.target.kill()
    pair.target.start()
    assert dump.exists()
    one_copy(pair, name, pair.target)
    braking.release()
    eventually(lambda: not dump.exists(), "the dump stays")
    eventually(lambda: number(place) > last + 1)
    assert told(place)[1] == expected


def test_until_the_target_said_so_it_goes_on_here(pair: Pair, name: str, place: Path, braking: Brake) -> None:
    braking.write("""[ "$*" = "check --feature uffd-noncoop" ] && exit 1""")
    pair.target.restart()
    with pytest.raises(ApiError, match=r"before its memory is there.*migrate it without"):
        pair.migrate(name, lazy=True)
    braking.write()
    assert pair.migrations(pair.source)[-1]["report"]["seed_ms"] == 0, "it could have told before"

    pair.target.restart(TRICORN_FAILPOINTS="start.created=kill")
    with pytest.raises((ApiError, OSError, http.client.HTTPException)):
        pair.migrate(name, lazy=True)
    assert pair.target.wait_exit() == -9
    braking.hold()
    group = serving(pair.target.state, name)
    assert not zombie(group)
    pair.target.start()
    one_copy(pair, name, pair.source)
    assert zombie(group), "it has a copy to serve"
    last = number(place)
    eventually(lambda: number(place) > last)


def test_one_whose_memory_is_lost_is_ended(pair: Pair, name: str, braking: Brake) -> None:
    pair.migrate(name, lazy=True)
    braking.hold()
    os.killpg(serving(pair.target.state, name), signal.SIGKILL)
    eventually(lambda: pair.status(pair.target, name) == "stopped")
    assert pair.status(pair.source, name) == ""
