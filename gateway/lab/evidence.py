"""What was seen of each call of a simulated gateway at its own ends of the lines. No judgement.

Everything is on trio's clock, in seconds. Audio is kept until the call has been judged.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import orjson
import trio
from trio_websocket import CloseReason, ConnectionClosed

from actors.exits import Exit
from actors.messages import ULAW_BYTES_PER_MS
from actors.policy.record import CallRecord
from gateway.lab.call_report import CallReport
from gateway.lab.fault_plan import Strike
from gateway.lab.faulty_ports import FaultyTools
from gateway.lab.memory_line import MemorySocket
from gateway.lab.model import RehearsalModel
from gateway.lab.tagged_voice import Run, TaggedVoice, read
from gateway.lab.workload import SimulatedCall

Trace = Callable[[str], None]
"""Is given one line for everything that happens."""


@attrs.define(eq=False)
class Audio:
    """Audio that passed one point, and when each piece of it did."""

    ulaw: bytearray = attrs.field(factory=bytearray, init=False)
    count: int = attrs.field(default=0, init=False)
    """Bytes, also when the audio itself is forgotten."""
    _offsets: list[int] = attrs.field(factory=list[int], init=False)
    _times_s: list[float] = attrs.field(factory=list[float], init=False)

    def add(self, ulaw: bytes, at_s: float) -> None:
        """Take in one piece."""
        self._offsets.append(self.count)
        self._times_s.append(at_s)
        self.ulaw += ulaw
        self.count += len(ulaw)

    def at_s(self, at_ms: int) -> float:
        """When this millisecond passed."""
        return self._times_s[bisect_right(self._offsets, at_ms * ULAW_BYTES_PER_MS) - 1]

    def runs(self) -> list[Run]:
        """Whose audio it is."""
        return read(bytes(self.ulaw))

    def forget(self) -> None:
        """Keep only how much it was."""
        self.ulaw.clear()
        self._offsets.clear()
        self._times_s.clear()


@attrs.define(eq=False, kw_only=True)
class StreamSeen:
    """One media stream, seen from the gateway."""

    opened_s: float
    stream_sid: str = ""
    """As it said itself."""
    done_s: float | None = None
    """The gateway was done with its socket."""
    told_s: float | None = None
    """The gateway was told, or noticed, that the stream is over."""
    closing_s: float | None = None
    """The gateway began to close it."""
    caller_bytes: int = 0
    """Received in frames that are well-formed, from `start` until the gateway began to close."""
    played: Audio = attrs.field(factory=Audio, init=False)
    refused_bytes: int = 0
    """Of audio sent to a peer that had just left: it goes nowhere, and no server says so."""
    clears_s: list[float] = attrs.field(factory=list[float], init=False)
    clears_bytes: list[int] = attrs.field(factory=list[int], init=False)
    """How many bytes had been played when each `clear` was sent."""
    _started: bool = attrs.field(default=False, init=False)

    def received(self, frame: str | bytes, now_s: float) -> None:
        """The gateway took this in."""
        message = _parse(frame)
        match message.get("event"):
            case "start" if not self._started:
                self._started = True
                self.stream_sid = str(message.get("streamSid"))
            case "media" if self._started and self.closing_s is None and self.told_s is None:
                self.caller_bytes += len(_decoded(message.get("media"), "payload"))
            case "stop" if self._started:
                self.told_s = self.told_s or now_s
            case _:
                pass

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """The gateway sent this off, and began to at that moment."""
        message = _parse(frame)
        match message.get("event"):
            case "media":
                self.played.add(_decoded(message.get("media"), "payload"), began_s)
            case "clear":
                self.clears_s.append(began_s)
                self.clears_bytes.append(self.played.count)
            case _:
                pass

    def refused(self, frame: str | bytes) -> None:
        """The gateway could not send this off: the peer has left."""
        message = _parse(frame)
        if message.get("event") == "media":
            self.refused_bytes += len(_decoded(message.get("media"), "payload"))

    def lost(self, now_s: float) -> None:
        """The gateway found it closed."""
        if self.closing_s is None:
            self.told_s = self.told_s or now_s

    def closing(self, now_s: float) -> None:
        """The gateway closes it."""
        self.closing_s = self.closing_s or now_s


@attrs.define(eq=False, kw_only=True)
class SessionSeen:
    """One connection to the model, seen from the gateway."""

    model: RehearsalModel
    opened_s: float
    live_s: float | None = None
    """The configuration was confirmed."""
    lost_s: float | None = None
    """The gateway found it closed, and had not closed it."""
    closing_s: float | None = None
    done_s: float | None = None
    """No socket of it is left."""
    appended: Audio = attrs.field(factory=Audio, init=False)
    received_bytes: int = 0
    speech_started_s: list[float] = attrs.field(factory=list[float], init=False)
    responses_s: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """When the gateway first heard of each response."""
    lines: dict[int, str] = attrs.field(factory=dict[int, str], init=False)
    """Number of a line to the response it is part of."""
    _begun: set[str] = attrs.field(factory=set[str], init=False)
    """Items of which audio was said."""
    asked: dict[str, tuple[str, float]] = attrs.field(
        factory=dict[str, tuple[str, float]], init=False
    )
    """Name and time of each tool call that came, by its id."""
    outputs: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """Outputs that were sent, by the id of the tool call."""

    def received(self, frame: str | bytes, now_s: float) -> None:
        """The gateway took this in."""
        event = _parse(frame)
        kind = event.get("type")
        response_id = event.get("response_id")
        if kind == "response.output_audio.delta":
            ulaw = _decoded(event, "delta")
            self.received_bytes += len(ulaw)
        elif kind in ("response.created", "response.done"):
            response = event.get("response")
            response = response if isinstance(response, dict) else {}
            response_id = response.get("id")
            if kind == "response.done":
                self._asked(response.get("output"), now_s)
        elif kind == "input_audio_buffer.speech_started":
            self.speech_started_s.append(now_s)
        elif kind == "session.updated":
            self.live_s = self.live_s or now_s
        if isinstance(response_id, str):
            self.responses_s.setdefault(response_id, now_s)

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """The gateway sent this off."""
        event = _parse(frame)
        match event.get("type"):
            case "input_audio_buffer.append":
                self.appended.add(_decoded(event, "audio"), began_s)
            case "conversation.item.create":
                item = event.get("item")
                if isinstance(item, dict) and item.get("type") == "function_call_output":
                    self.outputs[str(item.get("call_id"))] += 1
            case _:
                pass

    def refused(self, frame: str | bytes) -> None:
        """The gateway could not send this off, and knows it."""

    def lost(self, now_s: float) -> None:
        """The gateway found it closed."""
        if self.closing_s is None:
            self.lost_s = self.lost_s or now_s

    def closing(self, now_s: float) -> None:
        """The gateway closes it."""
        self.closing_s = self.closing_s or now_s

    def speaks(self, frame: str | bytes) -> None:
        """The model said this; which line it is tells which response the line belongs to."""
        event = _parse(frame)
        item_id = str(event.get("item_id"))
        # Only where an item begins: from there on, deltas may be cut within a millisecond.
        if event.get("type") == "response.output_audio.delta" and item_id not in self._begun:
            self._begun.add(item_id)
            for run in read(_decoded(event, "delta")[:ULAW_BYTES_PER_MS]):
                line = getattr(run, "line", None)
                if line is not None:
                    self.lines.setdefault(line, str(event.get("response_id")))

    def _asked(self, output: object, now_s: float) -> None:
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict) and item.get("type") == "function_call":
                asked = str(item.get("name")), now_s
                self.asked.setdefault(str(item.get("call_id")), asked)


@attrs.define(eq=False, kw_only=True)
class CallSeen:
    """One call, from the first ring to the last word."""

    call: SimulatedCall
    call_sid: str
    agent_voice: TaggedVoice
    caller_voice: TaggedVoice
    tools: FaultyTools
    rang_s: float
    streams: list[StreamSeen] = attrs.field(factory=list[StreamSeen], init=False)
    sessions: list[SessionSeen] = attrs.field(factory=list[SessionSeen], init=False)
    attempts: int = attrs.field(default=0, init=False)
    """Attempts to connect to the model."""
    tokens: list[str] = attrs.field(factory=list[str], init=False)
    """Every stream token that was given out, oldest first."""
    answers: list[bytes] = attrs.field(factory=list[bytes], init=False)
    """What the voice webhook answered, each time."""
    began_s: float | None = attrs.field(default=None, init=False)
    """The gateway began to run the call."""
    over_s: float | None = attrs.field(default=None, init=False)
    """It was done with it, its record included."""
    ending: Exit | None = attrs.field(default=None, init=False)
    """`None`: it was cancelled, or never began."""
    report: CallReport | None = attrs.field(default=None, init=False)
    """The phone's."""
    heard: list[tuple[float, Run]] = attrs.field(factory=list[tuple[float, Run]], init=False)
    """What the phone played, with the time in ms since the stream was opened."""
    records: list[CallRecord] = attrs.field(factory=list[CallRecord], init=False)
    finished_s: float | None = attrs.field(default=None, init=False)
    """The phone was done too."""

    @property
    def is_running(self) -> bool:
        """Whether the gateway still holds anything of it."""
        return self.open_sockets > 0 or (self.began_s is not None and self.over_s is None)

    @property
    def open_sockets(self) -> int:
        """Sockets of it that the gateway still has."""
        streams = sum(stream.done_s is None for stream in self.streams)
        return streams + sum(session.done_s is None for session in self.sessions)

    def hang_up(self, report: CallReport) -> None:
        """Take over what the phone knows, once it is done."""
        self.heard = [
            (piece.at_ms + run.at_ms, run) for piece in report.heard for run in read(piece.ulaw)
        ]
        self.report = attrs.evolve(report, heard=())

    def forget_audio(self) -> None:
        """Keep what is small."""
        for stream in self.streams:
            stream.played.forget()
        for session in self.sessions:
            session.appended.forget()


