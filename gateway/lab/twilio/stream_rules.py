"""What Twilio takes from a media stream's server, and what it drops with a warning.

Pure. As strict as the real one: a closed set of keys, and no guessing at what was meant.
Source: "Media Streams: WebSocket Messages" and the pages of warnings 31950 and 31951, Twilio docs.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import attrs
import orjson

from actors.messages import CarrierOrder, Clear, Mark, Play

MALFORMED_MESSAGE: Final = 31950
"""A binary frame."""
INVALID_MESSAGE: Final = 31951
"""Bad JSON, unknown event, extra or missing field, another stream's id."""


@attrs.frozen
class StreamFault(Exception):
    """The server sent what Twilio drops."""

    code: int
    what: str
    """What was wrong and where. Never quotes a payload."""

    def __str__(self) -> str:
        return f"{self.code}: {self.what}"


def read_order(frame: str | bytes, stream_sid: str) -> CarrierOrder:
    """Read one frame from the server. A `Play` may have any length here.

    Raises:
        StreamFault: Twilio would drop it.

    """
    if isinstance(frame, bytes):
        raise StreamFault(MALFORMED_MESSAGE, "a binary frame")
    message = _object(frame)
    match message.get("event"):
        case "media":
            _keys(message, "message", {"event", "streamSid", "media"})
            order: CarrierOrder = Play(_payload(_part(message, "media", {"payload"})))
        case "mark":
            _keys(message, "message", {"event", "streamSid", "mark"})
            name = _part(message, "mark", {"name"})["name"]
            if not isinstance(name, str) or not name:
                raise StreamFault(INVALID_MESSAGE, "mark.name is not a string with content")
            order = Mark(name)
        case "clear":
            _keys(message, "message", {"event", "streamSid"})
            order = Clear()
        case str(event):
            raise StreamFault(INVALID_MESSAGE, f"unknown event {event[:40]!r}")
        case _:
            raise StreamFault(INVALID_MESSAGE, "event is missing or not a string")
    if message["streamSid"] != stream_sid:
        raise StreamFault(INVALID_MESSAGE, "streamSid is not this stream's")
    return order


def _object(text: str) -> dict[str, Any]:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StreamFault(INVALID_MESSAGE, "not JSON") from error
    if not isinstance(message, dict):
        raise StreamFault(INVALID_MESSAGE, "not a JSON object")
    return message


def _keys(value: dict[str, Any], where: str, wanted: set[str]) -> None:
    if missing := wanted - value.keys():
        raise StreamFault(INVALID_MESSAGE, f"{where} lacks {', '.join(sorted(missing))}")
    if extra := value.keys() - wanted:
        raise StreamFault(INVALID_MESSAGE, f"{where} has an extra {min(extra)[:40]!r}")


def _part(message: dict[str, Any], key: str, wanted: set[str]) -> dict[str, Any]:
    part = message[key]
    if not isinstance(part, dict):
        raise StreamFault(INVALID_MESSAGE, f"{key} is not an object")
    _keys(part, key, wanted)
    return part


def _payload(media: dict[str, Any]) -> bytes:
    payload = media["payload"]
    if not isinstance(payload, str):
        raise StreamFault(INVALID_MESSAGE, "media.payload is not a string")
    try:
        ulaw = base64.b64decode(payload, validate=True)
    except ValueError as error:  # Also what binascii raises, and what non-ASCII text raises.
        raise StreamFault(INVALID_MESSAGE, "media.payload is not base64") from error
    if not ulaw:
        raise StreamFault(INVALID_MESSAGE, "media.payload is empty")
    return ulaw
