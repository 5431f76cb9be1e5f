"""Namespaces, images, containers, tasks, intents: the rules of containerd's metadata."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import (
    AnyValue,
    Container,
    Image,
    ProcessIdentity,
    Snapshot,
    SnapshotKind,
    Task,
    TaskStatus,
)
from tricorn.model.stdio import Stdio
from tricorn.store.transaction import Transaction

ONE = Digest.of(b"one")
TWO = Digest.of(b"two")


def image(name: str = "docker.io/library/a:1", digest: Digest = ONE, **labels: str) -> Image:
    target = Descriptor("application/vnd.oci.image.index.v1+json", digest, 7, Platform(), {"k": "v"})
    return Image(name, target, labels)


def container(id: str = "web", **changes) -> Container:
    return evolve(Container(id, image="a", runtime="crun", spec=b'{"x":1}'), **changes)


def topics(tx: Transaction, since: int = 0) -> list[str]:
    return [event.topic for event in tx.events.page(since).events]


class TestNamespaces:
    def test_a_write_creates_its_namespace_and_says_so(self, tx: Transaction) -> None:
        tx.images.create("team", image())
        assert tx.namespaces.get("team").created_at == tx.now
        assert topics(tx) == ["/namespaces/create", "/images/create"]

    @pytest.mark.parametrize("name", ["version", "", "a/b", "a b", "-a", "x" * 77])
    def test_names_are_checked(self, tx: Transaction, name: str) -> None:
        with pytest.raises(InvalidArgument):
            tx.namespaces.ensure(name)

    def test_labels_merge_and_empty_deletes(self, tx: Transaction) -> None:
        tx.namespaces.create("team", {"a": "1", "b": "2"})
        assert tx.namespaces.update("team", {"a": "", "c": "3"}).labels == {"b": "2", "c": "3"}
        assert tx.namespaces.get("team").labels == {"b": "2", "c": "3"}
        assert topics(tx)[-1] == "/namespaces/update"

    def test_deletion_names_what_is_left(self, tx: Transaction) -> None:
        tx.images.create("team", image())
        tx.leases.create("team", "l")
        tx.ingests.open("team", "ref", 0, None)
        tx.content.create("team", ONE, 3)
        tx.containers.create("team", container())
        tx.snapshots.create("team", Snapshot("overlay", "k", SnapshotKind.ACTIVE, "1"))
        with pytest.raises(FailedPrecondition) as caught:
            tx.namespaces.delete("team")
        for kind in ("images", "containers", "snapshots", "content", "leases", "ingests"):
            assert f"{kind} (1)" in caught.value.why

    def test_an_empty_one_goes(self, tx: Transaction) -> None:
        tx.namespaces.create("team")
        tx.namespaces.delete("team")
        assert tx.namespaces.list() == []
        with pytest.raises(NotFound):
            tx.namespaces.delete("team")
        tx.namespaces.ensure("team")
        assert tx.namespaces.find("team")

    def test_namespaces_do_not_see_each_other(self, tx: Transaction) -> None:
        tx.images.create("one", image())
        assert tx.images.list("two") == []
        assert [name for name, _ in tx.images.list_all()] == ["one"]


class TestImages:
    def test_comes_back_as_it_went(self, tx: Transaction) -> None:
        made = tx.images.create("n", image(role="x"))
        assert tx.images.get("n", made.name) == made
        assert (made.created_at, made.updated_at) == (tx.now, tx.now)

    def test_twice_is_refused(self, tx: Transaction) -> None:
        tx.images.create("n", image())
        with pytest.raises(AlreadyExists):
            tx.images.create("n", image())

    @pytest.mark.parametrize(
        ("broken", "field"),
        [
            (image(name=""), "name"),
            (evolve(image(), target=Descriptor("m", ONE, 0)), "target.size"),
            (evolve(image(), target=Descriptor("", ONE, 1)), "target.media_type"),
            (evolve(image(), target=Descriptor("m", Digest("sha256:../../etc"), 1)), "target.digest"),
            (image(k="v" * 5000), "labels.k"),
        ],
    )
    def test_invalid_ones_are_refused(self, tx: Transaction, broken: Image, field: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            tx.images.create("n", broken)
        assert caught.value.field == field
        tx.images.create("n", image("other"))
        with pytest.raises(InvalidArgument):
            tx.images.put("n", evolve(broken, name="other" if broken.name else ""))

    def test_put_keeps_created_and_tells_only_of_changes(self, tx: Transaction, clock) -> None:
        made = tx.images.put("n", image())
        tx.session.now += 5_000_000
        newest = tx.events.newest()
        assert tx.images.put("n", image()) == made
        assert tx.events.newest() == newest
        changed = tx.images.put("n", image(digest=TWO))
        assert (changed.created_at, changed.updated_at) == (made.created_at, tx.now)
        assert tx.images.get("n", made.name) == changed
        assert topics(tx, newest) == ["/images/update"]

    def test_labels(self, tx: Transaction) -> None:
        tx.images.create("n", image(a="1", b="2"))
        assert tx.images.update_labels("n", image().name, {"a": "", "c": "3"}).labels == {"b": "2", "c": "3"}

    def test_delete_can_insist_on_the_target(self, tx: Transaction) -> None:
        tx.images.create("n", image())
        with pytest.raises(NotFound):
            tx.images.delete("n", image().name, target=TWO)
        tx.images.delete("n", image().name, target=ONE)
        with pytest.raises(NotFound):
            tx.images.delete("n", image().name)
        assert topics(tx)[-1] == "/images/delete"

    def test_filters(self, tx: Transaction) -> None:
        for number, digest in enumerate((ONE, TWO)):
            tx.images.create("n", image(f"img{number}", digest, tier=str(number)))
        listed = tx.images.list("n", ["name==img1", "labels.tier==0"])
        assert [found.name for found in listed] == ["img0", "img1"]
        assert [found.name for found in tx.images.list("n", [f"target.digest=={TWO}"])] == ["img1"]
        assert tx.images.list("n", ["target.mediatype~=nothing"]) == []


class TestContainers:
    def test_comes_back_as_it_went(self, tx: Transaction) -> None:
        made = tx.containers.create(
            "n",
            container(
                desired={"image": "a", "args": ["x"]},
                extensions={"e": AnyValue("t.E", b"\x00\xff")},
                labels={"l": "v"},
                runtime_name="io.containerd.runc.v2",
                spec=b"\xffraw",
                spec_type="t.Spec",
                runtime_options=AnyValue("t.Options", b"\x0a\x80"),
                sandbox="pod",
            ),
        )
        assert tx.containers.get("n", "web") == made
        assert tx.containers.list_all() == [("n", made)]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"id": "a b"}, "id"),
            ({"runtime": ""}, "runtime"),
            ({"spec": b""}, "spec"),
            ({"snapshot_key": "k"}, "snapshotter"),
        ],
    )
    def test_invalid_ones_are_refused(self, tx: Transaction, changes: dict, field: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            tx.containers.create("n", container(**changes))
        assert caught.value.field == field

    def test_update(self, tx: Transaction) -> None:
        made = tx.containers.create("n", container(labels={"a": "1", "b": "2"}))
        tx.session.now += 1
        new = tx.containers.update("n", "web", labels={"a": ""}, spec=b"{}", desired={"z": 1})
        assert (new.labels, new.spec, new.desired) == ({"b": "2"}, b"{}", {"z": 1})
        assert (new.created_at, new.updated_at) == (made.created_at, tx.now)
        assert tx.containers.get("n", "web") == new

    @pytest.mark.parametrize("field", ["runtime", "snapshotter"])
    def test_some_fields_never_change(self, tx: Transaction, field: str) -> None:
        tx.containers.create("n", container())
        with pytest.raises(InvalidArgument) as caught:
            tx.containers.update("n", "web", **{field: "other"})
        assert caught.value.field == field

    def test_twice_missing_and_deleted(self, tx: Transaction) -> None:
        tx.containers.create("n", container())
        with pytest.raises(AlreadyExists):
            tx.containers.create("n", container())
        tx.containers.delete("n", "web")
        for call in (tx.containers.get, tx.containers.delete, tx.containers.update):
            with pytest.raises(NotFound):
                call("n", "web")
        assert topics(tx)[1:] == ["/containers/create", "/containers/delete"]


def test_tasks_of_all_namespaces_for_recovery(tx: Transaction) -> None:
    task = Task(
        "web", TaskStatus.STOPPED, ProcessIdentity(2, 3), ProcessIdentity(4, 5), terminal=True, exit_code=137,
        exit_note="killed", oom_killed=True, boot_id="boot", stdio=Stdio("/in", "/out", "/err", terminal=True),
        created_at=tx.now, started_at=tx.now, exited_at=tx.now,
    )  # fmt: skip
    tx.tasks.put("a", task)
    made = tx.tasks.put("b", Task("db", TaskStatus.CREATED))
    assert made.created_at == tx.now
    assert tx.tasks.list_all() == [("a", task), ("b", made)]
    assert tx.tasks.list("b") == [made]
    tx.tasks.put("a", evolve(task, exit_code=1))
    assert tx.tasks.get("a", "web").exit_code == 1
    tx.tasks.delete("a", "web")
    for call in (tx.tasks.get, tx.tasks.delete):
        with pytest.raises(NotFound):
            call("a", "web")


def test_intents_live_from_begin_to_end(tx: Transaction) -> None:
    first = tx.intents.begin("n", "create", "web", {"step": 1})
    second = tx.intents.begin("n", "delete", "db")
    tx.intents.update(first.id, {"step": 2})
    assert tx.intents.list_all() == [evolve(first, data={"step": 2}), second]
    tx.intents.end(first.id)
    tx.intents.end(first.id)
    assert tx.intents.list_all() == [second]
    with pytest.raises(NotFound):
        tx.intents.update(first.id, {})
    tx.intents.end(second.id)
    assert tx.intents.begin("n", "create", "x").id > second.id


def test_events_by_cursor_and_namespace(tx: Transaction) -> None:
    for number in range(5):
        tx.events.publish(f"n{number % 2}", "/tasks/exec-added", {"n": number})
    events, oldest, newest = tx.events.page(2, "n0", 10)
    assert [(event.sequence, event.event["n"]) for event in events] == [(3, 2), (5, 4)]
    assert (oldest, newest) == (1, 5)
    assert [event.sequence for event in tx.events.page(0, None, 2).events] == [1, 2]
    tx.events.trim(2)
    assert tx.events.page(0).oldest_kept == 4
    tx.events.trim(0)
    assert tx.events.page(0) == ([], 6, 5)
    assert tx.events.publish("n", "/a", {}) == 6


@pytest.mark.parametrize("topic", ["", "tasks/start", "/", "/tasks/", "/a b", "/a//b"])
def test_malformed_topics_are_refused(tx: Transaction, topic: str) -> None:
    with pytest.raises(InvalidArgument):
        tx.events.publish("n", topic, {})


def test_who_has_a_restart_policy_or_a_health_check_whatever_their_labels_say(tx: Transaction) -> None:
    misleading = {"restart": "no"}
    for name, desired, labels in (
        ("policy", {"restart": "always", "labels": misleading, "health": None}, misleading),
        ("check", {"restart": "no", "labels": {"restart": "always"}, "health": {"tcp": 1}}, {}),
        ("client", {}, {"containerd.io/restart.status": "running"}),
        ("neither", {"restart": "no", "labels": {"health": "{"}}, misleading),
        ("older", {"image": "x"}, {}),
    ):
        tx.containers.create("n", container(id=name, desired=desired, labels=labels))
    assert [item.id for _, item in tx.containers.list_restartable()] == ["client", "policy"]
    assert [item.id for _, item in tx.containers.list_with_health()] == ["check"]
