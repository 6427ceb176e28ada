"""Today's code against yesterday's call: the recorded peers say once more what they said then.

Everything between the two sockets is the product as it is served; sockets, disk and clock are left
out. The peers are deaf: what today's code says differently changes nothing of what they said, so
what follows a first difference may only be its consequence.
"""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict, deque
from typing import Any, Final

import attrs
import orjson
import trio
from trio_websocket import CloseReason, ConnectionClosed

from actors.errors import ToolRefused
from actors.messages import ULAW_SILENCE
from actors.wire.twilio import Start
from gateway.client_socket import MESSAGE_MAX_BYTES, CannotOpen
from gateway.flight import MemoryFlight, run_recorded_call
from gateway.flight_log import Entry, FlightLog, NotAFlightLog
from gateway.lab.decisions import Difference, Tolerance, decisions, differences, ended_ms
from gateway.lab.determinism import run_seeded
from gateway.media import LARGEST_BYTES, TwilioCarrier
from gateway.realtime import RealtimeSession, Use
from gateway.recording import MemoryRecorder
from gateway.store import MemoryStore

INSTANT_S: Final = 1e-6
"""Between two things a peer says at once: in virtual time, long enough for all that follows from
the first."""
STALL_APART_MS: Final = 100.0
"""How far from its time a peer stalls, if it is sent fewer or more messages today."""
GOES_ON_S: Final = 3.0
"""How long a call may last beyond its recorded end: its goodbyes, and then nobody says anything."""

Json = dict[str, Any]


@attrs.frozen
class Replay:
    """What became of a log when it was replayed."""

    decided: int
    """Decisions in the log."""
    differences: tuple[Difference, ...]
    """By time. Empty: today's code does what it did then."""
    went_on: bool
    """The call was not over where the log says it was."""


def replay(log: FlightLog, tolerance: Tolerance | None = None) -> Replay:
    """Run today's code against a recorded call. Not inside another run of trio.

    Raises:
        NotAFlightLog: The log ends before its call began.

    """
    start = next((entry for entry in log.entries if _word(entry, "phone.in") == "start"), None)
    if start is None:
        raise NotAFlightLog("ends before its call began")
    stage = _Stage(log)
    run_seeded(stage.run, seed=0)
    tolerance = tolerance or Tolerance()
    # What is under way when a call ends, or its log breaks off, is decided by nobody.
    until_ms = ended_ms(log.entries) - tolerance.at_ms
    then = decisions(log.entries, until_ms=until_ms)
    again = stage.flight.read().entries
    if stage.went_on or not log.is_whole:  # Then its ending was ours.
        again = tuple(entry for entry in again if entry.place != "call")
    now = decisions(again, until_ms=until_ms)
    found = differences(then, now, tolerance, until_ms=until_ms)
    return Replay(len(then.taken), found, stage.went_on)


def _word(entry: Entry, place: str) -> object:
    """The first word of an entry at this place."""
    content = entry.content
    return content[0] if entry.place == place and isinstance(content, list) and content else None


@attrs.define(eq=False)
class _ToolRun:
    """A recorded run of a tool."""

    began_ms: float
    lasted_ms: float | None = None
    """`None`: it was still running when the log, or the call, ended."""
    outcome: str = ""
    text: str = ""


@attrs.define(eq=False)
class _RecordedTools:
    """Tools that answer as they did, after as long as it took. Fits the `Tools` port."""

    _runs: defaultdict[tuple[str, str], deque[_ToolRun]]

    @classmethod
    def of(cls, log: FlightLog) -> _RecordedTools:
        runs: dict[int, _ToolRun] = {}
        by_call: defaultdict[tuple[str, str], deque[_ToolRun]] = defaultdict(deque)
        for entry in log.entries:
            match entry.place, entry.content:
                case "tool", ["begin", int(number), str(name), str(arguments)]:
                    runs[number] = _ToolRun(entry.at_ms)
                    by_call[name, arguments].append(runs[number])
                case "tool", ["end", int(number), str(outcome), str(text)] if number in runs:
                    run = runs[number]
                    run.lasted_ms = entry.at_ms - run.began_ms
                    run.outcome, run.text = outcome, text
                case _:
                    pass
        return cls(by_call)

    async def run(self, name: str, arguments: str) -> str:
        """See the `Tools` port."""
        await trio.lowlevel.checkpoint()
        waiting = self._runs[name, arguments]
        if not waiting:
            raise ToolRefused("the flight log has no such run")
        run = waiting.popleft()
        if run.lasted_ms is None or run.outcome == "cancelled":
            await trio.sleep_forever()
        await trio.sleep(run.lasted_ms / 1000)
        match run.outcome:
            case "returned":
                return run.text
            case "refused":
                raise ToolRefused(run.text)
            case _:
                # By its name, which is what the model is told.
                raise type(run.text, (Exception,), {})


