from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ProtocolError
from actors.messages import (
    CallerAudio,
    CarrierOrder,
    Clear,
    KeyPressed,
    Mark,
    MarkEchoed,
    Play,
    StreamStopped,
)
from actors.wire.twilio import Connected, Start, Unrecognised, decode, encode

SID = "MZ00000000000000000000000000000001"
START = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": SID,
    "start": {
        "streamSid": SID,
        "accountSid": "AC2",
        "callSid": "CA3",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "single-use"},
    },
}
FRAME = bytes(range(160))
PAYLOAD = b64encode(FRAME).decode()


def media(**fields: object) -> str:
    body = {"track": "inbound", "chunk": "1", "timestamp": "60800", "payload": PAYLOAD, **fields}
    return json.dumps({"event": "media", "streamSid": SID, "media": body})


def test_start_names_the_call() -> None:
    expected = Start(SID, "AC2", "CA3", "audio/x-mulaw", 8000, 1, (("token", "single-use"),))

    assert decode(json.dumps(START)) == expected
    assert "single-use" not in repr(expected)


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ({"event": "connected", "protocol": "Call", "version": "1.0.0"}, Connected()),
        ({"event": "mark", "mark": {"name": "r4/i2/6400"}}, MarkEchoed("r4/i2/6400")),
        ({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "#"}}, KeyPressed("#")),
        ({"event": "stop", "stop": {"callSid": "CA3"}}, StreamStopped()),
        ({"event": "stop"}, StreamStopped()),
        ({"event": "tomorrow", "tomorrow": {}}, Unrecognised("tomorrow")),
        ({"event": "\x1b[2J" + "x" * 100}, Unrecognised("[2J" + "x" * 29)),
    ],
)
def test_each_event_is_its_value(message: dict[str, Any], value: object) -> None:
    assert decode(json.dumps(message)) == value


@pytest.mark.parametrize("timestamp", ["60800", 60800])
def test_a_number_may_be_digits_or_a_number(timestamp: object) -> None:
    assert decode(media(timestamp=timestamp)) == CallerAudio(PAYLOAD, FRAME, 60800)


def test_another_track_is_ignored() -> None:
    assert decode(media(track="outbound")) == Unrecognised("media")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "0 characters are not JSON"),
        ("[1]", "the message is not an object"),
        ("{}", "event is missing, and should be text"),
        ('{"event": NaN}', "14 characters are not JSON"),
        ('{"event": 7}', "event is not text"),
        ("[" * 100_000, "100000 characters are not JSON"),
        ('{"event":"media"}', "media is missing, and should be an object"),
        ('{"event":"media","media":[]}', "media is not an object"),
        (media(payload=""), "media.payload is empty"),
        (media(payload=7), "media.payload is not text"),
        (media(payload="!!!!"), "media.payload is not base64"),
        (media(payload="AAA"), "media.payload is not base64"),
        (media(payload="AAAA===="), "media.payload is not canonical base64"),
        (media(payload="AAB="), "media.payload is not canonical base64"),
        (media(payload="é" * 4), "media.payload is not base64"),
        (media(timestamp="-1"), "media.timestamp is not a whole number"),
        (media(timestamp=-1), "media.timestamp is not a whole number"),
        (media(timestamp=True), "media.timestamp is not a whole number"),
        (media(timestamp=1.5), "media.timestamp is not a whole number"),
        (media(timestamp="٣"), "media.timestamp is not a whole number"),
        (media(timestamp=None), "media.timestamp is missing, and should be a whole number"),
        (media(timestamp="9" * 5000), "media.timestamp has more than 15 digits"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "dtmf.digit is not a key of a telephone"),
        ('{"event":"mark","mark":{}}', "mark.name is missing, and should be text"),
        ('{"event":"start","start":{}}', "start.mediaFormat is missing, and should be an object"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(text: str, what: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(text)
    assert (refused.value.peer, refused.value.what) == ("carrier", what)


def test_a_number_of_5000_digits_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode(media().replace('"60800"', "9" * 5000))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
events = st.sampled_from(["connected", "start", "media", "mark", "dtmf", "stop", "other"])


@given(st.text())
def test_any_text_is_a_value_or_a_protocol_error(text: str) -> None:
    with suppress(ProtocolError):
        decode(text)


@given(events, json_values, st.sampled_from(["callSid", "payload", "timestamp", "name", "digit"]))
def test_any_shape_is_a_value_or_a_protocol_error(event: str, body: object, key: str) -> None:
    """And the error quotes nothing of what was sent."""
    for inner in (body, {key: body}, {**START["start"], key: body}):  # type: ignore[dict-item]
        with suppress(ProtocolError):
            decode(json.dumps({"event": event, event: inner}))


orders = st.one_of(
    st.binary(min_size=1, max_size=480).map(Play), st.text(max_size=40).map(Mark), st.just(Clear())
)


@given(orders)
def test_an_order_names_its_stream_and_comes_back_as_it_was(order: CarrierOrder) -> None:
    message = json.loads(encode(order, SID))
    assert message["streamSid"] == SID

    match order:
        case Play(ulaw):
            message["media"]["timestamp"] = 0
            assert decode(json.dumps(message)) == CallerAudio(b64encode(ulaw).decode(), ulaw, 0)
        case Mark(name):
            assert decode(json.dumps(message)) == MarkEchoed(name)
        case Clear():
            assert message == {"event": "clear", "streamSid": SID}
