"""What happened in one call, put together as it happens, for its end record.

Pure: no trio, no clock. Memory is bounded: it grows with turns, responses and tool calls up to a
limit each, never with messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from actors.exits import Exit
from actors.messages import (
    ULAW_BYTES_PER_MS,
    AddText,
    AppendAudio,
    CallerAudio,
    CancelResponse,
    ChangeSession,
    Clear,
    CommitAudio,
    DeleteItem,
    HangupAsked,
    ItemAudio,
    ItemHeard,
    KeyPressed,
    KeysSent,
    Mark,
    MarkEchoed,
    OrderRefused,
    Play,
    PlayoutFull,
    RanElsewhere,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionLive,
    SessionLost,
    SessionMoved,
    StreamLeft,
    StreamMoved,
    StreamStopped,
    ToolCall,
    ToolFinished,
    ToolsAsked,
    ToolStarted,
    TransferEnded,
    TruncateItem,
    Usage,
)
from actors.policy.cost import PRICES_AS_OF, cost_usd
from actors.policy.record import (
    AudioTotals,
    CallFacts,
    CallRecord,
    LeftOut,
    MarksRecord,
    Moment,
    ResponseRecord,
    ToolRun,
)
from actors.policy.transcript import Room, Transcript

__all__ = ["CallFacts", "CallRecord", "Journal", "Observer"]

Observer = Callable[[int, object], None]
"""Is told every note at once: ms on the call's clock, and the message."""

CHARACTERS_MAX: Final = 150_000
"""Text in one record: an hour of speech by both sides is about 60 000 characters."""

RESPONSES_MAX: Final = 1000
TOOLS_MAX: Final = 400
MOMENTS_MAX: Final = 600
CODES_MAX: Final = 50
"""Entries of each kind: well beyond a busy hour; all of them full stay under 2 MiB together."""


@attrs.define(eq=False)
class _Ticks:
    """Moments for a picture: when there are too many, every second one is let go."""

    most: int = 1000
    apart_ms: int = 200
    moments_ms: list[int] = attrs.field(factory=list[int])

    def add(self, at_ms: int) -> None:
        if self.moments_ms and at_ms - self.moments_ms[-1] < self.apart_ms:
            return
        self.moments_ms.append(at_ms)
        if len(self.moments_ms) > self.most:
            self.moments_ms = self.moments_ms[::2]
            self.apart_ms *= 2


@attrs.define(eq=False)
class _Response:
    response_id: str
    purpose: str | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    status: ResponseStatus | None = None
    reason: str | None = None
    usage: Usage | None = None


@attrs.define(eq=False)
class _ToolRun:
    tool_call_id: str
    name: str
    arguments: str | None = None
    output: str | None = None
    outcome: str | None = None
    started_ms: int | None = None
    finished_ms: int | None = None


