"""The actor that owns who may create or cancel a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import attrs
import trio

from actors.errors import SessionRefused
from actors.lanes import Lane
from actors.messages import (
    LOCAL,
    BargeInFact,
    CancelResponse,
    CreateResponse,
    FloorGiven,
    FloorTaken,
    ItemsAmended,
    OrderRefused,
    OutputsReturned,
    PlayoutFull,
    ResponseFinished,
    ResponseStarted,
    ResponseUnwanted,
    ResponseWanted,
    SessionLive,
    SessionLost,
    SessionMoved,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    ToolOutputAccepted,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.turns import GaveUp, TurnOrder, Turns


@attrs.define(eq=False)
class TurnTaking:
    """Greets, and gives every order to create, cancel, truncate or delete. Nobody else does."""

    inbox: Lane[TurnFact]
    session: Lane[SessionOrder]
    bargein: Lane[BargeInFact]
    notes: Notes
    greeting: CreateResponse | None
    turns: Turns
    _greeted: bool = attrs.field(default=False, init=False)

    async def run(self) -> NoReturn:
        """Serve the inbox and the clock until cancelled.

        Raises:
            SessionRefused: Responses keep failing.

        """
        while True:
            due_ms = self.turns.due_ms()
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            with trio.move_on_at(due_s):
                self._order(self._decide(await self.inbox.take()))
            self._order(self.turns.tick(now_ms=self.notes.now_ms()))

    def _decide(self, fact: TurnFact) -> Sequence[SessionOrder] | GaveUp:
        now_ms = self.notes.now_ms()
        match fact:
            case SpeechStarted():
                return self.turns.speech_started(now_ms=now_ms)
            case SpeechStopped():
                return self.turns.speech_stopped(now_ms=now_ms)
            case ResponseStarted() | ResponseFinished() if _is_local(fact.response_id):
                return []
            case ResponseStarted(response_id):
                orders = self.turns.response_started(fact, now_ms=now_ms)
                if CancelResponse(response_id) in orders:
                    self.bargein.put(ResponseUnwanted(response_id))
                return orders
            case ResponseFinished():
                return self.turns.response_finished(fact, now_ms=now_ms)
            case ToolOutputAccepted(tool_call_id):
                self.turns.output_accepted(tool_call_id)
                return []
            case OutputsReturned(tool_call_ids):
                return self.turns.wants(
                    CreateResponse("tools"), now_ms=now_ms, about=frozenset(tool_call_ids)
                )
            case ResponseWanted(order, about):
                return self.turns.wants(order, now_ms=now_ms, about=about)
            case OrderRefused(code):
                return self.turns.refused(code, now_ms=now_ms)
            case ItemsAmended(orders):
                return [order for order in orders if not _is_local(order.item_id)]
            case PlayoutFull(response_id):
                return self.turns.cancels(response_id)
            case FloorTaken() | FloorGiven() | SessionLive() | SessionLost() | SessionMoved():
                return self._change(fact, now_ms)

    def _change(
        self,
        fact: FloorTaken | FloorGiven | SessionLive | SessionLost | SessionMoved,
        now_ms: float,
    ) -> list[TurnOrder]:
        """The model may speak, or may not; there is a session, or there is none any more."""
        match fact:
            case FloorTaken():
                self.turns.floor_taken()
                return []
            case FloorGiven():
                return self.turns.floor_given(now_ms=now_ms)
            case SessionLive():
                orders = self.turns.session_live(now_ms=now_ms)
                if self.greeting is not None and not self._greeted:
                    self._greeted = True
                    orders = self.turns.wants(self.greeting, now_ms=now_ms)
                return orders
            case SessionLost(_, said, hears_again):
                return self.turns.session_lost(said, hears_again=hears_again, now_ms=now_ms)
            case SessionMoved():
                return []

    def _order(self, orders: Sequence[SessionOrder] | GaveUp) -> None:
        if isinstance(orders, GaveUp):
            raise SessionRefused(orders.code, "responses fail, and asking again did not help")
        for order in orders:
            self.session.put(order)


def _is_local(name: str) -> bool:
    """Whether the session knows nothing of it, and is to know nothing."""
    return name.startswith(LOCAL)
