"""Progress: samples of what the work notes, for readers of any pace."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define

from tricorn import limits
from tricorn.errors import AlreadyExists, Canceled, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import DOCKER_CONFIG, DOCKER_LAYER_GZIP, OCI_INDEX, OCI_MANIFEST, Descriptor
from tricorn.model.requests import ObjectPhase, ObjectProgress
from tricorn.model.transfer import TransferEvent
from tricorn.service.operations import OperationService
from tricorn.service.progress import INTERVAL, Reporter, kind_of
from tricorn.service.transfer_progress import Parts, PushBoard
from tricorn_testing.clock import HandClock


@define
class Hand:
    """A monotonic clock that a hand moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@define
class Fetched:
    """A layer as the pull shows it."""

    descriptor: Descriptor
    phase: ObjectPhase = "wait"
    offset: int = 0
    resumed: int = 0
    unpacked: int = 0

    def progress(self) -> ObjectProgress:
        return ObjectProgress(
            str(self.descriptor.digest), "layer", self.phase, self.descriptor.size, self.offset,
            self.unpacked, self.resumed,
        )  # fmt: skip


def layer(name: str, size: int = 1000) -> Descriptor:
    return Descriptor(DOCKER_LAYER_GZIP, Digest.of(name.encode()), size)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_rates_and_times_of_an_object_and_of_the_whole(hand: Hand) -> None:
    reporter = Reporter("o", clock=hand)
    first, second = Fetched(layer("a")), Fetched(layer("b", 3000))
    reporter.watch([first, second])
    reporter.report("download")
    first.phase = "download"
    assert reporter.latest.rate == 0
    hand.now, first.offset = 101, 500
    latest = reporter.latest
    assert (latest.offset, latest.total, latest.rate, latest.eta) == (500, 4000, 500, 7)
    assert [(each.rate, each.eta) for each in latest.objects] == [(500, 1), (0, None)]
    hand.now = 200  # it stalls
    assert (reporter.latest.rate, reporter.latest.eta) == (0, None)


def test_bytes_that_were_there_make_no_rate(hand: Hand) -> None:
    reporter = Reporter("o", clock=hand)
    resumed, skipped = Fetched(layer("a")), reporter.item(layer("b", 10**9))
    reporter.watch([resumed])
    assert reporter.latest.total == 1000 + 10**9
    resumed.phase, resumed.offset, resumed.resumed = "download", 600, 600
    skipped.finish("skipped")
    hand.now = 101
    assert reporter.latest.rate == 0
    hand.now, resumed.offset = 102, 700
    latest = reporter.latest
    assert latest.offset == 700 + 10**9
    assert latest.rate < 1000
    shown = next(each for each in latest.objects if each.kind == "layer" and each.phase == "download")
    assert (shown.rate, shown.eta) == (100, 3)


def test_a_download_of_which_all_is_here_unpacks(hand: Hand) -> None:
    reporter = Reporter("o", clock=hand)
    last = Fetched(layer("a"), "download")
    reporter.watch([last])
    reporter.report("download")
    assert reporter.latest.phase == "download"
    last.phase, last.offset = "unpack", 1000
    assert reporter.latest.phase == "unpack"
    hand.now, last.unpacked = 101, 250
    assert reporter.latest.eta == 3
    last.phase = "done"
    assert reporter.latest.phase == "download"
    reporter.report("commit")
    assert reporter.latest.phase == "commit"


def test_a_reader_gets_everything_first_and_then_what_changed(hand: Hand) -> None:
    reporter = Reporter("o", clock=hand)
    items = [reporter.item(layer(name)) for name in "abc"]
    version, line = reporter.since(0)
    assert line is not None
    assert len(line.objects) == 3
    assert reporter.since(version) == (version, None)
    items[1].phase, items[1].offset = "download", 10
    version, line = reporter.since(version)
    assert line is not None
    assert [each.offset for each in line.objects] == [10]
    _, late = reporter.since(0)
    assert late is not None
    assert [each.offset for each in late.objects] == [0, 10, 0]


