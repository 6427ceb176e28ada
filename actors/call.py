"""One phone call: a nursery of actors, its first exit, and a goodbye under a deadline."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, get_args

import attrs
import structlog
import trio

from actors.approvals import Approvals
from actors.bargein import BargeIn
from actors.control import LiveCall
from actors.errors import PeerGone
from actors.exits import (
    AgentHungUp,
    Crashed,
    Exit,
    Killed,
    Stalled,
    TimedOut,
    explain,
    loggable,
)
from actors.hangup import HUNG_UP, Hangup
from actors.keypad import KeypadWatch
from actors.landing import LandingWatch
from actors.lanes import Lane, OnFull
from actors.legs import CarrierReader, SessionReader, SpeechWriter, Writer
from actors.messages import (
    BargeInFact,
    CallerAudio,
    CarrierOrder,
    CreateResponse,
    HangupFact,
    KeypadFact,
    Play,
    ReturnToolOutput,
    SessionLost,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    ToolFact,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.activity import ActivityFact
from actors.policy.ears import Ears, GreetingFact
from actors.policy.journal import CallFacts, Journal, Observer
from actors.policy.keypad import Keypad
from actors.policy.landing import Landing
from actors.policy.lineclock import LineClock
from actors.policy.manners import Manners
from actors.policy.silence import Silence
from actors.policy.slow_tools import SlowToolFact, SlowTools
from actors.policy.sound import Sound
from actors.policy.turns import Turns
from actors.ports import CallStore, Carrier, Recorder, Session, Tools, Voice
from actors.recording import Recording, RecordingFact
from actors.silence import SilenceWatch
from actors.slow_tools import SlowToolWatch
from actors.speaking import Speaker
from actors.tools import RanUnasked, ToolExecutor
from actors.turns import TurnTaking

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LAST_WORD_S: Final = 0.1
"""For the one order that goes out after the end. It only says what the session is about to see."""

HANG_UP_S: Final = 1.5
"""For ending the phone call through the carrier's own means; closing the stream does it too."""

Actor: TypeAlias = Callable[[], Awaitable[Exit]]
Goodbye: TypeAlias = Callable[[], Awaitable[None]]


@attrs.frozen
class Limits:
    """Every bound a call lives under."""

    call_s: float = 3600.0
    """An hour, so that nobody pays for a forgotten call. Sessions are another matter."""
    tool_s: float = 8.0
    """For one tool. What it waits for the carrier or for the caller's keys is not counted."""
    cleanup_s: float = 2.0
    """For saying goodbye to both peers and writing the record, together."""
    speech_frames: int = 50
    """Caller audio on its way to the session: one second, then the oldest is dropped."""
    recording_messages: int = 500
    """Audio on its way to the recording: five seconds of both sides."""
    facts: int = 4096
    """Facts waiting for one actor. The session's largest burst is a 200 s answer at once: 800
    deltas. Each is read by our own task, so a full lane is a bug."""
    orders: int = 1024
    """Orders waiting for one peer: 200 ms of audio to the carrier, as a rule. A full lane is a
    peer that stopped reading."""


@attrs.frozen
class Plan:
    """What this call is about."""

    facts: CallFacts
    greeting: CreateResponse | None = None
    """Ordered once, as soon as the session is live. `None`: the caller speaks first."""
    silence_ms: int = 500
    """The session's silence window, by which it hears later than the caller stopped."""
    padding_ms: int = 300
    """The audio before the caller's voice that the session counts as theirs."""
    server_interrupts: bool = True
    server_answers: bool = True
    server_confirms: bool = True
    """False: an engine without turns, which talks when it sees fit. See `Turns`."""
    observer: Observer | None = None
    """Is told everything noteworthy, as it happens."""
    manners: Manners = attrs.field(factory=Manners)
    """What is done about keys, silence, and the limits."""


