"""Who the session of a call is at this moment, and what the call is to be told next."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import SessionFact
from gateway.session.connections import One, Spare, Which


@attrs.define(eq=False)
class Seat:
    """The one place that sessions take one after another. Whoever changes it says so to all."""

    current: One | None = None
    """Who is asked at this moment. `None`: nobody, for now or for good."""
    which: Which = "first"
    latest: Spare | None = None
    """The current session, or the last that was."""
    spare: Spare | None = None
    """Is open, and has not taken over."""
    is_held: bool = False
    """A successor is being told: what is ordered now is for it."""
    losses: int = 0
    """Sessions that were lost."""
    moves: int = 0
    """Sessions that took over from another."""
    failure: PeerGone | SessionRefused | None = None
    """Why there is going to be no session any more."""
    tenure: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled when the current session is gone."""
    facts: deque[SessionFact] = attrs.field(factory=deque[SessionFact])
    """What the call is told next."""
    listening: trio.CancelScope | None = None
    """Of whoever waits for the current session to say something."""
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)

    def take(self, spare: Spare) -> None:
        """This session is the current one from here on."""
        self.current, self.which, self.latest = spare.session, spare.which, spare
        self.is_held, self.tenure = False, trio.CancelScope()

    def give(self, *facts: SessionFact) -> None:
        """Tell the call something of our own."""
        self.facts.extend(facts)
        self.stir()

    def fail(self, error: PeerGone | SessionRefused) -> None:
        """There is no session any more, and none to be had. The first reason counts."""
        if self.failure is None:
            self.failure, self.current = error, None
            self.stir()

    def stir(self) -> None:
        """Something changed here."""
        self._stirred.set()
        self._stirred = trio.Event()
        if self.listening is not None:
            self.listening.cancel("there is something to tell")

    async def wait(self) -> None:
        """Wait until something changes here. Cancellable."""
        await self._stirred.wait()
