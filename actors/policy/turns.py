"""Who may create a response, and when: one at a time, never over the caller, none forgotten.

Pure: no trio, no sockets, no clock. The server creates responses too, after the caller's turn, and
it refuses a second one while one is active; so a wish waits until there is room for it, and is
fulfilled by whichever response comes first that knows what the wish was about.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final, Literal

import attrs

from actors.errors import FATAL_CODES
from actors.messages import CancelResponse, CreateResponse, ResponseFinished, ResponseStarted

CONFIRM_MS: Final = 6_000
"""How long the server may take to start a response we asked for, before we ask again. Observed:
0.3 s as a rule; meanwhile the phone is silent, so not much longer."""

UNCONFIRMED_MAX: Final = 2
"""So many orders in a row without a word, and the server is not going to answer this caller."""

SERVER_TURN_MS: Final = 3_000
"""How long the server may take to start its own response after the caller stopped. If it does not
(a cough that was no turn, or a turn it forgot), a wish that waited is served, or the caller is
answered at our word."""

RETRY_MS: Final = (500.0, 2_000.0)
"""Pauses before a failed response is asked for again; after the last of them we give up."""

ACCEPTED: Final = 256
"""Tool outputs remembered as known to the conversation: more than run between two responses."""

TurnOrder = CreateResponse | CancelResponse


class Phase(Enum):
    """What the one default-conversation response is doing."""

    IDLE = auto()
    ASKED = auto()
    """We ordered one and have not heard of it yet."""
    ACTIVE = auto()


@attrs.frozen
class GaveUp:
    """Responses fail, and asking again did not help."""

    code: str


@attrs.frozen
class _Wish:
    order: CreateResponse
    about: frozenset[str] = frozenset()
    """Tool outputs that a response must know of to fulfil this wish."""
    not_before_ms: float = 0.0


@attrs.define(eq=False)
class Turns:
    """The one owner of creating and cancelling. Every method returns what to order now.

    Args:
        server_interrupts: The session cancels its response by itself when the caller speaks.
        server_answers: The session creates a response by itself when the caller stops.
        server_confirms: The session says when a response begins and ends. If not, an order is a
            nudge: given, and forgotten.

    """

    server_interrupts: bool = True
    server_answers: bool = True
    server_confirms: bool = True
    phase: Phase = attrs.field(default=Phase.IDLE, init=False)
    caller_speaks: bool = attrs.field(default=False, init=False)
    number: int = attrs.field(default=0, init=False)
    """Of the latest order."""
    losses: int = attrs.field(default=0, init=False)
    """Sessions that were lost."""
    _is_away: bool = attrs.field(default=False, init=False)
    """The session was lost, and the next one is not there yet."""
    _turns: int = attrs.field(default=0, init=False)
    """The caller's, as far as they are answered at our word."""
    _wish: _Wish | None = attrs.field(default=None, init=False)
    """What is wished for and not ordered."""
    _ordered: dict[int, _Wish | None] = attrs.field(factory=dict[int, _Wish | None], init=False)
    """Orders that were neither obeyed nor refused, oldest first. `None`: fulfilled otherwise."""
    _is_awaited: bool = attrs.field(default=False, init=False)
    """Whether the latest order has not been given up on."""
    _asked_ms: float = attrs.field(default=0.0, init=False)
    _response_id: str | None = attrs.field(default=None, init=False)
    """`None` while active: a response the server told us of only by refusing ours."""
    _response_wish: _Wish | None = attrs.field(default=None, init=False)
    """What the active response is for, if it is ours."""
    _server_turn_ms: float | None = attrs.field(default=None, init=False)
    """Since when the server owes a response of its own."""
    _is_floor_taken: bool = attrs.field(default=False, init=False)
    """Somebody else speaks to the caller, and listens to them: the model is to be silent."""
    _is_answered_elsewhere: bool = attrs.field(default=False, init=False)
    """The caller's latest turn was an answer to whoever had taken the floor."""
    _accepted: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=ACCEPTED), init=False)
    _failures: int = attrs.field(default=0, init=False)
    _unconfirmed: int = attrs.field(default=0, init=False)

    def wants(
        self, order: CreateResponse, *, now_ms: float, about: frozenset[str] = frozenset()
    ) -> list[TurnOrder]:
        """Somebody wants the model to speak."""
        waiting = self._wish.about if self._wish else frozenset[str]()
        self._wish = _Wish(order, about | waiting)
        return self._serve(now_ms)

    def output_accepted(self, tool_call_id: str) -> None:
        """The conversation contains this tool's output from here on."""
        self._accepted.append(tool_call_id)

    def speech_started(self, *, now_ms: float) -> list[TurnOrder]:
        """The caller speaks: nothing of ours starts now."""
        self.caller_speaks = True
        self._server_turn_ms, self._is_answered_elsewhere = None, False
        if self.phase is Phase.ACTIVE and self._response_id and not self.server_interrupts:
            return [CancelResponse(self._response_id)]
        return self._serve(now_ms)

    def speech_stopped(self, *, now_ms: float) -> list[TurnOrder]:
        """The caller is done: the server's own answer comes first, if it gives any."""
        self.caller_speaks = False
        if self.server_answers:
            self._server_turn_ms, self._is_answered_elsewhere = now_ms, self._is_floor_taken
        elif not self._is_floor_taken:
            # Under a name of its own: a response that began before knows nothing of this turn.
            self._turns += 1
            self._wish_again(_Wish(CreateResponse("turn"), frozenset({f"turn {self._turns}"})))
        return self._serve(now_ms)

    def session_lost(
        self, said: Literal["nothing", "part", "all"], *, hears_again: bool, now_ms: float
    ) -> list[TurnOrder]:
        """All that was ordered is void, and wished for again.

        Args:
            said: How much of the active response the caller hears all the same.
            hears_again: The next session hears the caller's latest turn itself, and answers it.
            now_ms: On any steady clock.

        """
        was_active, owes = self.phase is Phase.ACTIVE, self._server_turn_ms is not None
        active, self._response_wish = self._response_wish, None
        ordered, self._ordered = self._ordered, {}
        self.phase, self._response_id, self._is_awaited = Phase.IDLE, None, False
        self._server_turn_ms, self._unconfirmed = None, 0
        self.losses, self._is_away, self.caller_speaks = self.losses + 1, True, hears_again
        for wish in ordered.values():
            self._wish_again(wish)
        if was_active and active is not None:
            self._wish_again(_rest_of(active, said))
        elif self._is_floor_taken or self._is_answered_elsewhere:
            pass  # What it was making, or owed, was not wanted.
        elif (was_active or owes) and not (hears_again and self.server_answers):
            self._wish_again(_Wish(CreateResponse("retry")))
        return self._serve(now_ms)

    def session_live(self, *, now_ms: float) -> list[TurnOrder]:
        """There is a session to give orders to, for the first time or again."""
        self._is_away = False
        return self._serve(now_ms)

    def response_started(self, fact: ResponseStarted, *, now_ms: float) -> list[TurnOrder]:
        """Some response began, ours or the server's."""
        is_stale = fact.number in self._ordered and self._ordered[fact.number] is None
        is_superfluous = self._is_superfluous(fact)
        wish = self._obeyed(fact.number)
        self.phase, self._response_id = Phase.ACTIVE, fact.response_id
        if is_stale or is_superfluous or (self.caller_speaks and fact.number is not None):
            # Somebody has said it already; or it was on its way when the caller began, and would
            # talk over them; or somebody else has the floor.
            self._wish_again(wish)
            return [CancelResponse(fact.response_id)]
        self._response_wish = wish
        self._fulfil({*self._accepted, *(wish.about if wish else ())})
        return self._serve(now_ms)

    def response_finished(
        self, fact: ResponseFinished, *, now_ms: float
    ) -> list[TurnOrder] | GaveUp:
        """Some response ended. There may have been no word of its start (observed, 2026)."""
        wish = None
        if fact.number in self._ordered:
            wish = self._obeyed(fact.number)
            self.phase = self._rest()
            # When it began is not known, and so not what has been accepted by then.
            self._fulfil(set(wish.about if wish else ()))
        elif self.phase is Phase.ACTIVE and self._response_id in (None, fact.response_id):
            wish, self._response_wish = self._response_wish, None
            self.phase, self._response_id = self._rest(), None
        if fact.status != "failed" or (self._is_floor_taken and wish is None):
            if fact.status == "completed":
                self._failures = 0
            return self._serve(now_ms)
        code = fact.reason or "failed"
        if code in FATAL_CODES or self._failures == len(RETRY_MS):
            return GaveUp(code)
        pause_ms = RETRY_MS[self._failures]
        self._failures += 1
        instructions = wish.order.instructions if wish else None
        about = wish.about if wish else frozenset[str]()
        self._wish_again(_Wish(CreateResponse("retry", instructions), about), now_ms + pause_ms)
        return self._serve(now_ms)

    def refused(self, code: str, *, now_ms: float) -> list[TurnOrder]:
        """The server refused an order. Only a refused creation matters here."""
        if code == "conversation_already_has_active_response" and self._ordered:
            # It obeys or refuses in the order of our orders; and its word for the end of what is
            # in the way comes behind this one, whichever order this was about.
            oldest = next(iter(self._ordered))
            self._wish_again(self._ordered.pop(oldest))
            if self.phase is not Phase.ACTIVE:
                self.phase, self._response_id, self._response_wish = Phase.ACTIVE, None, None
        return self._serve(now_ms)

    def cancels(self, response_id: str) -> list[TurnOrder]:
        """Somebody has heard enough of a response, if it is still being made."""
        if self.phase is Phase.ACTIVE and self._response_id == response_id:
            return [CancelResponse(response_id)]
        return []

    def floor_taken(self) -> None:
        """From here on the model is to say nothing. What it is saying, it may finish."""
        self._is_floor_taken = True

    def floor_given(self, *, now_ms: float) -> list[TurnOrder]:
        """The model may speak again, and does if somebody wished for it meanwhile."""
        self._is_floor_taken = False
        return self._serve(now_ms)

    def due_ms(self) -> float | None:
        """When `tick` has something to do, if nothing happens before."""
        if self.phase is Phase.ASKED:
            return self._asked_ms + CONFIRM_MS
        if self.phase is Phase.ACTIVE or self.caller_speaks or self._is_away:
            return None
        if self._server_turn_ms is not None:
            return self._server_turn_ms + SERVER_TURN_MS
        return self._wish.not_before_ms if self._wish and not self._is_floor_taken else None

    def tick(self, *, now_ms: float) -> list[TurnOrder] | GaveUp:
        """Act on time that has passed."""
        due_ms = self.due_ms()
        if due_ms is None or now_ms < due_ms:
            return []
        if self.phase is Phase.ASKED:
            self._unconfirmed += 1
            if self._unconfirmed == UNCONFIRMED_MAX:
                return GaveUp("no_response")
            # It may be obeyed yet: then it fulfils what is wished for again.
            self.phase, self._is_awaited = Phase.IDLE, False
            self._wish_again(self._ordered[self.number])
        elif self._wish is None and not (self._is_floor_taken or self._is_answered_elsewhere):
            self._wish = _Wish(CreateResponse("retry"))
        self._server_turn_ms, self._is_answered_elsewhere = None, False
        return self._serve(now_ms)

    def _is_superfluous(self, fact: ResponseStarted) -> bool:
        """Whether a response begins while somebody else has the floor, or answers what they asked.

        The latter may be spoken about if it knows what came of it.
        """
        if self._is_floor_taken:
            return True
        if fact.number is not None or not self._is_answered_elsewhere:
            return False
        return self._wish is None or not self._wish.about <= {*self._accepted}

    def _rest(self) -> Phase:
        """The phase when nothing is active: an order may be under way all the same."""
        is_asked = self._is_awaited and self._ordered.get(self.number) is not None
        return Phase.ASKED if is_asked else Phase.IDLE

    def _obeyed(self, number: int | None) -> _Wish | None:
        """A response is heard of. Returns the wish it is ours for; forgets orders before it."""
        self._server_turn_ms = None
        if number is None:
            self._is_answered_elsewhere = False
        self._unconfirmed = 0
        wish = self._ordered.get(number) if number is not None else None
        self._ordered = {
            known: wish for known, wish in self._ordered.items() if known > (number or 0)
        }
        return wish

    def _fulfil(self, known: set[str]) -> None:
        """A response knows these outputs: what it knows enough for is not wished for any more."""
        if self._wish is not None and self._wish.about <= known:
            self._wish = None
        for number, ordered in self._ordered.items():
            if ordered is not None and ordered.about <= known:
                self._ordered[number] = None

    def _wish_again(self, wish: _Wish | None, not_before_ms: float = 0.0) -> None:
        """What was ordered did not come about; a later wish keeps its words."""
        if wish is not None:
            order = self._wish.order if self._wish else wish.order
            about = wish.about | (self._wish.about if self._wish else frozenset())
            self._wish = _Wish(order, about, not_before_ms)

    def _serve(self, now_ms: float) -> list[TurnOrder]:
        """Order the response that was wished for, if there is room for it."""
        wish = self._wish
        if (
            wish is None
            or self.phase is not Phase.IDLE
            or self._is_floor_taken
            or self.caller_speaks
            or self._is_away
            or self._server_turn_ms is not None
            or now_ms < wish.not_before_ms
        ):
            return []
        self._wish = None
        self.number += 1
        if self.server_confirms:
            self.phase, self._asked_ms, self._is_awaited = Phase.ASKED, now_ms, True
            self._ordered[self.number] = wish
        return [attrs.evolve(wish.order, number=self.number, losses=self.losses)]


def _rest_of(wish: _Wish, said: Literal["nothing", "part", "all"]) -> _Wish | None:
    """What is still wanted of a response that was cut off."""
    if said == "nothing":
        return wish
    if said == "all" and wish.order.purpose == "greeting":
        return None  # Nobody is greeted twice. Any other response might have called a tool yet.
    return attrs.evolve(wish, order=CreateResponse("retry"))