def test_documents_are_done_once_what_they_name_is_known() -> None:
    reporter = Reporter()
    index, manifest = (
        Descriptor(OCI_INDEX, Digest.of(b"i"), 5), Descriptor(OCI_MANIFEST, Digest.of(b"m"), 6),
    )  # fmt: skip
    reporter.named(index, None)
    reporter.named(manifest, index)
    assert [(each.kind, each.phase) for each in reporter.latest.objects] == [
        ("index", "done"),
        ("manifest", "wait"),
    ]
    reporter.settle()
    assert {each.phase for each in reporter.latest.objects} == {"done"}
    assert (kind_of(DOCKER_CONFIG), kind_of("text/x")) == ("config", "other")


def test_objects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROGRESS_OBJECTS", 3)
    reporter = Reporter()
    for number in range(9):
        reporter.item(layer(str(number))).finish()
    reporter.watch([Fetched(layer("x"))])
    assert len(reporter.latest.objects) == 3


async def test_a_flood_becomes_a_few_lines_and_the_last_state(autojump_clock: trio.testing.MockClock) -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(reporter: Reporter) -> None:
            item = reporter.item(layer("a", 10_000))
            item.phase = "download"
            for _ in range(1000):
                item.offset += 10
                reporter.report("download")
                await trio.sleep(0.001)
            item.finish()

        operation = operations.run("default", "pull", "x", work)
        lines = [line async for line in operation.progress()]
        assert len(lines) <= 1 / INTERVAL + 3
        assert lines[-1].objects[0].phase == "done"
        late = [line async for line in operation.progress()]
        assert [each.phase for each in late[0].objects] == ["done"]
        assert len(late) == 1


async def test_a_slow_reader_holds_nobody_up(autojump_clock: trio.testing.MockClock) -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(reporter: Reporter) -> float:
            begun = trio.current_time()
            for number in range(10):
                reporter.report("step", str(number))
                await trio.sleep(0.2)
            return trio.current_time() - begun

        operation = operations.run("default", "pull", "x", work)
        seen = []
        async for line in operation.progress():
            seen.append(line.message)
            await trio.sleep(60)
        assert operation.view().result == pytest.approx(2.0)
        assert seen == ["", "9"]


async def test_work_of_a_caller_is_an_operation_as_any_other() -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(reporter: Reporter) -> int:
            assert operations.get("default", "chosen-by-me").view().state == "running"
            reporter.report("read", offset=1, total=1)
            return 7

        assert await operations.attend("default", "import", "x", work, identity="chosen-by-me") == 7
        assert operations.get("default", "chosen-by-me").view().result == 7
        with pytest.raises(AlreadyExists):
            await operations.attend("default", "import", "x", work, identity="chosen-by-me")
        with pytest.raises(InvalidArgument):
            await operations.attend("default", "import", "x", work, identity="../x")

        async def failing(_: Reporter) -> None:
            raise NotFound("nothing")

        with pytest.raises(NotFound):
            await operations.attend("default", "import", "x", failing, identity="failing-one")
        assert operations.get("default", "failing-one").view().state == "failed"


async def test_work_of_a_caller_ends_by_its_id_and_with_its_caller() -> None:
    async with OperationService.open(HandClock()) as operations, trio.open_nursery() as nursery:

        async def work(_: Reporter) -> None:
            await trio.sleep_forever()

        async def refused() -> None:
            with pytest.raises(Canceled):
                await operations.attend("default", "import", "x", work, identity="by-its-id")

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        operations.get("default", "by-its-id").cancel()
        with trio.move_on_after(0):
            await operations.attend("default", "import", "x", work, identity="with-the-caller")
        for identity in ("by-its-id", "with-the-caller"):
            assert (await operations.get("default", identity).wait()).state == "cancelled"


async def test_a_push_in_the_words_of_containerd() -> None:
    events: list[TransferEvent] = []
    reporter, manifest = Reporter(), Descriptor(OCI_MANIFEST, Digest.of(b"m"), 6)
    board = PushBoard(reporter, parts := Parts("image", events.append))
    board.known(manifest, None)
    for name in "ab":
        board.known(layer(name), manifest)
    async with parts.following(reporter):
        board.sent(layer("a"), 400)
        parts.show(reporter.latest)
        board.done(layer("a"), "pushed")
        board.done(layer("b"), "mounted")
        board.done(manifest, "pushed")
    of_layer = [(each.event, each.progress) for each in events if each.name == f"layer-{layer('a').digest}"]
    assert of_layer == [("waiting", 0), ("uploading", 400), ("complete", 1000)]
    assert [each.event for each in events][-1] == "mounted"
    assert events[1].parents == (f"manifest-{manifest.digest}",)
