"""What crosses a socket of a call, in the few words a flight log has for it.

Pure. A tap is told at both sockets: what came in when it was read, what went out when the socket
took it. Audio is told by its length in bytes of mu-law, or as base64 where the tap wants to have
it. No token, key or header is ever told.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import attrs
import orjson

from actors.errors import PeerGone, SessionRefused
from actors.messages import (
    AppendAudio,
    CallerAudio,
    CarrierOrder,
    Clear,
    KeyPressed,
    Mark,
    MarkEchoed,
    Play,
    StreamStopped,
)
from actors.wire import openai, twilio

Place = Literal[
    "phone.in",
    "phone.out",
    "phone.closed",
    "phone.hang_up",
    "model.connect",
    "model.in",
    "model.out",
    "model.closed",
    "tool",
    "call",
    "flight",
    "line",
    "voice",
]
"""Where something crossed. `flight` is what the log says about itself; `line` and `voice` are what
the gateway said that no session made."""

Content = list[object] | str | orjson.Fragment
"""A list that begins with a word, the text of an event that is no JSON, or an event's own JSON."""

HIDDEN: Final = "hidden"
"""In place of a key that is nobody's business."""

UNREADABLE: Final = 200
"""Characters of an event that cannot be read that are kept. What is cut still cannot be read."""

SECRET_LEAST_CHARS: Final = 8
_KEYS: Final = frozenset({"authorization", "headers", "server_url"})
_DELICATE: Final = re.compile("payload|start|arameters|token", re.IGNORECASE)

_AUDIO: Final = re.compile(r'("delta"\s*:\s*)"[A-Za-z0-9+/=]*"')
_CLIENT_SECRET: Final = re.compile(r'("client_secret"\s*:\s*)("[^"]*"|\{[^{}]*\})')


class Tap(Protocol):
    """Whoever wants to know what crosses a socket."""

    @property
    def with_audio(self) -> bool:
        """Whether audio itself is wanted, and not only its length."""

    def note(self, place: Place, content: Content) -> None:
        """Be told. Returns at once and never raises: it stands in the way of the audio."""


class Flight(Tap, Protocol):
    """A tap that keeps what it is told of one call.

    Resource handling: whoever makes it starts `run`; who runs the call says `begin` and `aclose`.
    """

    def note(self, place: Place, content: Content, session: int = 1) -> None:
        """See `Tap`.

        Args:
            place: Where it crossed.
            content: What it was.
            session: Which of the call's connections to a model it is about, counted from 1.

        """

    def begin(self, header: bytes) -> None:
        """The call has begun: what was noted so far and what follows is worth keeping."""

    async def run(self) -> None:
        """Put away what was noted, from time to time. Runs until cancelled."""

    async def aclose(self) -> None:
        """Put away the rest. Idempotent; never raises but `Cancelled`."""


@attrs.frozen(eq=False)
class OfSession:
    """A flight log, as one of several connections to a model knows it. Fits `Flight`."""

    flight: Flight
    session: int

    @property
    def with_audio(self) -> bool:
        """See `Tap`."""
        return self.flight.with_audio

    def note(self, place: Place, content: Content, session: int = 1) -> None:
        """See `Tap`."""
        del session
        self.flight.note(place, content, self.session)

    def begin(self, header: bytes) -> None:
        """See `Flight`."""
        self.flight.begin(header)

    async def run(self) -> None:
        """See `Flight`."""
        await self.flight.run()

    async def aclose(self) -> None:
        """See `Flight`."""
        await self.flight.aclose()


@attrs.define(eq=False)
class Sessions:
    """Numbers the connections of one call for its flight log."""

    flight: Flight | None
    _opened: int = attrs.field(default=0, init=False)

    def next(self) -> Flight | None:
        """The log of the next one. `None`: there is none."""
        self._opened += 1
        return None if self.flight is None else OfSession(self.flight, self._opened)


def from_phone(frame: twilio.Frame, *, with_audio: bool, keys_hidden: bool = False) -> list[object]:
    """What a frame of the carrier's is called in a log.

    Args:
        frame: As it was read.
        with_audio: Whether audio itself is wanted.
        keys_hidden: The caller types what is nobody's business: some lines carry its tones, too.

    """
    match frame:
        case CallerAudio(payload, ulaw, line_ms):
            return ["media", line_ms, payload if with_audio and not keys_hidden else len(ulaw)]
        case KeyPressed() if keys_hidden:
            return ["dtmf", HIDDEN]
        case MarkEchoed(name):
            return ["mark", name]
        case KeyPressed(digit):
            return ["dtmf", digit]
        case StreamStopped():
            return ["stop"]
        case twilio.Connected():
            return ["connected"]
        case twilio.Unrecognised(event):
            return ["other", event]
        case twilio.Start():
            # Without its parameters: one of them is the stream's token.
            sids = [frame.stream_sid, frame.account_sid, frame.call_sid]
            return ["start", *sids, frame.encoding, frame.sample_rate_hz, frame.channels]