class Watch(Protocol):
    """Whoever keeps what passes one end of a line."""

    def received(self, frame: str | bytes, now_s: float) -> None:
        """This end took a frame in."""

    def sent(self, frame: str | bytes, began_s: float) -> None:
        """This end sent a frame off, and began to at that moment."""

    def refused(self, frame: str | bytes) -> None:
        """This end could not send a frame off: the line is closed."""

    def lost(self, now_s: float) -> None:
        """This end found the line closed."""

    def closing(self, now_s: float) -> None:
        """This end closes the line."""


@attrs.define(eq=False)
class WatchedSocket:
    """One end of a memory line, and somebody who keeps what passes."""

    socket: MemorySocket
    watch: Watch
    name: str
    """For the trace: whose end it is."""
    trace: Trace | None = None

    @property
    def closed(self) -> CloseReason | None:
        """Why it is closed; `None` while it is open."""
        return self.socket.closed

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        began_s = trio.current_time()
        try:
            await self.socket.send_message(message)
        except ConnectionClosed:
            self.watch.refused(message)
            raise
        self.watch.sent(message, began_s)
        self._tell("<", message)

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        try:
            message = await self.socket.get_message()
        except ConnectionClosed:
            self.watch.lost(trio.current_time())
            self._tell(">", "closed")
            raise
        self.watch.received(message, trio.current_time())
        self._tell(">", message)
        return message

    async def ping(self) -> None:
        """See `MemorySocket`."""
        await self.socket.ping()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        self._close(f"close {code}")
        await self.socket.aclose(code, reason)

    def abort(self) -> None:
        """See `MemorySocket`."""
        self._close("abort")
        self.socket.abort()

    def _close(self, how: str) -> None:
        if self.socket.closed is None:
            self.watch.closing(trio.current_time())
            self._tell("<", how)

    def _tell(self, direction: str, what: str | bytes) -> None:
        if self.trace is not None:
            self.trace(f"{trio.current_time():.6f} {self.name} {direction} {what!s}")


