"""Before a session ends: another one takes over at a moment at which nobody notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import SessionLive
from actors.policy.floor import Floor
from actors.policy.memory import Memory
from gateway.session.connections import EXPIRING, Bounds, One, Opening, Spare, code_of
from gateway.session.seat import Seat
from gateway.session.succession import Succession

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_EVERY_S: Final = 0.05
"""How often it is looked whether the moment has come, while a successor waits for it."""

LONGEST_S: Final = 24 * 3600.0
"""A session that says it lasts longer does not know the time."""


@attrs.define(eq=False)
class Rotation:
    """Replaces each session in time."""

    seat: Seat
    opening: Opening
    succession: Succession
    floor: Floor
    memory: Memory
    bounds: Bounds
    wall_s: Callable[[], float] | None
    """Unix time, to compare with what a session says of its end."""

    async def keep(self) -> None:
        """See to the current session until another has taken over. Cancellable."""
        spare = self.seat.latest
        if spare is not None:
            await self._rotate(spare, self.seat.tenure)
        while self.seat.latest is spare:  # noqa: ASYNC913 (it waits below)
            await self.seat.wait()

    @property
    def is_quiet(self) -> bool:
        """Whether the caller would not notice a change of sessions, nor the call miss anything."""
        return (
            self.floor.is_quiet
            and not self.seat.facts
            and not self.memory.is_playing
            and not self.memory.tools_run
        )

    def _lasts_s(self, live: SessionLive) -> float:
        """How long a session is going to be there, as far as one knows."""
        longest_s = self.bounds.age_s + self.bounds.early_s
        if live.expires_at_s is None or self.wall_s is None:
            return longest_s
        left_s = live.expires_at_s - self.wall_s()
        return min(longest_s, left_s) if 1.0 < left_s < LONGEST_S else longest_s

    async def _rotate(self, spare: Spare, tenure: trio.CancelScope) -> None:
        """Replace a session before it ends, at a quiet moment if there is one."""
        lasts_s = self._lasts_s(spare.live)
        early_s = min(self.bounds.early_s, lasts_s / 5)
        forced_s = min(self.bounds.forced_s, lasts_s / 10)
        until_s = trio.current_time() + lasts_s - forced_s
        with tenure:
            await trio.sleep(lasts_s - early_s)
            while trio.current_time() < until_s:
                if await self._replace(spare.session, until_s):
                    return
                await trio.sleep(min(self.bounds.retry_s, early_s / 10))
            if self.seat.current is spare.session:
                log.info("session.not_quiet", losses=self.seat.losses)
                self.succession.change(spare.session, PeerGone("session", None, EXPIRING))

    async def _replace(self, session: One, until_s: float) -> bool:
        """Open a successor, wait for a quiet moment, and change over. False: it did not work."""
        seat = self.seat
        try:
            if seat.spare is None:
                opened = self.opening.new(seat.which)
                seat.spare = await self.opening.open(opened, seat.which)
            while not self.is_quiet:
                await trio.sleep(LOOK_EVERY_S)
                if trio.current_time() >= until_s:
                    return False
            spare, changes, seat.is_held = seat.spare, self.memory.changes, True
            seat.spare = None

            def is_moment() -> bool:
                return self.is_quiet and changes == self.memory.changes

            if await self.succession.take_over(spare, is_moment):
                return True
            await spare.session.aclose()
        except (PeerGone, SessionRefused) as error:
            log.info("session.not_replaced", code=code_of(error))
            seat.spare = None
        finally:
            if seat.current is session and seat.is_held:
                seat.is_held = False
                seat.stir()
        return False
