"""Events between the journal's JSON and containerd's messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tricorn import wire
from tricorn.api.grpc.event_payloads import TYPES, envelope, packed, unpacked
from tricorn.model.records import Event

WHEN = datetime(2026, 11, 22, 7, 5, 1, 25, tzinfo=UTC)


def test_every_topic_stands_for_a_message_that_there_is():
    for name in TYPES.values():
        assert wire.message(name)


def test_our_own_events_get_their_topics_message():
    body = {"container_id": "web", "id": "web", "pid": 7, "exit_status": 137, "exited_at": WHEN.isoformat()}
    sent = envelope(Event(1, WHEN, "n", "/tasks/exit", {**body, "note": "not on the wire"}))
    assert (sent.namespace, sent.topic) == ("n", "/tasks/exit")
    assert wire.datetime_of(sent.timestamp) == WHEN
    message = wire.unpack(sent.event)
    assert (message.DESCRIPTOR.name, message.pid, message.exit_status) == ("TaskExit", 7, 137)
    assert wire.datetime_of(message.exited_at) == WHEN


def test_what_fits_no_message_goes_as_json():
    for topic, body in (("/plants/grow", {"to": "the light"}), ("/tasks/start", {"pid": "many"})):
        sent = packed(topic, body)
        assert sent.type_url == "tricorn.Event"
        assert next(iter(body.values())) in sent.value.decode()


@pytest.mark.parametrize(
    ("topic", "message", "kept"),
    [
        ("/tasks/start", "containerd.events.TaskStart", {"container_id": "web", "pid": 7}),
        ("/my/own", "containerd.events.TaskStart", {"@type": "containerd.events.TaskStart", "pid": 7}),
        ("/images/create", "containerd.services.images.v1.ImageCreate", {"name": "a", "labels": {"b": "c"}}),
    ],
)
def test_clients_events_are_kept_readable(topic, message, kept):
    fields = {key: value for key, value in kept.items() if not key.startswith("@")}
    event = wire.any_of(wire.message(message)(**fields))
    assert unpacked(topic, event) == kept
    assert packed(topic, unpacked(topic, event)) == event


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("example.org/some.Thing", b"\x08\x01\xff"),
        ("containerd.events.TaskStart", b"\xff\xff"),
        ("containerd.events.TaskStart", b"\x0a\x03web\xfa\x7f\x01x"),  # with a field that we don't know
        ("type.googleapis.com/containerd.events.TaskStart", b"\x0a\x03web"),
        ("", b""),
    ],
)
def test_others_are_kept_byte_for_byte(url, value):
    event = wire.message("google.protobuf.Any")(type_url=url, value=value)
    again = packed("/tasks/start", unpacked("/tasks/start", event))
    assert (again.type_url, again.value) == (url, value)


def test_an_any_of_an_unknown_type_within_an_event_survives():
    options = wire.message("google.protobuf.Any")(type_url="example.org/Options", value=b"\x00\x01")
    created = wire.message("containerd.events.ContainerCreate")(id="web", runtime={"options": options})
    event = wire.any_of(created)
    assert packed("/containers/create", unpacked("/containers/create", event)) == event


def test_the_count_of_kills_is_not_for_containerds_message() -> None:
    found = packed("/tasks/oom", {"container_id": "c", "count": 3})
    assert found.type_url == "containerd.events.TaskOOM"
    assert (
        wire.message_of("containerd.events.TaskOOM", {"container_id": "c"}).SerializeToString() == found.value
    )
