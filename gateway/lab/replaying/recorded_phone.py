"""The phone of a flight log: it says once more what it said then.

It is deaf but for one thing. What it echoed were names that the code of then had given; so it
echoes today's marks when it had played as much as lies before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import attrs
import orjson
import trio

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.twilio import Start
from gateway.lab.replaying.recorded import Troubles, recorded_audio, word
from gateway.records.flight_log import Entry, FlightLog
from gateway.records.tap import HIDDEN, base64_bytes
from gateway.twilio.media import LARGEST_BYTES
from gateway.web.client_socket import MESSAGE_MAX_BYTES

Json = dict[str, Any]

MarkPlace = tuple[int, int, int]
"""Where a mark is: behind so many `clear`s, so many bytes of audio since the last, and which of
the marks there. The phone passes them in this order."""

NOTHING_YET: Final[MarkPlace] = (-1, 0, 0)
NEAR_BYTES: Final = 20 * ULAW_BYTES_PER_MS
"""A mark that is so much later than then is echoed with the one of then: a frame."""


@attrs.define(eq=False)
class _Sent:
    """Counts what was sent to a phone, to know where its marks are."""

    _clears: int = 0
    _bytes: int = 0
    _marks: Counter[tuple[int, int]] = attrs.field(factory=Counter[tuple[int, int]])

    def play(self, size: int) -> None:
        self._bytes += size

    def clear(self) -> None:
        self._clears += 1
        self._bytes = 0

    def mark(self) -> MarkPlace:
        at = self._clears, self._bytes
        self._marks[at] += 1
        return (*at, self._marks[at])


@attrs.define(eq=False)
class RecordedPhone:
    """Everything at the other end of a carrier's socket: ASGI's `receive` and `send`."""

    log: FlightLog
    now_ms: Callable[[], float]
    """Since the log began."""
    receive: Callable[[], Any] = attrs.field(init=False)
    _troubles: Troubles = attrs.field(init=False)
    _to_carrier: trio.MemorySendChannel[Json] = attrs.field(init=False)
    _places_then: dict[str, MarkPlace] = attrs.field(init=False)
    """Of the marks that were sent then, by name."""
    _all_then: frozenset[MarkPlace] = attrs.field(init=False)
    _sent: _Sent = attrs.field(factory=_Sent, init=False)
    _passed: MarkPlace = attrs.field(default=NOTHING_YET, init=False)
    """The last mark that was echoed then, so far."""
    _waiting: list[tuple[MarkPlace, str]] = attrs.field(factory=list, init=False)
    """Today's marks that are not echoed yet, in order."""

    def __attrs_post_init__(self) -> None:
        self._troubles = Troubles.of(self.log, "phone")
        self._places_then = _mark_places(self.log)
        self._all_then = frozenset(self._places_then.values())
        # As long as the log, and as much again for echoes: it does not wait for anybody.
        size = 2 * len(self.log.entries) + 2
        self._to_carrier, from_phone = trio.open_memory_channel[Json](size)
        self.receive = from_phone.receive

    @property
    def hangs_up_by_rest(self) -> bool:
        """Whether the call was, or would have been, ended by REST."""
        return any(word(entry, "phone.hang_up") == "rest" for entry in self.log.entries)

    def say(self, entry: Entry) -> None:
        """Do once more what this entry says, if it was the phone's doing."""
        match entry.place, entry.content:
            case "phone.in", ["mark", str(name)] if name in self._places_then:
                self._passed = max(self._passed, self._places_then[name])
                self._echo()
            case "phone.in", list(content):
                self._to_carrier.send_nowait(_message(content))
            case "phone.closed", ["peer", code]:
                self._to_carrier.send_nowait({"type": "websocket.disconnect", "code": code})
            case _:
                pass

    async def send(self, message: Json) -> None:
        """Take a message, as long as messages were taken."""
        if message["type"] == "websocket.close":
            self._to_carrier.send_nowait({"type": "websocket.disconnect", "code": message["code"]})
            await trio.lowlevel.checkpoint()
            return
        await self._troubles.befall(self.now_ms())
        match orjson.loads(message["text"]):
            case {"event": "media", "media": {"payload": payload}}:
                self._sent.play(base64_bytes(payload))
            case {"event": "clear"}:
                self._sent.clear()
            case {"event": "mark", "mark": {"name": name}}:
                self._waiting.append((self._sent.mark(), name))
                self._echo()
            case _:
                pass

    async def hang_up(self, _: Start) -> bool:
        """Be hung up on by REST: what follows is in the log."""
        await trio.lowlevel.checkpoint()
        return True

    def _echo(self) -> None:
        while self._waiting and self._is_passed(self._waiting[0][0]):
            _, name = self._waiting.pop(0)
            with suppress(trio.WouldBlock):  # Marks without end are not worth more than this.
                self._to_carrier.send_nowait(_message(["mark", name]))

    def _is_passed(self, place: MarkPlace) -> bool:
        """Whether the phone had played as much, or nearly, where then no mark was."""
        if place <= self._passed or place in self._all_then:
            return place <= self._passed
        clears, size, number = place
        return clears == self._passed[0] and number == 1 and size <= self._passed[1] + NEAR_BYTES


def _mark_places(log: FlightLog) -> dict[str, MarkPlace]:
    sent = _Sent()
    places: dict[str, MarkPlace] = {}
    for entry in log.entries:
        match entry.place, entry.content:
            case "phone.out", ["play", int() | str() as audio]:
                sent.play(audio if isinstance(audio, int) else base64_bytes(audio))
            case "phone.out", ["clear"]:
                sent.clear()
            case "phone.out", ["mark", str(name)]:
                places[name] = sent.mark()
            case _:
                pass
    return places


def _message(content: list[Any]) -> Json:
    """A message of the carrier's, from what the log has of it."""
    event: Json
    match content:
        case ["start", stream_sid, account_sid, call_sid, encoding, rate_hz, channels]:
            media_format = {"encoding": encoding, "sampleRate": rate_hz, "channels": channels}
            sids = {"streamSid": stream_sid, "accountSid": account_sid, "callSid": call_sid}
            event = {"event": "start", "start": {**sids, "mediaFormat": media_format}}
        case ["media", line_ms, audio]:
            payload = recorded_audio(audio)
            event = {"event": "media", "media": {"timestamp": line_ms, "payload": payload}}
        case ["mark", name]:
            event = {"event": "mark", "mark": {"name": name}}
        case ["dtmf", digit]:
            # A tool was given one that is hidden, and its answer is in the log: any will do.
            digit = "0" if digit == HIDDEN else digit
            event = {"event": "dtmf", "dtmf": {"digit": digit}}
        case ["stop"]:
            event = {"event": "stop"}
        case ["binary"]:
            return {"type": "websocket.receive", "bytes": b"?"}
        case ["malformed", int(size), _, str(text)]:
            noise = "?" * min(size, LARGEST_BYTES)
            return {"type": "websocket.receive", "text": text or noise}
        case ["too long", int(size)]:
            return {"type": "websocket.receive", "text": "?" * min(size, MESSAGE_MAX_BYTES)}
        case [word, *_]:
            # Something without a meaning, then as now.
            event = {"event": f"{word}" if word == "connected" else "other"}
        case _:
            event = {"event": "other"}
    return {"type": "websocket.receive", "text": orjson.dumps(event).decode()}