async def first_exit(actors: Mapping[str, Actor], exits: list[Exit]) -> None:
    """Run actors side by side until one exits, cancel the rest, and add why to `exits`.

    What OTP calls `one_for_all` with no restarts: half a phone call is not worth saving. The
    endings go into a list of the caller's, so that being cancelled just then loses none.
    """

    async def child(name: str, run: Actor) -> None:
        try:
            why = await run()
        except Exception as error:
            # The one place where an actor's failure becomes an ending.
            why = explain(error, actor=name)
            if isinstance(why, Crashed | Stalled):
                # As text: a logger with a mind of its own would print everybody's variables,
                # and with them what was said.
                log.error("actor.crashed", actor=name, traceback=traceback.format_exc())
        exits.append(why)
        nursery.cancel_scope.cancel(reason=f"{name} ended as {type(why).__name__}")

    async with trio.open_nursery() as nursery:
        for name, run in actors.items():
            nursery.start_soon(child, name, run, name=name)


@attrs.define(eq=False)
class _Cast:
    """Everybody on one call, and the lanes between them. Only this class knows who exists."""

    plan: Plan
    carrier: Carrier
    session: Session
    tools: Tools
    recorder: Recorder
    limits: Limits
    voice: Voice | None
    ran_unasked: RanUnasked | None
    line: LineClock = attrs.field(factory=LineClock, init=False)
    notes: Notes = attrs.field(init=False)
    speech: Lane[CallerAudio] = attrs.field(init=False)
    lanes: tuple[Lane[Any], ...] = attrs.field(init=False)
    reader: CarrierReader = attrs.field(init=False)
    speech_writer: SpeechWriter = attrs.field(init=False)
    player: Writer[CarrierOrder] = attrs.field(init=False)
    bargein: BargeIn = attrs.field(init=False)
    recording: Recording = attrs.field(init=False)
    actors: dict[str, Actor] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plan, limits = self.plan, self.limits
        journal = Journal(
            plan.facts,
            silence_ms=plan.silence_ms,
            padding_ms=plan.padding_ms,
            session_clock=self.line.call_ms,
            observer=plan.observer,
        )
        notes = self.notes = Notes(journal)
        live = OnFull.DROP_OLDEST
        speech = self.speech = Lane[CallerAudio]("speech", limits.speech_frames, live)
        to_recording = Lane[RecordingFact]("recording", limits.recording_messages, live)
        to_bargein = Lane[BargeInFact]("bargein", limits.facts)
        to_turns = Lane[TurnFact]("turns", limits.facts)
        to_tools = Lane[ToolFact]("tools", limits.facts)
        to_hangup = Lane[HangupFact]("hangup", limits.facts)
        to_keypad = Lane[KeypadFact]("keypad", limits.facts)
        to_silence = Lane[ActivityFact]("silence", limits.facts)
        to_landing = Lane[ActivityFact]("landing", limits.facts)
        to_slow = Lane[SlowToolFact]("slow_tools", limits.facts)
        to_carrier = Lane[CarrierOrder]("to_carrier", limits.orders)
        to_session = Lane[SessionOrder]("to_session", limits.orders)
        self.lanes = (
            *(speech, to_recording, to_bargein, to_turns),
            *(to_tools, to_hangup, to_keypad, to_silence, to_landing, to_slow),
            *(to_carrier, to_session),
        )
        self.recording = Recording(to_recording, self.recorder)
        self.bargein = BargeIn(to_bargein, to_carrier, to_turns, to_hangup, to_recording, notes)
        turns = Turns(plan.server_interrupts, plan.server_answers, plan.server_confirms)
        carrier, session = self.carrier, self.session
        manners, sound = plan.manners, Sound()
        greets = plan.greeting is not None
        ears = Ears(greeting_first=greets and not manners.greeting_interruptible)
        keypad = KeypadWatch(
            *(to_keypad, to_session, to_turns, notes),
            *(Keypad(manners.tells_keys, manners.hash_ends_turn), carrier.hide_keys, ears),
        )
        hangup = Hangup(to_hangup, to_session, to_turns, notes)
        speaker = Speaker(to_bargein, to_turns, notes, hangup.when_quiet, self.voice)
        approvals = Approvals(to_session)
        control = LiveCall(
            *(plan.facts, carrier, to_session, to_bargein, to_hangup, notes),
            *(hangup.when_quiet, keypad.collect, keypad.asking, speaker),
            *(self._voice_ms, approvals, manners.key_tones, manners.language),
        )
        silence = None if manners.max_silence_s is None else Silence(manners.max_silence_s * 1000)
        landing = Landing(
            *(plan.facts.model, limits.call_s, manners.wrap_up_s, manners.max_cost_usd)
        )
        self.reader = CarrierReader(
            *(carrier, speech, to_bargein, to_recording, to_keypad),
            *(self.line, sound, ears, notes),
        )
        self.speech_writer = SpeechWriter(speech, session, self.line, notes, ears)
        notes.listen((SpeechStarted, SpeechStopped, SessionLost), to_keypad.put)
        notes.listen(get_args(GreetingFact), lambda fact: ears.note(fact, now_ms=notes.now_ms()))
        if silence is not None:
            notes.listen(get_args(ActivityFact), to_silence.put)
        if landing.is_wanted:
            notes.listen(get_args(ActivityFact), to_landing.put)
        slow = SlowToolWatch(
            *(to_slow, to_bargein, notes, SlowTools(manners.tool_filler_after_s * 1000)),
            *(manners.tool_filler, self.voice),
        )
        if slow.is_wanted:
            notes.listen(get_args(SlowToolFact), to_slow.put)
        self.player = Writer(to_carrier, carrier.send, notes)
        self.actors = {
            "carrier.reader": self.reader.run,
            "carrier.writer": self.player.run,
            "session.reader": SessionReader(session, to_bargein, to_turns, to_tools, notes).run,
            "session.speech": self.speech_writer.run,
            "session.writer": Writer(to_session, session.send, notes).run,
            "bargein": self.bargein.run,
            "turns": TurnTaking(to_turns, to_session, to_bargein, notes, plan.greeting, turns).run,
            "tools": ToolExecutor(
                *(to_tools, approvals, to_turns, to_hangup),
                *(self.tools, notes, limits.tool_s, control),
                ran_unasked=self.ran_unasked,
            ).run,
            "hangup": hangup.run,
            "keypad": keypad.run,
            "silence": SilenceWatch(
                to_silence, to_session, to_turns, to_hangup, notes, silence, sound
            ).run,
            "slow_tools": slow.run,
            "slow_tools.voice": slow.prepare,
            "landing": LandingWatch(to_landing, to_session, to_turns, notes, landing).run,
            "recording": self.recording.run,
        }

    def _voice_ms(self, fact: SpeechStarted) -> float:
        """When the caller's voice began, on the call's clock."""
        return self.line.call_ms(fact.audio_start_ms) + self.plan.padding_ms

    def drops(self) -> dict[str, int]:
        """Everything that was received and not passed on, by name. Once, when nobody runs."""
        unplayed: list[CarrierOrder | None] = [self.player.unsent, *self.player.lane.left_over()]
        return {
            "caller_frames_late": self.line.late_frames,
            "caller_bytes_late": self.line.late_bytes,
            "caller_bytes_overflowed": self.reader.overflowed_bytes,
            "caller_bytes_unsent": self.speech_writer.unsent_bytes(),
            "caller_bytes_unheard": self.speech_writer.unheard_bytes,
            "caller_frames_overflowed": self.speech.dropped,
            "caller_ms_filled_with_silence": self.line.filled_ms,
            "caller_ms_skipped": self.line.skipped_ms,
            "line_clock_restarts": self.line.restarts,
            "agent_bytes_cut": self.bargein.cut_bytes,
            "agent_bytes_late": self.bargein.late_bytes,
            "agent_bytes_clipped": self.bargein.clipped_bytes,
            "agent_bytes_withdrawn": self.bargein.withdrawn_bytes,
            "agent_bytes_unsent": self.bargein.unsent_bytes()
            + sum(len(order.ulaw) for order in unplayed if isinstance(order, Play)),
            "agent_bytes_padded": self.bargein.padded_bytes,
            "recording_messages_overflowed": self.recording.inbox.dropped,
        }


