"""Who said what, when, and how much of it was heard. Pure: no trio, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import attrs

from actors.messages import (
    ULAW_BYTES_PER_MS,
    BargedIn,
    CallerTranscript,
    ItemAudio,
    ItemAudioDone,
    ItemCut,
    ItemHeard,
    ItemTranscript,
    PlayoutIdle,
    PlayoutStarted,
    ResponseStarted,
    SpeechStarted,
    SpeechStopped,
)
from actors.policy.record import BargeInRecord, CutItem, Said, TurnRecord

WORD_CHARS: Final = 24
"""A run without a space longer than this is a script that writes none, and may be cut anywhere.

Smaller and long words of European languages are cut in two; larger and a sentence of Japanese
that was half heard counts as unheard.
"""

ITEMS_MAX: Final = 1200
"""Utterances remembered: one every three seconds for an hour."""

TURNS_MAX: Final = 600
"""Turns and barge-ins remembered, each: one every six seconds for an hour."""


@attrs.define(eq=False)
class Room:
    """How much more a record may hold: what keeps the memory of one call bounded."""

    characters: int
    entries_left_out: int = attrs.field(default=0, init=False)
    characters_left_out: int = attrs.field(default=0, init=False)

    def fit(self, text: str, *, longest: int = 8192) -> str:
        """Cut `text` to what there is room for, and count the rest."""
        kept = text[: min(longest, self.characters)]
        self.characters -= len(kept)
        self.characters_left_out += len(text) - len(kept)
        return kept

    def has(self, entries: int, *, most: int) -> bool:
        """Whether a list that holds `entries` may grow. Counts the refusal when not."""
        if entries < most:
            return True
        self.entries_left_out += 1
        return False


@attrs.define(eq=False)
class _Utterance:
    item_id: str
    who: Literal["caller", "agent"]
    arrived_ms: int
    began_ms: int | None = None
    ended_ms: int | None = None
    text: str | None = None
    received_bytes: int = 0
    received_ms: int = 0
    heard_ms: int = 0
    audio_done: bool = False
    whole: bool = False
    cut: bool = False
    text_when_cut: int = 0
    """Characters there were when it was cut: later ones are of audio that was thrown away."""


@attrs.define(eq=False)
class _Turn:
    item_id: str
    caller_stopped_ms: int
    first_audio_ms: int | None = None
    first_heard_ms: int | None = None


@attrs.define(eq=False)
class Transcript:
    """Everything said in one call, by either side.

    Args:
        room: What is left of the record's size.
        silence_ms: The silence after which the session decides that the caller stopped.
        padding_ms: Audio before the voice that the session counts as speech.
        session_clock: Turns a position in the audio the session was sent, in ms, into ms on the
            call's clock. `None`: the time at which a fact arrived has to do.

    """

    room: Room
    silence_ms: int = 0
    padding_ms: int = 0
    session_clock: Callable[[int], int] | None = None
    barge_ins: list[BargeInRecord] = attrs.field(factory=list[BargeInRecord], init=False)
    _utterances: dict[str, _Utterance] = attrs.field(factory=dict[str, _Utterance], init=False)
    """By item id, in the order of arrival."""
    _playing: dict[str, _Utterance] = attrs.field(factory=dict[str, _Utterance], init=False)
    """What began to play, and of which nobody said yet that all of it was heard."""
    _turns: list[_Turn] = attrs.field(factory=list[_Turn], init=False)
    _unanswered: _Turn | None = attrs.field(default=None, init=False)
    _unheard: dict[str, _Turn] = attrs.field(factory=dict[str, _Turn], init=False)
    """Turns whose answer plays but was not heard yet, by the item of the answer."""
    _recent_responses: list[str] = attrs.field(factory=list[str], init=False)
    _early_responses: frozenset[str] = attrs.field(factory=frozenset[str], init=False)
    """Responses that had begun before the caller stopped: they answer something else."""

    def note(self, at_ms: int, message: object) -> None:
        """Take in what concerns speech. Anything else is ignored."""
        self._hear_caller(at_ms, message)
        self._receive_agent(at_ms, message)
        self._play_agent(at_ms, message)
        self._time_turns(at_ms, message)

    def said(self, *, ended_ms: int) -> tuple[Said, ...]:
        """Put together what was said, in the order of speech, for a call that ended then."""
        # What was never played has no moment of its own: it stands behind what arrived before it.
        spoken: list[tuple[int, _Utterance]] = []
        agent_ms = 0
        for one in self._utterances.values():
            key_ms = one.arrived_ms if one.began_ms is None else one.began_ms
            if one.who == "agent":
                key_ms = agent_ms = max(key_ms, agent_ms)
            spoken.append((key_ms, one))
        spoken.sort(key=lambda pair: pair[0])
        return tuple(
            _caller_said(one) if one.who == "caller" else _agent_said(one, ended_ms)
            for _, one in spoken
        )

    def turns(self) -> tuple[TurnRecord, ...]:
        """How long the caller waited, turn by turn."""
        return tuple(
            TurnRecord(
                caller_stopped_ms=turn.caller_stopped_ms,
                first_audio_ms=turn.first_audio_ms,
                first_heard_ms=turn.first_heard_ms,
                item_id=turn.item_id,
            )
            for turn in self._turns
        )

    def _hear_caller(self, at_ms: int, message: object) -> None:
        match message:
            case SpeechStarted(item_id, audio_start_ms):
                one = self._utterance(item_id, "caller", at_ms)
                if one is not None and one.began_ms is None:
                    one.began_ms = self._line_ms(audio_start_ms + self.padding_ms, at_ms)
            case SpeechStopped(item_id, audio_end_ms):
                stopped_ms = self._stopped_ms(audio_end_ms, at_ms)
                one = self._utterance(item_id, "caller", at_ms)
                if one is not None:
                    one.began_ms = stopped_ms if one.began_ms is None else one.began_ms
                    one.ended_ms = max(one.began_ms, stopped_ms)
            case CallerTranscript(item_id, text):
                one = self._utterance(item_id, "caller", at_ms)
                if one is not None:
                    one.text = self.room.fit(text)
            case _:
                pass

    def _receive_agent(self, at_ms: int, message: object) -> None:
        match message:
            case ItemTranscript(item_id, text):
                one = self._utterance(item_id, "agent", at_ms)
                if one is not None:
                    one.text = (one.text or "") + self.room.fit(text)
            case ItemAudio(_, item_id, ulaw):
                one = self._utterance(item_id, "agent", at_ms)
                if one is not None and not one.cut:
                    one.received_bytes += len(ulaw)
                    one.received_ms = one.received_bytes // ULAW_BYTES_PER_MS
            case ItemAudioDone(_, item_id):
                one = self._utterance(item_id, "agent", at_ms)
                if one is not None:
                    one.audio_done = True
            case _:
                pass

    def _play_agent(self, at_ms: int, message: object) -> None:
        match message:
            case PlayoutStarted(item_id, _, heard_from_ms):
                one = self._utterance(item_id, "agent", at_ms)
                if one is not None and one.began_ms is None:
                    one.began_ms = at_ms if heard_from_ms is None else heard_from_ms
                    self._playing[item_id] = one
            case ItemHeard():
                self._heard(at_ms, message)
            case PlayoutIdle():
                self._idle(at_ms)
            case BargedIn(items):
                self._barged_in(at_ms, items)
            case _:
                pass

    def _heard(self, at_ms: int, fact: ItemHeard) -> None:
        one = self._utterance(fact.item_id, "agent", at_ms)
        if one is None or one.cut:
            return  # After a cut, the barge-in's own estimate is the better one.
        one.heard_ms = max(one.heard_ms, fact.heard_ms)
        one.ended_ms = at_ms
        if fact.whole:
            one.whole = True
            self._playing.pop(fact.item_id, None)

    def _idle(self, at_ms: int) -> None:
        for item_id, one in list(self._playing.items()):
            # The marks were lost or late: what was received has been heard all the same.
            if one.heard_ms < one.received_ms:
                one.heard_ms, one.ended_ms = one.received_ms, at_ms
            if one.audio_done:
                one.whole = True
                del self._playing[item_id]

    def _barged_in(self, at_ms: int, items: tuple[ItemCut, ...]) -> None:
        if self.room.has(len(self.barge_ins), most=TURNS_MAX):
            cuts = (
                CutItem(item_id=cut.item_id, heard_ms=cut.heard_ms, received_ms=cut.received_ms)
                for cut in items
            )
            self.barge_ins.append(BargeInRecord(at_ms=at_ms, items=tuple(cuts)))
        for cut in items:
            one = self._utterance(cut.item_id, "agent", at_ms)
            if one is None:
                continue
            one.cut = True
            one.heard_ms = cut.heard_ms
            one.received_ms = cut.received_ms
            one.text_when_cut = len(one.text or "")
            one.ended_ms = None if one.began_ms is None else at_ms
            self._playing.pop(cut.item_id, None)

    def _time_turns(self, at_ms: int, message: object) -> None:
        match message:
            case ResponseStarted(response_id):
                # Two are alive at once at most; a few more cost nothing.
                self._recent_responses = [*self._recent_responses[-7:], response_id]
            case SpeechStarted():
                self._unanswered = None  # The caller goes on: nobody owes the last turn an answer.
            case SpeechStopped(item_id, audio_end_ms):
                stopped_ms = self._stopped_ms(audio_end_ms, at_ms)
                turn = self._unanswered = _Turn(item_id, stopped_ms)
                self._early_responses = frozenset(self._recent_responses)
                if self.room.has(len(self._turns), most=TURNS_MAX):
                    self._turns.append(turn)
            case PlayoutStarted(item_id, response_id):
                answered = self._unanswered
                if answered is None or response_id in self._early_responses:
                    return
                answered.first_audio_ms = max(0, at_ms - answered.caller_stopped_ms)
                self._unanswered = None
                # One answer plays at a time: an older one was cut before it was heard.
                self._unheard = {item_id: answered}
            case ItemHeard(item_id, heard_ms) if heard_ms > 0 and item_id in self._unheard:
                turn = self._unheard.pop(item_id)
                # The mark stands behind so much of it: it began to be heard that much before.
                turn.first_heard_ms = max(0, at_ms - heard_ms - turn.caller_stopped_ms)
            case _:
                pass

    def _utterance(
        self, item_id: str, who: Literal["caller", "agent"], at_ms: int
    ) -> _Utterance | None:
        """Find or begin one; `None` when there is no room, or the item is the other side's."""
        one = self._utterances.get(item_id)
        if one is None:
            if not self.room.has(len(self._utterances), most=ITEMS_MAX):
                return None
            one = self._utterances[item_id] = _Utterance(item_id, who, at_ms)
        return one if one.who == who else None

    def _line_ms(self, session_ms: int, at_ms: int) -> int:
        if self.session_clock is None:
            return at_ms
        # Nothing is heard before it was said, whatever the two clocks think of each other.
        return max(0, min(at_ms, self.session_clock(session_ms)))

    def _stopped_ms(self, audio_end_ms: int, at_ms: int) -> int:
        if self.session_clock is None:
            return max(0, at_ms - self.silence_ms)
        return self._line_ms(max(0, audio_end_ms - self.silence_ms), at_ms)