@attrs.define(eq=False)
class Journal:
    """Remembers one call. Never raises because of what it is told.

    Args:
        facts: What is known beforehand.
        silence_ms: The silence after which the session decides that the caller stopped; the
            caller's voice ended that much before the position the session tells.
        padding_ms: The audio before the voice that the session counts as speech; the caller's
            voice began that much after the position the session tells.
        session_clock: Turns a position in the audio the session was sent, in ms, into ms on the
            call's clock. `None`: the time at which a fact arrived has to do.
        observer: Is told every note. When it raises, it is told no more.

    """

    facts: CallFacts
    silence_ms: int = attrs.field(default=0, kw_only=True)
    padding_ms: int = attrs.field(default=0, kw_only=True)
    session_clock: Callable[[int], int] | None = attrs.field(default=None, kw_only=True)
    observer: Observer | None = attrs.field(default=None, kw_only=True)
    _room: Room = attrs.field(factory=lambda: Room(CHARACTERS_MAX), init=False)
    _transcript: Transcript = attrs.field(init=False)
    _session_id: str | None = attrs.field(default=None, init=False)
    _responses: dict[str, _Response] = attrs.field(factory=dict[str, _Response], init=False)
    _tools: dict[str, _ToolRun] = attrs.field(factory=dict[str, _ToolRun], init=False)
    _usage: Usage = attrs.field(factory=Usage, init=False)
    _ticks: _Ticks = attrs.field(factory=_Ticks, init=False)
    _marks_sent: int = attrs.field(default=0, init=False)
    _marks_echoed: int = attrs.field(default=0, init=False)
    _caller_bytes: int = attrs.field(default=0, init=False)
    _appended_bytes: int = attrs.field(default=0, init=False)
    _received_bytes: int = attrs.field(default=0, init=False)
    _played_bytes: int = attrs.field(default=0, init=False)
    _moments: list[Moment] = attrs.field(factory=list[Moment], init=False)
    _refused: dict[str, int] = attrs.field(factory=dict[str, int], init=False)

    def __attrs_post_init__(self) -> None:
        self._transcript = Transcript(
            self._room, self.silence_ms, self.padding_ms, self.session_clock
        )

    def note(self, at_ms: int, message: object) -> None:
        """Remember a message. Whatever is not known here is only shown to the observer.

        Args:
            at_ms: When, in ms since the call began.
            message: A fact or an order, of `actors.messages`.

        """
        if not self._count_audio(message):
            self._transcript.note(at_ms, message)
            self._note_work(at_ms, message)
            self._note_moment(at_ms, message)
        if self.observer is not None:
            try:
                self.observer(at_ms, message)
            except Exception:  # noqa: BLE001 - somebody looks on; that must not hurt the call.
                self.observer = None

    def record(self, why: Exit, *, ended_ms: int, drops: Mapping[str, int]) -> CallRecord:
        """Put the end record together. May be called more than once.

        Args:
            why: The call's ending.
            ended_ms: When, in ms since the call began.
            drops: What was discarded on purpose, by the name of the lane that did.

        """
        return CallRecord(
            **attrs.asdict(self.facts),
            session_id=self._session_id,
            duration_ms=ended_ms,
            ending=why,
            transcript=self._transcript.said(ended_ms=ended_ms),
            tool_calls=tuple(ToolRun(**attrs.asdict(run)) for run in self._tools.values()),
            barge_ins=tuple(self._transcript.barge_ins),
            turns=self._transcript.turns(),
            responses=tuple(
                ResponseRecord(**attrs.asdict(one, recurse=False))
                for one in self._responses.values()
            ),
            usage=self._usage,
            cost_usd=(cost := cost_usd(self.facts.model, self._usage)),
            prices_as_of=None if cost is None else PRICES_AS_OF,
            marks=MarksRecord(
                sent=self._marks_sent,
                echoed=self._marks_echoed,
                heard_at_ms=tuple(self._ticks.moments_ms),
            ),
            audio=AudioTotals(
                caller_ms=self._caller_bytes // ULAW_BYTES_PER_MS,
                appended_ms=self._appended_bytes // ULAW_BYTES_PER_MS,
                received_ms=self._received_bytes // ULAW_BYTES_PER_MS,
                played_ms=self._played_bytes // ULAW_BYTES_PER_MS,
                caller_bytes=self._caller_bytes,
                appended_bytes=self._appended_bytes,
                received_bytes=self._received_bytes,
                played_bytes=self._played_bytes,
            ),
            moments=tuple(self._moments),
            drops=dict(drops),
            refused_orders=dict(self._refused),
            left_out=LeftOut(
                entries=self._room.entries_left_out, characters=self._room.characters_left_out
            ),
        )

    def _count_audio(self, message: object) -> bool:
        """Count what comes fifty times a second; whether the message was no more than that."""
        match message:
            case CallerAudio(ulaw=ulaw):
                self._caller_bytes += len(ulaw)
            case AppendAudio(payload):
                self._appended_bytes += len(payload) * 3 // 4 - payload[-2:].count("=")
            case Play(ulaw):
                self._played_bytes += len(ulaw)
            case Mark():
                self._marks_sent += 1
            case ItemAudio(ulaw=ulaw):
                self._received_bytes += len(ulaw)
                return False
            case _:
                return False
        return True

    def _note_work(self, at_ms: int, message: object) -> None:
        match message:
            case ResponseStarted(response_id, purpose):
                response = self._response(response_id)
                if response is not None:
                    response.purpose, response.started_ms = purpose, at_ms
            case ResponseFinished():
                self._finish_response(at_ms, message)
            case ToolsAsked(tool_calls):
                for call in tool_calls:
                    self._ask_tool(call)
            case ToolStarted(tool_call_id, name):
                run = self._tool(tool_call_id, name)
                if run is not None:
                    run.started_ms = at_ms
            case ToolFinished(tool_call_id, name, outcome, output):
                run = self._tool(tool_call_id, name)
                if run is not None:
                    run.outcome, run.finished_ms = outcome, at_ms
                    run.output = self._room.fit(output)
            case RanElsewhere(run_id, name, arguments, outcome, output, None):
                run = self._tool(run_id, name)
                if run is not None:
                    run.outcome, run.finished_ms = outcome, at_ms
                    run.arguments = self._room.fit(arguments)
                    run.output = self._room.fit(output)
            case OrderRefused(code):
                known = code in self._refused or len(self._refused) < CODES_MAX
                name = code if known else "other"
                self._refused[name] = self._refused.get(name, 0) + 1
            case _:
                pass

    def _finish_response(self, at_ms: int, fact: ResponseFinished) -> None:
        if fact.usage is not None:
            self._usage = _sum(self._usage, fact.usage)
        for call in fact.tool_calls:
            self._ask_tool(call)
        response = self._response(fact.response_id)
        if response is not None:
            response.finished_ms, response.status = at_ms, fact.status
            response.reason, response.usage = fact.reason, fact.usage

    def _ask_tool(self, call: ToolCall) -> None:
        run = self._tool(call.tool_call_id, call.name)
        if run is not None and run.arguments is None:
            run.arguments = self._room.fit(call.arguments)

    def _note_moment(self, at_ms: int, message: object) -> None:
        match message:
            case MarkEchoed():
                self._marks_echoed += 1
            case ItemHeard():
                self._ticks.add(at_ms)
            case SessionLive(session_id):
                self._session_id = session_id
            case _:
                pass
        detail = _detail(message)
        if detail is not None and self._room.has(len(self._moments), most=MOMENTS_MAX):
            what = type(message).__name__
            self._moments.append(Moment(at_ms=at_ms, what=what, detail=self._room.fit(detail)))

    def _response(self, response_id: str) -> _Response | None:
        response = self._responses.get(response_id)
        if response is None and self._room.has(len(self._responses), most=RESPONSES_MAX):
            response = self._responses[response_id] = _Response(response_id)
        return response

    def _tool(self, tool_call_id: str, name: str) -> _ToolRun | None:
        run = self._tools.get(tool_call_id)
        if run is None and self._room.has(len(self._tools), most=TOOLS_MAX):
            run = self._tools[tool_call_id] = _ToolRun(tool_call_id, name)
        return run


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(*(a + b for a, b in zip(attrs.astuple(one), attrs.astuple(other), strict=True)))


