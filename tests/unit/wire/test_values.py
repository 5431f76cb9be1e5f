from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import wire
from tricorn.errors import InvalidArgument


def test_packages_hand_out_messages_and_enums():
    images = wire.package("containerd.services.images.v1")
    request = images.CreateImageRequest(image=images.Image(name="a", target={"digest": "sha256:0"}))
    assert images.CreateImageRequest.FromString(request.SerializeToString()).image.target.digest == "sha256:0"
    kind = wire.package("containerd.services.snapshots.v1").Kind
    assert (kind.COMMITTED, kind.Name(2)) == (3, "ACTIVE")
    assert wire.message("containerd.services.containers.v1.Container.Runtime")(name="runc").name == "runc"


def test_wrong_names_are_refused():
    with pytest.raises(AttributeError, match=r"no message or enum containerd\.services\.images\.v1\.Pod"):
        _ = wire.package("containerd.services.images.v1").Pod
    for look_up in (wire.message, wire.enum, wire.service):
        with pytest.raises(KeyError):
            look_up("containerd.nothing.Here")


def test_any_bears_the_bare_name():
    event = wire.message("containerd.events.TaskStart")(container_id="web", pid=7)
    packed = wire.any_of(event)
    assert packed.type_url == "containerd.events.TaskStart"
    assert wire.unpack(packed) == event
    packed.type_url = "type.googleapis.com/containerd.events.TaskStart"
    assert wire.unpack(packed) == event


@pytest.mark.parametrize(
    ("url", "value", "field"),
    [
        ("containerd.events.Nothing", b"", "type_url"),
        ("", b"", "type_url"),
        ("containerd.events.TaskStart", b"\xff\xff", "value"),
    ],
)
def test_what_cannot_be_unpacked_is_an_invalid_argument(url, value, field):
    with pytest.raises(InvalidArgument) as caught:
        wire.unpack(wire.message("google.protobuf.Any")(type_url=url, value=value))
    assert caught.value.field == field


@given(
    st.datetimes(
        datetime(1, 1, 3),  # noqa: DTZ001 - hypothesis wants bounds without a zone
        datetime(9999, 12, 30),  # noqa: DTZ001 - as above
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))]),
    )
)
def test_times_survive(moment):
    never = moment == datetime(1970, 1, 1, tzinfo=UTC)  # an unset field looks the same
    assert wire.datetime_of(wire.timestamp(moment)) == (None if never else moment)


def test_never_is_the_year_one_as_in_go_and_an_unset_time_is_never():
    assert wire.timestamp(None).ToJsonString() == "0001-01-01T00:00:00Z"
    assert wire.datetime_of(wire.timestamp(None)) is None
    assert wire.datetime_of(wire.message("containerd.types.Envelope")().timestamp) is None
    with pytest.raises(InvalidArgument):
        wire.datetime_of(wire.message("google.protobuf.Timestamp")(seconds=10**15))