def _parse(frame: str | bytes) -> dict[str, Any]:
    try:
        message: Any = orjson.loads(frame)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _decoded(parent: object, key: str) -> bytes:
    """The audio in a message; nothing when it is spoilt, which whoever reads it drops as well."""
    payload = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(payload, str):
        return b""
    try:
        ulaw = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return ulaw if base64.b64encode(ulaw).decode("ascii") == payload else b""


@attrs.frozen(kw_only=True)
class NodeReport:
    """A whole simulated gateway, after its end."""

    calls: tuple[CallSeen, ...]
    """In the order of their numbers."""
    violations: tuple[str, ...]
    """What was found wrong with each call when it ended: its audio is gone since."""
    events: tuple[Mapping[str, Any], ...]
    """Everything that was logged."""
    strikes: tuple[Strike, ...]
    """What went wrong as planned."""
    secrets: tuple[str, ...]
    """What nobody may ever read in a log."""
    open_sockets: int
    """Sockets that the gateway still had at the end."""
    live_calls: int
    """Calls that it still had."""
    tasks_left: tuple[str, ...]
    """Names of the tasks that it had when all calls were over, and not when it started."""
    lasted_s: float
    """Virtual time."""
    intruders: tuple[str, ...]
    """What hostile sockets achieved that they should not."""

    @property
    def call_s(self) -> float:
        """Virtual time in which a call was live, added up over the calls."""
        return sum(
            seen.over_s - seen.began_s
            for seen in self.calls
            if seen.began_s is not None and seen.over_s is not None
        )

    @property
    def endings(self) -> Counter[str]:
        """How calls ended: the names of their exits, by the records."""
        return Counter(
            type(record.ending).__name__ for seen in self.calls for record in seen.records
        )
