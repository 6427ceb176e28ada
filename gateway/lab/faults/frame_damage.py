"""What becomes of a frame that a fault replaces, or what comes beside it.

Pure, and without chance: the same frame and the same name give the same damage.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import orjson

Damage = Callable[[str], str | bytes]
"""From the frame as it was sent to the one that comes instead of it, or beside it."""

_DEEP: Final = 5000
"""Deeper than any parser recurses, and still within one message of Twilio's."""
_HUGE: Final = 20_000
"""Characters: more than one message of Twilio's may have."""

Json = dict[str, Any]


@attrs.frozen
class Spoilt(ValueError):
    """A frame is none any more: another fault was there before. Nothing can be changed in it."""


def _read(text: str) -> Json:
    try:
        frame: Any = orjson.loads(text)
    except ValueError:
        raise Spoilt from None
    if not isinstance(frame, dict):
        raise Spoilt
    return frame


def _change(change: Callable[[Json], object]) -> Damage:
    def damage(text: str) -> str:
        frame = _read(text)
        change(frame)
        return orjson.dumps(frame).decode()

    return damage


def _content(frame: Json) -> Json:
    """What a frame is about: Twilio's object of the event's name, or the model's event itself."""
    content = frame.get(str(frame.get("event")))
    return content if isinstance(content, dict) else frame


def _number(digits: str) -> Damage:
    """With another number in it; as text, since not every number can be written from a value."""

    def damage(text: str) -> str:
        frame = _read(text)
        _content(frame)["timestamp"] = "?"
        return orjson.dumps(frame).decode().replace('"?"', digits, 1)

    return damage


def _payload(change: Callable[[str], str]) -> Damage:
    def damage(frame: Json) -> None:
        content = _content(frame)
        key = next((key for key in ("payload", "delta", "audio") if key in content), "payload")
        content[key] = change(str(content.get(key, "")))

    return _change(damage)


def _beside(event: str, content: Json) -> Damage:
    """Another event of the same stream."""

    def damage(text: str) -> str:
        stream_sid = _read(text).get("streamSid", "")
        return orjson.dumps({"event": event, "streamSid": stream_sid, event: content}).decode()

    return damage


def _without_content(text: str) -> str:
    frame = _read(text)
    kept = {key: frame[key] for key in ("event", "type", "event_id", "streamSid") if key in frame}
    return orjson.dumps(kept).decode()


def _rename(frame: Json) -> None:
    frame["event" if "event" in frame else "type"] = "weather.changed"


def _other_start(text: str) -> str:
    """A `start` of another call, in the stream of this one."""
    stream_sid = _read(text).get("streamSid", "")
    start = {
        "streamSid": stream_sid,
        "accountSid": "AC" + "0" * 32,
        "callSid": "CA" + "0" * 32,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return orjson.dumps({"event": "start", "streamSid": stream_sid, "start": start}).decode()


def _to_pcm(frame: Json) -> None:
    """Let the echo of a session's settings say that mu-law was not taken on."""
    audio = frame.get("session", {}).get("audio", {})
    for way in ("input", "output"):
        if way in audio:
            audio[way]["format"] = {"type": "audio/pcm", "rate": 24000}


def _error(kind: str, code: str) -> Damage:
    error = {"type": kind, "code": code, "message": "It is not going to work.", "param": None}
    text = orjson.dumps({"type": "error", "event_id": "event_fault", "error": error}).decode()
    return lambda _: text


def _shift(base64: str) -> str:
    return b64encode(bytes((byte + 1) % 256 for byte in b64decode(base64))).decode()


def _shorten(base64: str) -> str:
    return b64encode(b64decode(base64)[:-1]).decode()


DAMAGES: Final[Mapping[str, Damage]] = {
    # What is no message at all.
    "not_json": lambda text: text[:-1],
    "not_object": lambda _: "[]",
    "deep": lambda _: "[" * _DEEP + "]" * _DEEP,
    "huge": lambda _: '{"event":"weather","x":"' + "x" * _HUGE + '"}',
    "binary": lambda text: text.encode(),
    "empty_binary": lambda _: b"",
    # What is a message, and not of the kind that it should be.
    "no_content": _without_content,
    "unknown_kind": _change(_rename),
    "new_fields": _change(lambda frame: frame.update(weather={"sunny": [True, None, 1e300]})),
    "same_key_twice": lambda text: '{"event":"weather","type":"weather",' + text[1:],
    "not_a_number": _number("NaN"),
    "big_number": _number("9" * 5000),
    # What carries audio that is none.
    "bad_base64": _payload(lambda _: "!!!!"),
    "padded_base64": _payload(lambda base64: base64.rstrip("=") + "===="),
    "empty_payload": _payload(lambda _: ""),
    "short_payload": _payload(_shorten),
    "garbled_payload": _payload(_shift),
    "null_delta": _change(lambda frame: _content(frame).update(delta=None)),
    # What a phone says at the wrong time, or too often.
    "key": _beside("dtmf", {"track": "inbound_track", "digit": "5"}),
    "unknown_mark": _beside("mark", {"name": "weather"}),
    "stop": _beside("stop", {}),
    "other_start": _other_start,
    # What a model says.
    "other_format": _change(_to_pcm),
    "refused": _error("invalid_request_error", "invalid_value"),
    "server_error": _error("server_error", "internal_error"),
    "rate_limited": _error("rate_limit_error", "rate_limit_exceeded"),
}
"""By name: the `detail` of a fault that corrupts or injects on a line."""


def truncated(frame: str | bytes) -> str | bytes:
    """The first half of a frame."""
    return frame[: len(frame) // 2]