def divide(text: str, heard_ms: int, received_ms: int) -> tuple[str, str]:
    """Divide what was said into what was heard and what was not, between two words.

    A word that was only begun counts as unheard.
    """
    if heard_ms <= 0:
        return "", text
    if heard_ms >= received_ms:
        return text, ""
    point = len(text) * heard_ms // received_ms
    if not (text[point : point + 1].isspace() or text[point - 1 : point].isspace()):
        begin = point
        while begin > 0 and not text[begin - 1].isspace():
            begin -= 1
        if point - begin <= WORD_CHARS:
            point = begin
    return text[:point].rstrip(), text[point:].lstrip()


def _caller_said(one: _Utterance) -> Said:
    return Said(
        who="caller",
        began_ms=one.arrived_ms if one.began_ms is None else one.began_ms,
        ended_ms=one.ended_ms,
        item_id=one.item_id,
        text=one.text,
    )


def _agent_said(one: _Utterance, call_ended_ms: int) -> Said:
    heard_ms, text = one.heard_ms, one.text or ""
    received_ms = max(heard_ms, one.received_ms)
    if one.began_ms is None and not one.heard_ms:
        heard, unheard = "", text
    elif one.whole or not text:
        heard, unheard = text, ""
    else:
        # Words that came after the cut belong to audio that was thrown away.
        known = one.text_when_cut if one.cut and one.text_when_cut else len(text)
        heard, unheard = divide(text[:known], heard_ms, received_ms)
        late = text[known:]
        unheard = unheard + late if unheard else late.lstrip()
    ended_ms = one.ended_ms
    if ended_ms is None and one.began_ms is not None:
        ended_ms = max(one.began_ms, min(call_ended_ms, one.began_ms + received_ms))
    return Said(
        who="agent",
        began_ms=one.began_ms,
        ended_ms=ended_ms,
        item_id=one.item_id,
        text=one.text,
        heard=heard,
        unheard=unheard,
        heard_ms=heard_ms,
        received_ms=received_ms,
        interrupted=one.cut,
    )
