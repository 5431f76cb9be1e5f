"""Containers whose memory goes ahead of them, in rounds: CRIU's own where the kernel tracks dirty memory."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.criu import need_criu
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.lazy import heavy_image
from tricorn_testing.migrating import NS, Pair, migrating_pair
from tricorn_testing.paths import found, short_directory
from tricorn_testing.precopy import MIB, changing_container, programs, tracks
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
SIZE = 24  # MiB
PATIENCE = 600.0  # seconds: this is run in a machine without hardware of its own, too


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with short_directory() as made:
        made.chmod(0o777)  # for the root of a user namespace, too
        yield made


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def pair(place: Path, stand_in: Path) -> Iterator[Pair]:
    need_criu()
    criu, runc = programs(stand_in)
    rule = f'mounts = ["/usr", "{place}"]\nids = ["100000:65536"]\n'
    with migrating_pair(rule, source_criu=criu, source_runc=runc) as made:
        yield made


@pytest.fixture(scope="module")
def image(pair: Pair, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = heavy_image(registry, tmp_path_factory.mktemp("heavy"))
    pair.source.put(f"/v1/{NS}/images", {"reference": made, "plain_http": True}, timeout=PATIENCE)
    return made


@pytest.fixture
def name(pair: Pair, image: str, place: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container that runs at the source and changes its memory."""
    made = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-40:].strip("-")
    for file in ("told", "new"):  # another user's
        (place / file).unlink(missing_ok=True)
    wanted = changing_container(image, place, SIZE) | getattr(request, "param", {})
    for agent in pair.both:
        agent.directory.chmod(0o711)  # it has to pass
    pair.source.put(f"/v1/{NS}/containers/{made}", wanted, timeout=PATIENCE)
    goes_on(place)
    yield made
    for agent in pair.both:
        if agent.process is None:
            agent.start()
        try:
            agent.delete(f"/v1/{NS}/containers/{made}", force=True, timeout=PATIENCE)
        except ApiError as error:
            assert error.status == 404  # noqa: PT017 - in a fixture's end


def goes_on(place: Path) -> None:
    """Wait until it has told twice more what is in its memory, which is what it wrote there."""

    def number() -> int:
        try:
            found, wrong = (place / "told").read_text().split()
        except FileNotFoundError:
            return 0
        assert wrong == "0", "its memory isn't what it wrote"
        return int(found)

    before = number()
    eventually(lambda: number() > before + 1, "it stands still", PATIENCE)


def one_copy(pair: Pair, name: str, where: Daemon) -> None:
    """Wait until all is settled; exactly one copy runs then, on `where`, and nothing of its memory lies about."""

    def settled() -> bool:
        states = {item["state"] for agent in pair.both for item in pair.migrations(agent)}
        return states <= {"done", "failed", "refused", "running"}

    eventually(settled, "a migration stays unsettled", PATIENCE)
    other = next(agent for agent in pair.both if agent is not where)
    assert (pair.status(where, name), pair.status(other, name)) == ("running", "")
    for agent in pair.both:
        left = [*found(agent.root, "migrations/*"), *found(agent.root, "restores/*/*")]
        eventually(lambda left=left: not any(map(Path.exists, left)), "memory was left", PATIENCE)


def need_tracking() -> None:
    if not tracks():
        pytest.skip("this kernel doesn't track dirty memory: `make test-guest` tries it on one that does")


def migrate(pair: Pair, name: str, **wanted: Any) -> dict[str, Any]:
    """Migrate a container, and return the report."""
    return dict(pair.migrate(name, timeout=PATIENCE, **wanted)["report"])


def test_most_memory_goes_before_it_stands_still(pair: Pair, name: str, place: Path) -> None:
    done = pair.source.cli("--json", "migrate", name, "--to", "there", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    print(report)
    one_copy(pair, name, pair.target)
    goes_on(place)
    assert (report["rounds"], report["precopy"]) == (2, "")
    first, second = report["round_bytes"]
    assert first >= SIZE * MIB
    assert second < first / 2
    if tracks():
        assert report["dump_bytes"] < first / 2


@pytest.mark.parametrize(
    "name", [{"uid_map": ["0:100000:65536"], "gid_map": ["0:100000:65536"]}], indirect=True, ids=["mapped"]
)
def test_one_in_a_user_namespace_finds_the_memory_that_went_ahead(pair: Pair, name: str, place: Path) -> None:
    need_tracking()
    assert migrate(pair, name)["rounds"] == 2
    one_copy(pair, name, pair.target)
    goes_on(place)


def test_what_went_ahead_is_given_to_one_that_runs_before_it_has_its_memory(
    pair: Pair, name: str, place: Path
) -> None:
    need_tracking()
    report = migrate(pair, name, lazy=True, rounds=1)
    assert (report["rounds"], report["precopy"]) == (1, "")
    one_copy(pair, name, pair.target)
    goes_on(place)


def test_a_round_that_fails_leaves_all_memory_to_the_freeze(pair: Pair, name: str, place: Path) -> None:
    pair.target.restart(TRICORN_FAILPOINTS="arrival.round=1*off->1*error(no room)->off")
    report = migrate(pair, name)
    one_copy(pair, name, pair.target)
    goes_on(place)
    assert (report["rounds"], report["round_bytes"]) == (0, [])
    assert report["precopy"].startswith("round 2 failed: failpoint arrival.round: no room")
    assert report["dump_bytes"] >= SIZE * MIB


def test_whoever_dies_amid_the_rounds_it_goes_on_at_the_source(pair: Pair, name: str, place: Path) -> None:
    pair.target.restart(TRICORN_FAILPOINTS="arrival.round=kill")
    assert dies(pair, name, pair.target)
    pair.target.start()
    pair.source.restart(TRICORN_FAILPOINTS="departure.predumped=kill")
    assert dies(pair, name, pair.source)
    pair.source.start()
    one_copy(pair, name, pair.source)
    goes_on(place)


def dies(pair: Pair, name: str, agent: Daemon) -> bool:
    """Migrate it; return whether that failed, and was the end of an agent."""
    try:
        report = migrate(pair, name)
    except (ApiError, OSError, http.client.HTTPException):
        return agent.wait_exit(PATIENCE) == -9
    print(report)
    return False


def test_where_the_runtime_refuses_it_is_frozen_with_all_of_its_memory(
    pair: Pair, name: str, place: Path, stand_in: Path
) -> None:
    if tracks():
        pytest.skip("this kernel tracks dirty memory: runc doesn't refuse")
    (stand_in / "refuse").touch()
    try:
        report = migrate(pair, name, rounds=3)
    finally:
        (stand_in / "refuse").unlink()
    one_copy(pair, name, pair.target)
    goes_on(place)
    assert report["rounds"] == 0
    assert report["precopy"].startswith(f"round 1 failed: container {name} can't be dumped")
