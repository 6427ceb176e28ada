"""A line of our own, for a caller who would wait in silence for what a lost session took away."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from actors.messages import LOCAL, ItemAudio, ItemAudioDone, ItemTranscript
from actors.policy.memory import Memory
from gateway.records.tap import Flight
from gateway.session.connections import Bounds
from gateway.session.seat import Seat

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_EVERY_S: Final = 0.05
"""How often it is looked whether the caller waits."""

Line = tuple[bytes, str]
"""Mu-law, and its words."""


@attrs.define(eq=False)
class Filling:
    """Says the filler line when it is time.

    Args:
        seat: Whose loss is filled.
        memory: Knows whether the caller hears something.
        bounds: When it is time.
        line: The line as it is known now; `None`: there is none.
        flight: Is told what was said, since no socket tells it.

    """

    seat: Seat
    memory: Memory
    bounds: Bounds
    line: Callable[[], Line | None]
    flight: Flight | None = None
    owes: bool = False
    """A loss has left the caller waiting, and nothing has come since."""
    _silent_since_s: float = attrs.field(default=0.0, init=False)
    _said: int = attrs.field(default=0, init=False)

    def begin(self, *, owes: bool) -> None:
        """A session was lost just now. `owes`: it was for the agent to speak."""
        self.owes = owes
        self._silent_since_s = trio.current_time()

    def known(self) -> Line | None:
        """Ask for the line, and note what that gave: a call that is replayed has no other way."""
        line = self.line()
        if self.flight is not None and line is not None:
            ulaw, words = line
            audio = b64encode(ulaw).decode("ascii") if self.flight.with_audio else len(ulaw)
            self.flight.note("line", ["is", audio, words])
        return line

    async def fill(self, loss: int, line: Line | None) -> None:
        """Keep the caller company until the agent speaks again. Cancellable.

        Args:
            loss: Number of the loss; the next one has a company of its own.
            line: What to say first.

        """
        if line is None:
            await trio.lowlevel.checkpoint()
            return
        seat, waits_s, has_said = self.seat, self.bounds.filler_s, False
        while seat.losses == loss and seat.failure is None:  # noqa: ASYNC913 (it waits below)
            if seat.current is not None and not self.owes:
                return
            now_s = trio.current_time()
            if self.memory.is_playing or not self.owes:
                self._silent_since_s = now_s
            elif not has_said and seat.current is not None:
                waits_s = self.bounds.answering_s
            if now_s - self._silent_since_s >= waits_s - 1e-6:
                if has_said:
                    line = self.known() if seat.current is None else None
                if line is None:
                    return
                self._say(*line)
                self._silent_since_s, waits_s, has_said = now_s, self.bounds.again_s, True
            await trio.sleep(LOOK_EVERY_S)

    def _say(self, ulaw: bytes, words: str) -> None:
        self._said += 1
        name, item_id = f"{LOCAL}{self._said}", f"{LOCAL}{self._said}_item"
        log.info("session.filled", losses=self.seat.losses)
        self.seat.give(
            ItemTranscript(item_id, words),
            ItemAudio(name, item_id, ulaw),
            ItemAudioDone(name, item_id),
        )
