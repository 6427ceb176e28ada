"""The soft landing: tells the agent that the call has to come to an end, and then ends it."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.exits import TimedOut
from actors.lanes import Lane
from actors.messages import (
    AddText,
    CreateResponse,
    ResponseWanted,
    SessionOrder,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.activity import ActivityFact
from actors.policy.landing import Landing, Step

WRAP_UP: Final = (
    "[This call has to end within {seconds:.0f} seconds. Bring the conversation to its end: say so "
    "kindly in the language of the conversation, give the caller what they still need most, say "
    "goodbye and hang up.]"
)


@attrs.define(eq=False)
class LandingWatch:
    """Watches the length and the cost of the call.

    Args:
        inbox: What was noted of the call, as far as it says who does something, and what it cost.
        session: Is told to come to an end.
        turns: Is told to speak of it.
        notes: The call's clock.
        landing: When that is.

    """

    inbox: Lane[ActivityFact]
    session: Lane[SessionOrder]
    turns: Lane[TurnFact]
    notes: Notes
    landing: Landing

    async def run(self) -> TimedOut:
        """Serve the inbox and the clock until cancelled, or until the call has cost enough."""
        while True:
            due_ms = self.landing.due_ms()
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            step: Step | None = None
            with trio.move_on_at(due_s):
                fact = await self.inbox.take()
                step = self.landing.note(fact, now_ms=self.notes.now_ms())
            self._do(step)
            if self._do(self.landing.tick(now_ms=self.notes.now_ms())) is Step.END:
                return TimedOut(round(self.notes.now_ms() / 1000, 3), "cost")

    def _do(self, step: Step | None) -> Step | None:
        match step:
            case Step.TELL:
                left_s = self.landing.left_s(now_ms=self.notes.now_ms())
                text = WRAP_UP.format(seconds=max(1.0, left_s))
                self.session.put(AddText("system", text))
            case Step.SPEAK:
                self.turns.put(ResponseWanted(CreateResponse("wrap_up")))
            case Step.END | None:
                pass
        return step
