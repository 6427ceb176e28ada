"""Whose turn it is between a caller and a session, from what passes between the two.

Pure: no trio, no clock; positions are ms in all the audio that the call ever sent.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import attrs

from actors.messages import (
    CallerTranscript,
    CreateResponse,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    OrderRefused,
    ResponseFinished,
    ResponseStarted,
    SessionFact,
    SpeechStarted,
    SpeechStopped,
)

TURNS_MAX: Final = 32
"""Turns of the caller that nobody understood yet."""

RESPONSES: Final = 64
"""Responses remembered as this session's own."""


@attrs.define(eq=False)
class Turn:
    """Something the caller said, of which the conversation has no words yet."""

    item_id: str
    start_ms: int
    is_over: bool = False


@attrs.define(eq=False)
class Floor:
    """Keeps who speaks and who owes what. Every method takes what just passed."""

    active: str | None = attrs.field(default=None, init=False)
    """The response that is being made."""
    is_ordered: bool = attrs.field(default=False, init=False)
    """A response was asked for, and has not begun."""
    awaits_answer: bool = attrs.field(default=False, init=False)
    """The caller stopped, and no response has begun since."""
    caller_speaks: bool = attrs.field(default=False, init=False)
    stopped_ms: int = attrs.field(default=0, init=False)
    """Where the caller stopped last."""
    unheard: deque[Turn] = attrs.field(factory=lambda: deque[Turn](maxlen=TURNS_MAX), init=False)
    """Turns without a transcript and without an answer, oldest first."""
    _answering: list[Turn] = attrs.field(factory=list[Turn], init=False)
    """What the active response answers."""
    _begun: set[str] = attrs.field(factory=set[str], init=False)
    """Items of the active response, by what came of them."""
    _done: set[str] = attrs.field(factory=set[str], init=False)
    _has_audio: bool = attrs.field(default=False, init=False)
    _responses: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=RESPONSES), init=False)

    def take(self, fact: SessionFact) -> None:
        """Something came from the session."""
        match fact:
            case SpeechStarted(item_id, start_ms):
                self.caller_speaks, self.awaits_answer = True, False
                if all(turn.item_id != item_id for turn in self.unheard):
                    self.unheard.append(Turn(item_id, start_ms))
            case SpeechStopped(item_id, end_ms):
                self.caller_speaks, self.awaits_answer = False, True
                self.stopped_ms = end_ms
                for turn in self.unheard:
                    turn.is_over = turn.is_over or turn.item_id == item_id
            case CallerTranscript(item_id):
                self._understood([turn for turn in self.unheard if turn.item_id == item_id])
            case ResponseStarted(response_id):
                self.is_ordered = self.awaits_answer = False
                self.active = response_id
                self._responses.append(response_id)
                self._begun, self._done, self._has_audio = set(), set(), False
                self._answering = [turn for turn in self.unheard if turn.is_over]
            case ItemTranscript(item_id):
                self._begun.add(item_id)
            case ItemAudio(_, item_id, ulaw):
                self._begun.add(item_id)
                self._has_audio = self._has_audio or bool(ulaw)
            case ItemAudioDone(_, item_id):
                self._done.add(item_id)
            case ResponseFinished(response_id, status):
                self.is_ordered = False
                if status in ("completed", "incomplete"):
                    self._understood(self._answering)
                if self.active in (None, response_id):
                    self.active, self._answering = None, []
            case OrderRefused():
                self.is_ordered = False
            case _:
                pass

    def orders(self, order: CreateResponse) -> None:
        """A response is asked for."""
        del order
        self.is_ordered = True

    def is_ours(self, response_id: str) -> bool:
        """Whether this session made this response."""
        return response_id in self._responses

    @property
    def said(self) -> Literal["nothing", "part", "all"]:
        """How much of the active response has come."""
        if self.active is None or not self._has_audio:
            return "nothing"
        return "all" if self._begun <= self._done else "part"

    @property
    def owes(self) -> bool:
        """Whether it is for the session to speak."""
        waits = self.is_ordered or self.awaits_answer or self.active is not None
        return waits and not self.caller_speaks

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that a change of sessions could break."""
        return not (self.owes or self.caller_speaks or self.unheard)

    def lost(self) -> None:
        """This session is gone. What the caller said and nobody understood stays."""
        self.active, self.is_ordered, self.awaits_answer = None, False, False
        self.caller_speaks = False
        self._answering = []
        self._responses.clear()
        for turn in self.unheard:
            turn.is_over = False

    def _understood(self, turns: list[Turn]) -> None:
        for turn in turns:
            if turn in self.unheard:
                self.unheard.remove(turn)
