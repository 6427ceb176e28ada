"""Both legs of a call, a reader and a writer each: they route, and decide nothing."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NoReturn, TypeVar

import attrs
import trio

from actors.errors import PeerGone
from actors.exits import CallerHungUp
from actors.lanes import Lane
from actors.messages import (
    ULAW_SILENCE,
    AppendAudio,
    BargeInFact,
    CallerAudio,
    CallerTranscript,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    KeypadFact,
    KeyPressed,
    MarkEchoed,
    OrderRefused,
    RanElsewhere,
    ResponseFinished,
    ResponseStarted,
    SessionFact,
    SessionLive,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    StreamStopped,
    ToolFact,
    ToolOutputAccepted,
    ToolsAsked,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.ears import Ears
from actors.policy.lineclock import LineClock
from actors.policy.sound import Sound
from actors.ports import Carrier, Session
from actors.recording import CallerHeard, RecordingFact

Order = TypeVar("Order")

RESPONSE_SILENT_S: Final = 20.0
"""How long a session may say nothing at all while it makes a response. Deltas come every 50 ms;
a model that reasons hard begins after seconds. Longer, and the caller has hung up."""


@attrs.define(eq=False)
class CarrierReader:
    """Reads the carrier, and returns when the carrier says that the stream is over."""

    carrier: Carrier
    speech: Lane[CallerAudio]
    bargein: Lane[BargeInFact]
    recording: Lane[RecordingFact]
    keys: Lane[KeypadFact]
    line: LineClock
    sound: Sound
    ears: Ears
    notes: Notes
    overflowed_bytes: int = attrs.field(default=0, init=False)
    """Of caller audio that had to make room for newer."""

    async def run(self) -> CallerHungUp:
        """Serve the carrier until it ends the stream.

        Raises:
            PeerGone: It dropped the stream instead.
            ProtocolError: It makes no sense any more.

        """
        while True:
            fact = await self.carrier.receive()
            match fact:
                case CallerAudio(_, ulaw):
                    now_ms = self.notes.now_ms()
                    at_ms = self.line.arrived(fact, now_ms=now_ms)
                    self.sound.hears(ulaw, now_ms=now_ms)
                    discarded = self.speech.put(fact)
                    if discarded is not None:
                        self.overflowed_bytes += len(discarded.ulaw)
                    if self.ears.is_private:
                        # Nor is anybody who looks on told of it.
                        fact = _silence_for(fact)
                    self.recording.put(CallerHeard(at_ms, fact.ulaw))
                case MarkEchoed():
                    self.bargein.put(fact)
                case StreamLeft() | StreamMoved():
                    self.bargein.put(fact)
                case KeyPressed():
                    self.keys.put(fact)
                    continue  # Whether it may be noted is for the keypad to say.
                case StreamStopped():
                    self.notes.note(fact)
                    return CallerHungUp()
            self.notes.note(fact)


def _silence_for(audio: CallerAudio) -> CallerAudio:
    """As much silence, in the same place."""
    ulaw = ULAW_SILENCE * len(audio.ulaw)
    return CallerAudio(base64.b64encode(ulaw).decode("ascii"), ulaw, audio.line_ms)


@attrs.define(eq=False)
class SessionReader:
    """Reads the session, and puts every fact into the lanes of the actors it concerns."""

    session: Session
    bargein: Lane[BargeInFact]
    turns: Lane[TurnFact]
    tools: Lane[ToolFact]
    notes: Notes

    async def run(self) -> NoReturn:
        """Serve the session until it is lost.

        Raises:
            PeerGone: It dropped, or could not be reached.
            SessionRefused: It will not serve this call.

        """
        patience_s = float("inf")
        while True:
            with trio.move_on_after(patience_s) as patience:
                fact = await self.session.receive()
            if patience.cancelled_caught:
                raise PeerGone("session", None, f"silent for {patience_s:g} s in a response")
            patience_s = _patience_s(fact, patience_s)
            self.notes.note(fact)
            match fact:
                case ItemAudio() | ItemAudioDone():
                    self.bargein.put(fact)
                case SpeechStarted() | SpeechStopped() | ResponseStarted():
                    self.bargein.put(fact)
                    self.turns.put(fact)
                case ResponseFinished():
                    self.bargein.put(fact)
                    self.turns.put(fact)
                    if fact.tool_calls or fact.runs:
                        self.tools.put(fact)
                case ToolsAsked() | RanElsewhere():
                    self.tools.put(fact)
                case SessionLive() | ToolOutputAccepted() | OrderRefused():
                    self.turns.put(fact)
                case SessionLost() | SessionMoved():
                    self.bargein.put(fact)
                    self.turns.put(fact)
                    if isinstance(fact, SessionLost):
                        self.tools.put(fact)
                case CallerTranscript() | ItemTranscript():
                    pass  # For the journal alone.


def _patience_s(fact: SessionFact, patience_s: float) -> float:
    """How long to wait for the fact after this one."""
    match fact:
        case ResponseStarted():
            return RESPONSE_SILENT_S
        case ResponseFinished() | SessionLost():
            return float("inf")
        case _:
            return patience_s


@attrs.define(eq=False)
class Writer(Generic[Order]):
    """Sends what its lane holds, in order. A slow peer fills the lane, and its policy decides."""

    lane: Lane[Order]
    send: Callable[[Order], Awaitable[None]]
    notes: Notes
    unsent: Order | None = attrs.field(default=None, init=False)
    """The order being sent: when it failed or was cancelled, it stays here."""

    async def run(self) -> NoReturn:
        """Serve the lane until cancelled.

        Raises:
            PeerGone: The peer is closed, or does not read.

        """
        async for order in self.lane:
            self.unsent = order
            await self.send(order)
            self.unsent = None
            self.notes.note(order)
        raise AssertionError("a lane outlives its reader")


@attrs.define(eq=False)
class SpeechWriter:
    """Sends the caller's voice to the session: untouched, without holes, joined when it is late.

    What the session is not to hear is silence, as long as it was: its clock runs on.
    """

    speech: Lane[CallerAudio]
    session: Session
    line: LineClock
    notes: Notes
    ears: Ears = attrs.field(factory=Ears)
    unheard_bytes: int = attrs.field(default=0, init=False)
    """Of caller audio that the session was sent silence for."""
    _unsent_bytes: int = attrs.field(default=0, init=False)
    """Being sent, silence for holes included; when that failed or was cancelled, it stays."""

    async def run(self) -> NoReturn:
        """Serve the lane until cancelled.

        Raises:
            PeerGone: The session is closed, or does not read.

        """
        async for frame in self.speech:
            payload = self._joined([frame, *self.speech.drain()])
            if payload is not None:
                order = AppendAudio(payload)
                await self.session.send(order)
                self._unsent_bytes = 0
                self.notes.note(order)
        raise AssertionError("a lane outlives its reader")

    def unsent_bytes(self) -> int:
        """How much of what came never reached the session. For when this no longer runs."""
        return self._unsent_bytes + sum(len(frame.ulaw) for frame in self.speech.drain())

    def _joined(self, frames: list[CallerAudio]) -> str | None:
        """The base64 of all that is waiting: the carrier's own text when that is one frame."""
        parts: list[bytes] = []
        hears = self.ears.session_hears(now_ms=self.notes.now_ms())
        for frame in frames:
            silence = self.line.sends(frame)
            if silence is not None:
                ulaw = frame.ulaw if hears else ULAW_SILENCE * len(frame.ulaw)
                parts += [silence, ulaw]
                self._unsent_bytes += len(silence) + len(ulaw)
                self.unheard_bytes += 0 if hears else len(ulaw)
        if hears and len(frames) == 1 and parts and not parts[0]:
            return frames[0].payload
        return base64.b64encode(b"".join(parts)).decode("ascii") if parts else None
