"""Twilio Media Streams frames to values and back. Pure: no trio, no sockets, no clock.

Source: "Media Streams: WebSocket Messages", Twilio docs.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final

import attrs
import orjson

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

_DIGITS: Final = frozenset("0123456789*#ABCD")
_LONGEST_NUMBER: Final = 15
"""Digits. Fits an exact float in every JSON implementation; a stream of 31,000 years in ms."""
_LONGEST_NAME: Final = 256
"""Characters of an id or a mark's name. Twilio's ids have 34, our marks a dozen."""


@attrs.frozen
class Connected:
    """`connected`: the first message on the socket. Says nothing about the call."""


@attrs.frozen
class Start:
    """`start`: which call this stream belongs to, and how its audio is encoded."""

    stream_sid: str
    account_sid: str
    call_sid: str
    encoding: str
    sample_rate_hz: int
    channels: int
    parameters: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """`customParameters`, in the order sent. Not shown: the stream's token is one of them."""


@attrs.frozen
class Unrecognised:
    """A message to ignore: an event this version does not know, or a track it did not ask for."""

    event: str
    """Printable, and not longer than 32 characters."""


Frame = Connected | Start | CallerAudio | KeyPressed | MarkEchoed | StreamStopped | Unrecognised


def decode(text: str) -> Frame:
    """Read one message.

    Numbers may come as digit strings (as documented) or as JSON numbers (as some gateways that
    speak this protocol send them). Unknown events and unknown fields are tolerated.

    Raises:
        ProtocolError: Not JSON, or an event we know without the fields we need.

    """
    message = _parse(text)
    event = _text(message, "event", "")
    match event:
        case "media":
            return _media(_object(message, "media", ""))
        case "mark":
            return MarkEchoed(_text(_object(message, "mark", ""), "name", "mark."))
        case "dtmf":
            return _key(_object(message, "dtmf", ""))
        case "stop":
            return StreamStopped()
        case "start":
            return _start(message)
        case "connected":
            return Connected()
        case _:
            return Unrecognised("".join(filter(str.isprintable, event))[:32])


def encode(order: CarrierOrder, stream_sid: str) -> str:
    """Write one order as a text frame."""
    body: dict[str, Any]
    match order:
        case Play(ulaw):
            body = {"event": "media", "media": {"payload": b64encode(ulaw).decode("ascii")}}
        case Mark(name):
            body = {"event": "mark", "mark": {"name": name}}
        case Clear():
            body = {"event": "clear"}
    return orjson.dumps({**body, "streamSid": stream_sid}).decode()


def _media(media: dict[str, Any]) -> CallerAudio | Unrecognised:
    if media.get("track", "inbound") != "inbound":
        return Unrecognised("media")
    payload = _text(media, "payload", "media.", longest=None)
    try:
        ulaw = b64decode(payload, validate=True)
    except ValueError as error:
        raise ProtocolError("carrier", "media.payload is not base64") from error
    # Strict decoding still lets `AAAA====` and stray bits in the last character through; both
    # would travel on to the model as they are.
    if b64encode(ulaw).decode("ascii") != payload:
        raise ProtocolError("carrier", "media.payload is not canonical base64")
    if not ulaw:
        raise ProtocolError("carrier", "media.payload is empty")
    return CallerAudio(payload, ulaw, _number(media, "timestamp", "media."))


def _key(dtmf: dict[str, Any]) -> KeyPressed:
    digit = _text(dtmf, "digit", "dtmf.")
    if digit not in _DIGITS:
        raise ProtocolError("carrier", "dtmf.digit is not a key of a telephone")
    return KeyPressed(digit)


def _start(message: dict[str, Any]) -> Start:
    start = _object(message, "start", "")
    media_format = _object(start, "mediaFormat", "start.")
    parameters = start.get("customParameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise ProtocolError("carrier", "start.customParameters is not an object")
    if not all(isinstance(value, str) for value in parameters.values()):
        raise ProtocolError("carrier", "start.customParameters holds something that is not text")
    return Start(
        stream_sid=_text(start, "streamSid", "start."),
        account_sid=_text(start, "accountSid", "start."),
        call_sid=_text(start, "callSid", "start."),
        encoding=_text(media_format, "encoding", "start.mediaFormat."),
        sample_rate_hz=_number(media_format, "sampleRate", "start.mediaFormat."),
        channels=_number(media_format, "channels", "start.mediaFormat."),
        parameters=tuple(parameters.items()),
    )


def _parse(text: str) -> dict[str, Any]:
    try:
        message = orjson.loads(text)
    except ValueError as error:
        # Its length and not its text: it may be what somebody said on the phone.
        raise ProtocolError("carrier", f"{len(text)} characters are not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("carrier", "the message is not an object")
    return message


def _object(parent: dict[str, Any], key: str, prefix: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise ProtocolError("carrier", f"{prefix}{key} is {_lack(value)} an object")
    return value


def _text(
    parent: dict[str, Any], key: str, prefix: str, longest: int | None = _LONGEST_NAME
) -> str:
    value = parent.get(key)
    if not isinstance(value, str):
        raise ProtocolError("carrier", f"{prefix}{key} is {_lack(value)} text")
    if longest is not None and len(value) > longest:
        raise ProtocolError("carrier", f"{prefix}{key} is longer than {longest} characters")
    return value


def _number(parent: dict[str, Any], key: str, prefix: str) -> int:
    value = parent.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        digits = value
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        digits = str(value)
    else:
        raise ProtocolError("carrier", f"{prefix}{key} is {_lack(value)} a whole number")
    if len(digits) > _LONGEST_NUMBER:
        raise ProtocolError("carrier", f"{prefix}{key} has more than {_LONGEST_NUMBER} digits")
    return int(digits)


def _lack(value: object) -> str:
    return "missing, and should be" if value is None else "not"