async def run_call(
    plan: Plan,
    carrier: Carrier,
    session: Session,
    *,
    tools: Tools,
    recorder: Recorder,
    store: CallStore,
    limits: Limits | None = None,
    voice: Voice | None = None,
    ran_unasked: RanUnasked | None = None,
) -> Exit:
    """Run one call to its end, whatever ends it, and record why.

    Without a `voice`, nothing is said but by the session: tools cannot ask the caller.
    `ran_unasked` is told what the session had run by itself.

    Resource handling: `carrier`, `session` and `recorder` are closed when this returns or is
    cancelled, and the store has exactly one record. Cancellable at any time; the goodbye that
    follows takes `Limits.cleanup_s` at most.
    """
    limits = limits or Limits()
    cast = _Cast(plan, carrier, session, tools, recorder, limits, voice, ran_unasked)
    log.info("call.started")
    exits: list[Exit] = []
    try:
        with trio.move_on_after(limits.call_s) as length:
            await first_exit(cast.actors, exits)
        if not exits and length.cancelled_caught:
            exits.append(TimedOut(limits.call_s))
    finally:
        # Without an ending, we were cancelled before any actor had one.
        why = exits[0] if exits else Killed()
        ended_ms = round(cast.notes.now_ms())
        drops = cast.drops()

        async def keep_record() -> None:
            record = cast.notes.journal.record(why, ended_ms=ended_ms, drops=drops)
            await store.finish(record)

        goodbyes: dict[str, tuple[Goodbye, ...]] = {
            "session": (lambda: _say_hung_up(session, why), session.aclose),
            "carrier": (lambda: _hang_up(carrier, why), carrier.aclose),
            "recording": (cast.recording.finish,),
            "store": (keep_record,),
        }
        # Shielded, so that a cancelled call still says goodbye; bounded, so that a dead peer or a
        # full disk cannot keep the process from stopping.
        with trio.move_on_after(limits.cleanup_s, shield=True) as cleanup:
            await _side_by_side(goodbyes)
        if cleanup.cancelled_caught:
            log.warning("call.cleanup_abandoned", after_s=limits.cleanup_s)
        log.info(
            "call.ended",
            **loggable(why),
            duration_ms=ended_ms,
            drops={name: count for name, count in drops.items() if count},
            lane_peaks={lane.name: lane.peak for lane in cast.lanes},
            held_peak_bytes=cast.bargein.held_peak,
        )
    return why


async def _say_hung_up(session: Session, why: Exit) -> None:
    """Tell the model that its hang-up happened."""
    if isinstance(why, AgentHungUp) and why.tool_call_id:
        with trio.move_on_after(LAST_WORD_S), suppress(PeerGone):
            await session.send(ReturnToolOutput(why.tool_call_id, HUNG_UP))


async def _hang_up(carrier: Carrier, why: Exit) -> None:
    """End the phone call itself if that is what the agent wanted."""
    if isinstance(why, AgentHungUp):
        with trio.move_on_after(HANG_UP_S):
            await carrier.hang_up()


async def _side_by_side(goodbyes: Mapping[str, Sequence[Goodbye]]) -> None:
    """Do everything that ends a call, part by part in turn; none of it can break another."""

    async def say(name: str, in_turn: Sequence[Goodbye]) -> None:
        for goodbye in in_turn:
            try:
                await goodbye()
            except Exception:
                # One failing goodbye must not cut the others short: a full disk, or a last word
                # that cannot be said, would leave a socket.
                log.error("call.goodbye_failed", part=name, traceback=traceback.format_exc())

    async with trio.open_nursery() as nursery:
        for name, in_turn in goodbyes.items():
            nursery.start_soon(say, name, in_turn)