@attrs.define(eq=False)
class _Stall:
    """A peer that stopped reading: the first message it did not take, by number and by time."""

    taken: int
    """Messages it still took."""
    from_ms: float
    sent: int = 0

    @classmethod
    def of(cls, log: FlightLog, leg: str) -> _Stall | None:
        """When a leg stalled, if it did."""
        taken = 0
        for entry in log.entries:
            taken += entry.place == f"{leg}.out"
            match entry.place, entry.content:
                case place, ["stalled", float() | int() as waited_ms] if place == f"{leg}.closed":
                    return cls(taken, entry.at_ms - waited_ms)
                case _:
                    pass
        return None

    def holds(self, now_ms: float) -> bool:
        """Whether one more message has to wait for ever; else it is taken, and counted."""
        is_late = now_ms > self.from_ms + STALL_APART_MS
        if is_late or (now_ms > self.from_ms - STALL_APART_MS and self.sent >= self.taken):
            return True
        self.sent += 1
        return False


@attrs.define(eq=False)
class _Stage:
    """Where a call is played again: the peers of the log, and between them the product."""

    log: FlightLog
    flight: MemoryFlight = attrs.field(factory=MemoryFlight, init=False)
    went_on: bool = attrs.field(default=False, init=False)
    _closings: list[Entry] = attrs.field(init=False)
    _phone_stalls: _Stall | None = attrs.field(init=False)
    _model_stalls: _Stall | None = attrs.field(init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _began_s: float = attrs.field(default=0.0, init=False)
    _to_carrier: trio.MemorySendChannel[Json] = attrs.field(init=False)
    _from_phone: trio.MemoryReceiveChannel[Json] = attrs.field(init=False)
    _to_session: trio.MemorySendChannel[Any] = attrs.field(init=False)
    _from_model: trio.MemoryReceiveChannel[Any] = attrs.field(init=False)
    _marks_sent: set[str] = attrs.field(factory=set[str], init=False)
    _early_echoes: set[str] = attrs.field(factory=set[str], init=False)
    """Of marks that today's code has not sent yet; they come when it has."""

    def __attrs_post_init__(self) -> None:
        places = {"phone.closed", "model.closed"}
        self._closings = [entry for entry in self.log.entries if entry.place in places]
        self._phone_stalls = _Stall.of(self.log, "phone")
        self._model_stalls = _Stall.of(self.log, "model")

    async def run(self) -> None:
        """Play the call to its end, or to where the log breaks off."""
        # As long as the log: the peers do not wait for anybody.
        size = len(self.log.entries) + 2
        self._to_carrier, self._from_phone = trio.open_memory_channel[Json](size)
        self._to_session, self._from_model = trio.open_memory_channel[Any](size)
        header = self.log.header
        session = RealtimeSession(
            self._connect, header.session, header.patience, flight=self.flight
        )
        by_rest = any(_word(entry, "phone.hang_up") == "rest" for entry in self.log.entries)
        carrier = TwilioCarrier(
            self._from_phone.receive, self._send, self._hang_up_call if by_rest else None
        )
        self._began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            nursery.start_soon(self._play)
            with self._scope:
                await carrier.introduce()
                await run_recorded_call(
                    header.plan(),
                    carrier,
                    session,
                    tools=_RecordedTools.of(self.log),
                    recorder=MemoryRecorder(),
                    store=MemoryStore(),
                    limits=header.limits,
                )
            nursery.cancel_scope.cancel("the call is over")

    async def _play(self) -> None:
        """Say what the peers said, when they said it."""
        killed_ms = _killed_ms(self.log)
        for entry in self.log.entries:
            at_s = self._began_s + entry.at_ms / 1000
            if killed_ms is not None and entry.at_ms >= killed_ms:
                await trio.sleep_until(at_s)
                self._scope.cancel("as it was then")
                return
            await trio.sleep_until(max(at_s, trio.current_time() + INSTANT_S))
            self._say(entry)
        if self.log.is_whole:
            await trio.sleep(GOES_ON_S)
            self.went_on = True
        self._scope.cancel("the log ends here")

    def _say(self, entry: Entry) -> None:
        match entry.place, entry.content:
            case "phone.in", ["mark", str(name)] if name not in self._marks_sent:
                self._early_echoes.add(name)
            case "phone.in", list(content):
                self._to_carrier.send_nowait(_phone_message(content))
            case "phone.closed", ["peer", code]:
                self._to_carrier.send_nowait({"type": "websocket.disconnect", "code": code})
            case ("model.connect", ["open" | "refused", *_]) | (
                "model.closed",
                ["peer" | "broken", *_],
            ):
                self._to_session.send_nowait(entry.content)
            case "model.in", content:
                self._to_session.send_nowait(_model_message(content))
            case _:
                pass

    # The phone's socket, as a server of ASGI would have it.

    async def _send(self, message: Json) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "websocket.close":
            self._to_carrier.send_nowait({"type": "websocket.disconnect", "code": message["code"]})
            return
        if self._phone_stalls is not None and self._phone_stalls.holds(self._now_ms()):
            await trio.sleep_forever()
        if self._is_past("phone.closed", "broken"):
            raise BrokenPipeError
        sent = orjson.loads(message["text"])
        if sent["event"] == "mark":
            name = sent["mark"]["name"]
            self._marks_sent.add(name)
            if name in self._early_echoes:
                self._to_carrier.send_nowait(_phone_message(["mark", name]))

    async def _hang_up_call(self, _: Start) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    # The model's.

    async def _connect(self, use: Use) -> None:
        while True:
            match await self._from_model.receive():
                case ["refused", str(reason), int() | None as status]:
                    raise CannotOpen(reason, status)
                case ["open", *_]:
                    await use(_ModelSocket(self._from_model, self._stalls, self._is_mute))
                    return
                case _:
                    pass  # Of an attempt that today's code has given up.

    def _now_ms(self) -> float:
        return (trio.current_time() - self._began_s) * 1000

    def _stalls(self) -> bool:
        return self._model_stalls is not None and self._model_stalls.holds(self._now_ms())

    def _is_mute(self) -> bool:
        """Whether pings are not answered any more."""
        return self._is_past("model.closed", "no pong", before_s=self.log.header.patience.pong_s)

    def _is_past(self, place: str, word: str, *, before_s: float = 0.0) -> bool:
        """Whether, so long from now, this was in the log."""
        # A millisecond early: the log was written just after it happened.
        now_ms = self._now_ms() + before_s * 1000 + 1
        return any(
            _word(entry, place) == word and entry.at_ms <= now_ms for entry in self._closings
        )


@attrs.define(eq=False)
class _ModelSocket:
    """The recorded model's end of one connection. Fits `gateway.realtime.Socket`."""

    _events: trio.MemoryReceiveChannel[Any]
    _stalls: Any
    _is_mute: Any
    _closed: CloseReason | None = attrs.field(default=None, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    async def send_message(self, message: str | bytes) -> None:
        """Swallow it: what was answered then is answered now."""
        del message
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise ConnectionClosed(self._closed)
        if self._stalls():
            await trio.sleep_forever()

    async def get_message(self) -> str | bytes:
        """Wait for what the model said next."""
        match await self._events.receive():
            case str(text):
                return text
            case ["peer", int(code), str() | None as reason]:
                self._closed = CloseReason(code, reason)
            case _:
                pass
        self._is_closed = True
        raise ConnectionClosed(self._closed)

    async def ping(self) -> None:
        """Be answered, as long as it was."""
        await trio.lowlevel.checkpoint()
        if self._is_mute():
            await trio.sleep_forever()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it; nobody minds."""
        self._is_closed, self._closed = True, CloseReason(code, reason)
        await trio.lowlevel.checkpoint()


def _killed_ms(log: FlightLog) -> float | None:
    """When whoever ran the call cancelled it: its first goodbye. `None`: nobody did."""
    match log.entries[-1]:
        case Entry(ended_ms, "call", ["ended", {"exit": "Killed"}]):
            goodbyes = (
                entry.at_ms
                for entry in log.entries
                if "us" in (_word(entry, "phone.closed"), _word(entry, "model.closed"))
            )
            return next(goodbyes, ended_ms)
        case _:
            return None


def _phone_message(content: list[Any]) -> Json:
    """A message of the carrier's, from what the log has of it."""
    event: Json
    match content:
        case ["start", stream_sid, account_sid, call_sid, encoding, rate_hz, channels]:
            media_format = {"encoding": encoding, "sampleRate": rate_hz, "channels": channels}
            sids = {"streamSid": stream_sid, "accountSid": account_sid, "callSid": call_sid}
            event = {"event": "start", "start": {**sids, "mediaFormat": media_format}}
        case ["media", line_ms, audio]:
            event = {"event": "media", "media": {"timestamp": line_ms, "payload": _audio(audio)}}
        case ["mark", name]:
            event = {"event": "mark", "mark": {"name": name}}
        case ["dtmf", digit]:
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


def _model_message(content: Any) -> str:  # noqa: ANN401 - whatever JSON holds.
    """A message of the model's, from what the log has of it."""
    match content:
        case {"type": "response.output_audio.delta", "delta": int() as size}:
            return orjson.dumps({**content, "delta": _audio(size)}).decode()
        case str(text):
            return text
        case _:
            return orjson.dumps(content).decode()


def _audio(audio: object) -> str:
    """The recorded base64, or silence of the recorded length."""
    if isinstance(audio, int):
        size = max(0, min(audio, MESSAGE_MAX_BYTES))  # A log may come from anybody.
        return b64encode(ULAW_SILENCE * size).decode("ascii")
    return str(audio)
