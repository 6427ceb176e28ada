"""The barge-in controller: paces playout, and cuts it where the caller heard it end."""

from __future__ import annotations

from typing import Final, NoReturn

import attrs
import trio

from actors.lanes import Lane
from actors.messages import (
    LOCAL,
    BargedIn,
    BargeInFact,
    CarrierOrder,
    Clear,
    DeleteItem,
    FloorGiven,
    FloorTaken,
    HangupFact,
    ItemAudio,
    ItemAudioDone,
    ItemsAmended,
    Mark,
    MarkEchoed,
    Play,
    PlayoutFull,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    ResponseUnwanted,
    SayingEnded,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    TruncateItem,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.playout import Playout
from actors.recording import AgentCut, AgentSent, RecordingFact

PROBES_EARLY: Final = 4
PROBE_EARLY_MS: Final = 250.0
"""How the round trip is measured first: before the model has said anything, as a rule."""

PROBE_EVERY_MS: Final = 5_000.0
"""And then whenever nothing is playing, this often. A probe is a mark: 100 bytes."""

OVERDUE_MS: Final = 2_000.0
"""How long after its time the last mark may come. Then the clock is believed instead."""

PROBES_OUT: Final = 16
"""Probes without an echo that are remembered."""


@attrs.define(eq=False)
class BargeIn:
    """Holds the playout ledger. The only actor that gives the carrier orders.

    What it passes on to `hangup` is in the order of the audio: when a `ResponseFinished` arrives
    there, all that was to be played of that response is known to be playing.
    """

    inbox: Lane[BargeInFact]
    carrier: Lane[CarrierOrder]
    turns: Lane[TurnFact]
    hangup: Lane[HangupFact]
    recording: Lane[RecordingFact]
    notes: Notes
    cut_bytes: int = attrs.field(default=0, init=False)
    """Received and not played, because the caller spoke."""
    late_bytes: int = attrs.field(default=0, init=False)
    """Received for a response that was already interrupted."""
    clipped_bytes: int = attrs.field(default=0, init=False)
    """Received beyond what the ledger holds back."""
    withdrawn_bytes: int = attrs.field(default=0, init=False)
    """Of what was cut: never given to the carrier, the silence behind an item included."""
    _playout: Playout = attrs.field(factory=Playout, init=False)
    _clipped: set[str] = attrs.field(factory=set[str], init=False)
    """Items of which there was no room for all."""
    _full: set[str] = attrs.field(factory=set[str], init=False)
    """Their responses."""
    _caller_speaks: bool = attrs.field(default=False, init=False)
    _is_floor_taken: bool = attrs.field(default=False, init=False)
    """The model is to be silent: only what it had begun before is taken in."""
    _begun: str | None = attrs.field(default=None, init=False)
    """The response that was being made when the floor was taken."""
    _making: str | None = attrs.field(default=None, init=False)
    """The response that is being made."""
    _probes: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    _probed: int = attrs.field(default=0, init=False)
    _next_probe_ms: float = attrs.field(default=0.0, init=False)
    _was_idle: bool = attrs.field(default=True, init=False)
    _is_away: bool = attrs.field(default=False, init=False)
    """There is no stream to play anything on: it is held back."""

    async def run(self) -> NoReturn:
        """Serve the inbox and the clock until cancelled."""
        while True:
            with trio.move_on_at(self.notes.trio_s(self._wake_ms())):
                self._take_in(await self.inbox.take())
                # The session delivers in bursts: one pass over what is there, then the clock.
                while (fact := self.inbox.take_nowait()) is not None:
                    self._take_in(fact)
            self._keep_time()

    @property
    def padded_bytes(self) -> int:
        """Silence put behind items, to make whole frames."""
        return self._playout.padded_bytes

    @property
    def held_peak(self) -> int:
        """Most bytes that the ledger ever held back."""
        return self._playout.queued_peak

    def unsent_bytes(self) -> int:
        """How much of what came never reached the carrier's lane. For when this no longer runs."""
        waiting = self.inbox.left_over()
        return self._playout.queued_bytes + sum(
            len(fact.ulaw) for fact in waiting if isinstance(fact, ItemAudio)
        )

    def _wake_ms(self) -> float:
        if self._is_away:
            return float("inf")
        due = (self._playout.due_ms(), self._playout.overdue_ms(OVERDUE_MS))
        probe_ms = self._next_probe_ms if self._playout.idle else float("inf")
        return min([probe_ms, *(at_ms for at_ms in due if at_ms is not None)])

    def _take_in(self, fact: BargeInFact) -> None:
        match fact:
            case ItemAudio():
                self._receive(fact)
            case ItemAudioDone(_, item_id):
                self._playout.item_done(item_id)
            case MarkEchoed(name):
                self._hear(name)
            case SpeechStarted():
                self._caller_speaks = True
                amends = self._cut()
                self.hangup.put(fact)
                self._amend(amends)
            case SpeechStopped():
                self._caller_speaks = False
                self.hangup.put(fact)
            case ResponseStarted(response_id, _, number):
                self._playout.response_started(response_id)
                self._making = response_id
                if self._is_floor_taken or (self._caller_speaks and number is not None):
                    # It is being cancelled: somebody else has the floor, or it crossed the
                    # caller's first word on the wire. Not one frame of it may get past.
                    self._playout.kill_active()
                self.hangup.put(fact)
            case ResponseUnwanted(response_id):
                self._playout.kill(response_id)
            case ResponseFinished(response_id):
                self._playout.response_finished(response_id)
                self._making = None
                self._send_due()  # So that what it says is known to be playing before ...
                self.hangup.put(fact)
            case StreamLeft() | StreamMoved():
                self._move(fact)
                self.hangup.put(fact)
            case SayingEnded(item_id):
                self._withdraw(item_id)
            case FloorTaken() | FloorGiven():
                self._is_floor_taken = isinstance(fact, FloorTaken)
                self._begun = self._making
            case SessionLost() | SessionMoved():
                pass  # What it was making ends as every response does.

    def _receive(self, audio: ItemAudio) -> None:
        if self._playout.is_dead(audio.response_id) or self._is_out_of_turn(audio.response_id):
            self.late_bytes += len(audio.ulaw)
            is_dead = self._playout.is_dead(audio.response_id)
            if is_dead and self._playout.late(audio.item_id):
                self.turns.put(ItemsAmended((DeleteItem(audio.item_id),)))
        elif not self._playout.received(audio.response_id, audio.item_id, audio.ulaw):
            self.clipped_bytes += len(audio.ulaw)
            self._clipped.add(audio.item_id)
            if audio.response_id not in self._full:
                self._full.add(audio.response_id)
                self.turns.put(PlayoutFull(audio.response_id))

    def _is_out_of_turn(self, response_id: str) -> bool:
        """Whether a model talks though it has not the floor: one without responses may."""
        is_known = response_id == self._begun or response_id.startswith(LOCAL)
        return self._is_floor_taken and not is_known

    def _cut(self) -> tuple[TruncateItem | DeleteItem, ...]:
        """Clear what is playing. Returns what the conversation has to be told."""
        self._playout.kill_finished()
        self._playout.kill_active()
        if self._playout.idle:
            return ()  # Nothing is playing: an ordinary turn.
        # No checkpoint between these two lines, so the writer cannot slip a frame past them.
        unsent = self.carrier.drain()
        self.carrier.put(Clear())
        self._probes.clear()  # What was drained never echoes; what was not, echoes too soon.
        unsent_bytes = sum(len(order.ulaw) for order in unsent if isinstance(order, Play))
        self.withdrawn_bytes += self._playout.queued_bytes + unsent_bytes
        cut = self._playout.cut(now_ms=self.notes.now_ms(), unsent_bytes=unsent_bytes)
        self.cut_bytes += cut.dropped_bytes
        self.recording.put(AgentCut(round(cut.at_ms + self._playout.head.round_trip_ms)))
        if cut.items:
            self.notes.note(BargedIn(cut.items))
        self._become_idle(by_mark=False)
        return tuple(_amend(item.item_id, item.heard_ms) for item in cut.items)

    def _amend(self, amends: tuple[TruncateItem | DeleteItem, ...]) -> None:
        if amends:
            # By way of turns, which has heard of any speech before: a cancel goes first.
            self.turns.put(ItemsAmended(amends))

    def _withdraw(self, item_id: str) -> None:
        if self._playout.holds(item_id):
            self._amend(self._cut())  # It was said alone: nothing else plays.

    def _move(self, fact: StreamLeft | StreamMoved) -> None:
        if isinstance(fact, StreamLeft):
            self._leave()
        else:
            self._come_back()
            self._send_due()  # What was held back is playing before anybody hangs up.

    def _leave(self) -> None:
        """Hold everything back. Whatever is playing is lost with the stream: that is a cut."""
        self._is_away = True
        if self._playout.is_under_way:
            self._amend(self._cut())
        self._probes.clear()

    def _come_back(self) -> None:
        """Go on with what was held back, on a stream whose buffer is empty."""
        self._is_away = False
        self._probes.clear()
        self._probed = 0
        self._next_probe_ms = self.notes.now_ms()
        self._playout.restarts(now_ms=self.notes.now_ms())

    def _hear(self, name: str) -> None:
        now_ms = self.notes.now_ms()
        put_ms = self._probes.pop(name, None)
        if put_ms is not None:
            self._playout.head.probed(now_ms - put_ms)
            return
        for heard in self._playout.echoed(name, now_ms=now_ms):
            self.notes.note(heard)
            if heard.whole and heard.item_id in self._clipped:
                self.turns.put(ItemsAmended((_amend(heard.item_id, heard.heard_ms),)))
        if self._playout.idle:
            self._become_idle(by_mark=True)

    def _keep_time(self) -> None:
        if self._is_away:
            return
        self._send_due()
        now_ms = self.notes.now_ms()
        overdue_ms = self._playout.overdue_ms(OVERDUE_MS)
        if overdue_ms is not None and now_ms >= overdue_ms:
            self._playout.give_up_on_marks()
            self._become_idle(by_mark=False)
        if self._playout.idle and now_ms >= self._next_probe_ms:
            self._probe(now_ms)

    def _send_due(self) -> None:
        if self._is_away:
            return
        now_ms = self.notes.now_ms()
        while (portion := self._playout.take(now_ms=now_ms)) is not None:
            heard_from_ms = round(portion.starts_ms + self._playout.head.round_trip_ms)
            if portion.first:
                self._was_idle = False
                started = PlayoutStarted(portion.item_id, portion.response_id, heard_from_ms)
                self.notes.note(started)
                self.hangup.put(started)
            if portion.ulaw:
                self.carrier.put(Play(portion.ulaw))
                self.recording.put(AgentSent(heard_from_ms, portion.ulaw))
            if portion.mark is not None:
                self.carrier.put(Mark(portion.mark))

    def _become_idle(self, *, by_mark: bool) -> None:
        if not self._was_idle:
            self._was_idle = True
            idle = PlayoutIdle(by_mark)
            self.notes.note(idle)
            self.hangup.put(idle)

    def _probe(self, now_ms: float) -> None:
        """Put a mark into the empty buffer: it comes straight back."""
        name = self._playout.new_name()
        if len(self._probes) == PROBES_OUT:
            del self._probes[next(iter(self._probes))]
        self._probes[name] = now_ms
        self.carrier.put(Mark(name))
        self._probed += 1
        is_early = self._probed < PROBES_EARLY
        self._next_probe_ms = now_ms + (PROBE_EARLY_MS if is_early else PROBE_EVERY_MS)


def _amend(item_id: str, heard_ms: int) -> TruncateItem | DeleteItem:
    """Truncating at nothing is refused by the server, and means to delete."""
    return TruncateItem(item_id, heard_ms) if heard_ms else DeleteItem(item_id)