def _detail(message: object) -> str | None:
    """What is worth remembering of a message that stands for itself; `None` for all others."""
    match message:
        case SessionLive(session_id):
            return session_id
        case SessionLost(code):
            return code
        case SessionMoved(session_id, cause):
            return f"{cause} {session_id}"
        case HangupAsked(_, reason, _):
            return reason
        case TruncateItem(item_id, audio_end_ms):
            return f"{item_id} {audio_end_ms}"
        case DeleteItem(item_id):
            return item_id
        case CancelResponse(response_id) | PlayoutFull(response_id):
            return response_id
        case AddText(role, text):
            return f"{role}: {text}"
        case ChangeSession(instructions, language):
            # Not the words: they may be long, and are the agent's own.
            changed = {"instructions": instructions, "language": language}
            return ", ".join(name for name, value in changed.items() if value is not None)
        case Clear() | CommitAudio():
            return ""
        case _:
            return _line_detail(message)


def _line_detail(message: object) -> str | None:
    """Likewise, of what happened on the telephone's side."""
    match message:
        case KeyPressed(digit):
            return digit
        case KeysSent(digits):
            return digits
        case TransferEnded(outcome):
            return outcome
        case StreamMoved(stream_sid):
            return stream_sid
        case StreamStopped() | StreamLeft():
            return ""
        case _:
            return None