def malformed(text: str, what: str) -> list[object]:
    """A message of the carrier's that cannot be read, and what is wrong with it.

    Its text is left out where it is long, or may hold audio, or the token of the stream.
    """
    is_harmless = len(text) <= UNREADABLE and not _DELICATE.search(text)
    return ["malformed", len(text), what, text if is_harmless else ""]


def to_phone(order: CarrierOrder, *, with_audio: bool) -> list[object]:
    """What an order to the carrier is called in a log."""
    match order:
        case Play(ulaw):
            return ["play", b64encode(ulaw).decode("ascii") if with_audio else len(ulaw)]
        case Mark(name):
            return ["mark", name]
        case Clear():
            return ["clear"]


def from_model(
    text: str | bytes, event: openai.ServerEvent | None, *, with_audio: bool
) -> str | orjson.Fragment:
    """An event of the model's as a log has it: its own JSON; its text where it cannot be read.

    Args:
        text: As it came.
        event: What it was read as; `None`: it could not be read.
        with_audio: Whether the audio stays in it. Else its length is in its place.

    """
    plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
    match event:
        case None:
            return _CLIENT_SECRET.sub(r"\g<1>null", plain[:UNREADABLE])
        case openai.AudioDelta(response_id, item_id, delta) if not with_audio:
            plain, found = _AUDIO.subn(rf"\g<1>{len(delta)}", plain)
            if found != 1:  # Base64 may be escaped in JSON, and a key may come twice.
                shape = {"type": openai.TAGS[openai.AudioDelta], "response_id": response_id}
                plain = orjson.dumps({**shape, "item_id": item_id, "delta": len(delta)}).decode()
        case openai.SessionCreated() | openai.SessionUpdated():
            plain = _without_keys(_CLIENT_SECRET.sub(r"\g<1>null", plain))
        case _:
            pass
    # A log has one line per event; in JSON that was read, a line break is between tokens.
    return orjson.Fragment(plain.replace("\n", " ").replace("\r", " "))


def to_model(text: str, audio: AppendAudio | None, *, with_audio: bool) -> Content:
    """An event to the model as a log has it: its own JSON, and in short if it is audio."""
    if audio is None:
        return orjson.Fragment(_without_keys(text))
    return ["append", audio.payload if with_audio else base64_bytes(audio.payload)]


def _without_keys(text: str) -> str:
    """What a session is, or is to be, without the keys to the servers of tools that it asks."""
    if '"mcp"' not in text:
        return text
    event = orjson.loads(text)
    session = event.get("session")
    tools = session.get("tools") if isinstance(session, dict) else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            for key in _KEYS & tool.keys():
                held = tool[key]
                tool[key] = dict.fromkeys(held, HIDDEN) if isinstance(held, dict) else HIDDEN
    return orjson.dumps(event).decode()


def without(secrets: Sequence[str], text: str | bytes) -> str | bytes:
    """A text without what must not be seen, if that is long enough not to be there by chance."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
    for secret in secrets:
        if len(secret) >= SECRET_LEAST_CHARS and secret in plain:
            plain = text = plain.replace(secret, HIDDEN)
    return text


@attrs.define(eq=False)
class Unsent:
    """Around the sending of one message: notes that its peer did not take it, and why.

    A peer that is gone is told of by whoever finds out.
    """

    _note: Callable[[Place, Content], None]
    _place: Place
    _now_s: Callable[[], float]
    _began_s: float = attrs.field(default=0.0, init=False)

    def __enter__(self) -> None:
        self._began_s = self._now_s()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, PeerGone | SessionRefused):
            return
        if issubclass(kind, Exception):  # A bug. Not its words.
            self._note(self._place, ["raised", kind.__name__])
        else:  # It waited until it had no more time, or nobody wanted to wait.
            waited_ms = (self._now_s() - self._began_s) * 1000
            self._note(self._place, ["stalled", round(waited_ms, 3)])


def base64_bytes(payload: str) -> int:
    """How many bytes padded base64 stands for."""
    return len(payload) * 3 // 4 - payload[-2:].count("=")
