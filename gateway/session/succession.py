"""How one session follows another: the first, the one after a loss, and who takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import (
    ResponseFinished,
    SessionFact,
    SessionLive,
    SessionLost,
    SessionMoved,
    SpeechStopped,
)
from actors.policy.floor import Floor
from gateway.session.connections import SERVER_ERROR, Bounds, One, Opening, Spare, Which, code_of
from gateway.session.filling import Filling
from gateway.session.rehearing import Rehearing
from gateway.session.retelling import Retelling
from gateway.session.seat import Seat

log: structlog.stdlib.BoundLogger = structlog.get_logger()

HEARS_WITHIN_S: Final = 2.0
"""By when a session that was given the caller's turn has said that it hears one."""

EXPIRED: Final = "session_expired"
"""The one refusal of a session's that says nothing against the next."""


@attrs.define(eq=False)
class Succession:
    """Fills the seat, and fills it again."""

    seat: Seat
    opening: Opening
    floor: Floor
    retelling: Retelling
    rehearing: Rehearing
    filling: Filling
    bounds: Bounds
    is_closing: bool = attrs.field(default=False, init=False)
    """Nobody wants another session."""
    _failed: int = attrs.field(default=0, init=False)
    """Responses that the current session failed at in a row."""
    _faulty: int = attrs.field(default=0, init=False)
    """Sessions in a row that were given up for that."""

    async def begin(self) -> None:
        """Open the first session, or the fallback."""
        seat = self.seat
        failure: PeerGone | SessionRefused = PeerGone("session", None, "closed")
        for which in self.opening.choices("first"):
            session = self.opening.new(which)
            # Already, so that whoever closes finds it.
            seat.spare = Spare(session, which, SessionLive(""))
            try:
                spare = await self.opening.open(session, which)
            except (PeerGone, SessionRefused) as error:
                failure = failure if which == "fallback" else error
                continue
            seat.spare = None
            seat.take(spare)
            moved = [SessionMoved(spare.live.session_id, "fallback")]
            seat.give(spare.live, *(moved if which == "fallback" else ()))
            return
        seat.fail(failure)

    # Losing sessions.

    def lose(self, session: One, error: PeerGone | SessionRefused) -> None:
        """This session is gone: look for another, or say that there is none. Idempotent."""
        if session is not self.seat.current or self.seat.failure is not None:
            return
        if not self._may_recover(error):
            self.seat.fail(error)
            return
        self.change(session, error)

    def is_at_fault(self, finished: ResponseFinished) -> bool:
        """Whether the current session fails at responses that another one may not fail at."""
        if finished.status != "failed":
            if finished.status == "completed":
                self._failed = self._faulty = 0
            return False
        self._failed += finished.reason == SERVER_ERROR
        return self._failed >= (1 if self._faulty else self.bounds.failures)

    def change(self, session: One, error: PeerGone | SessionRefused) -> None:
        """Give this session up, and look for another, which is told all and goes on."""
        floor, seat, nursery = self.floor, self.seat, self.opening.nursery
        if nursery is None:
            raise AssertionError("a session without a nursery")
        seat.current = None
        seat.tenure.cancel("its session is gone")
        seat.losses += 1
        lost = SessionLost(code_of(error), floor.said, bool(floor.unheard))
        log.warning("session.lost", code=lost.code, losses=seat.losses)
        facts: list[SessionFact] = [lost]
        if floor.active is not None:
            facts.append(ResponseFinished(floor.active, "cancelled", "session_lost"))
        # What was said to its end is not missed; what is wished for all the same says so itself.
        self.filling.begin(owes=floor.owes and floor.said != "all")
        floor.lost()
        self.rehearing.lost(trio.current_time() - session.heard_s)
        self._failed, self._faulty = 0, self._faulty + (lost.code == SERVER_ERROR)
        nursery.start_soon(session.aclose)
        nursery.start_soon(self._recover, error)
        nursery.start_soon(self.filling.fill, seat.losses, self.filling.known())
        seat.give(*facts)

    def _may_recover(self, error: PeerGone | SessionRefused) -> bool:
        if self.is_closing or self.seat.losses >= self.bounds.restarts:
            return False
        if isinstance(error, SessionRefused) and error.code != EXPIRED:
            return self.opening.has_fallback and self.seat.which == "first"
        return True

    async def _recover(self, error: PeerGone | SessionRefused) -> None:
        """Find a successor for a session that was lost, within the bound; or give up."""
        which, is_refusal = self.seat.which, isinstance(error, SessionRefused)
        refused = {which} if is_refusal and code_of(error) != EXPIRED else set[Which]()
        choices = self.opening.choices(which)
        if self._faulty > 1:  # A second session of the same kind was no better.
            choices = choices[::-1]
        with trio.move_on_after(self.bounds.recover_s):
            for pause_s in self.bounds.pauses_s[max(0, self._faulty - 1) :]:
                await trio.sleep(pause_s)
                for one in choices:
                    if one not in refused and await self._succeed(one, refused):
                        return
                if refused.issuperset(choices):
                    break
        self.seat.fail(error)

    async def _succeed(self, which: Which, refused: set[Which]) -> bool:
        """Try to open a session that takes over. Returns whether one did; notes refusals."""
        seat = self.seat
        try:
            spare = seat.spare or await self.opening.open(self.opening.new(which), which)
            seat.spare = None
            await self.take_over(spare)
        except PeerGone:
            return False
        except SessionRefused:
            refused.add(which)
            return False
        return True

    # Taking over.

    async def take_over(self, spare: Spare, is_moment: Callable[[], bool] | None = None) -> bool:
        """Tell a session all that was said, and go on in it. False: it was not the moment.

        Args:
            spare: Is live.
            is_moment: Whether it still is, when all is told. `None`: the last one was lost.

        Raises:
            PeerGone: It is gone already.
            SessionRefused: Likewise.

        """
        seat, session, nursery = self.seat, spare.session, self.opening.nursery
        told = await self.retelling.tell(session, self.floor)
        heard = await self.rehearing.play(session, self.floor)
        if is_moment is not None and not is_moment():
            return False
        # No checkpoint from here on: nothing slips between the two sessions.
        before, cause = seat.current, "lost" if is_moment is None else "expiring"
        if spare.which != seat.which:
            cause = "fallback"
        self.retelling.adopt(told)
        self.rehearing.adopt(heard)
        seat.moves += 1
        self._failed = 0
        seat.take(spare)
        live = [spare.live] if is_moment is None else []
        log.info("session.moved", cause=cause, session_id=spare.live.session_id)
        seat.give(*live, SessionMoved(spare.live.session_id, cause))
        if nursery is not None:
            if before is not None:
                nursery.start_soon(before.aclose)
            if heard.turns:
                nursery.start_soon(self._make_sure_it_hears, session, heard.turns[-1])
        return True

    async def _make_sure_it_hears(self, session: One, item_id: str) -> None:
        """Whoever was speaking stops, also where a new session hears nothing in what they said."""
        await trio.sleep(HEARS_WITHIN_S)
        if session is self.seat.current and self.rehearing.give_up():
            stopped = SpeechStopped(item_id, self.rehearing.end_ms)
            self.floor.take(stopped)
            self.seat.give(stopped)
