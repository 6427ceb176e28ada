"""The buffer a carrier plays from, to the byte: what a caller heard, and what was thrown away.

Pure: time is an argument. Shared by the rehearsal caller and by tests that compare what the
gateway believes with what was true.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

from actors.messages import ULAW_BYTES_PER_MS

_ROUNDING_BYTES: Final = 1e-6
"""Far below one byte, far above what adding and subtracting a day of milliseconds loses."""


@attrs.frozen
class Echo:
    """A mark that comes back to whoever queued it."""

    name: str
    at_ms: float
    flushed: bool
    """True: `clear` threw away audio in front of it, so its echo does not prove playout."""


@attrs.frozen
class Heard:
    """Audio that was played without a gap."""

    at_ms: float
    """When its first byte was played."""
    position: int
    """Index of its first byte in everything the buffer ever received."""
    ulaw: bytes

    @property
    def end_ms(self) -> float:
        """When its last byte had been played."""
        return self.at_ms + len(self.ulaw) / ULAW_BYTES_PER_MS


@attrs.define(eq=False)
class _Run:
    """Audio that follows on without a gap, from a buffer that had been empty."""

    began_ms: float
    position: int
    ulaw: bytearray

    def played_bytes(self, now_ms: float) -> int:
        elapsed_bytes = (now_ms - self.began_ms) * ULAW_BYTES_PER_MS
        return min(len(self.ulaw), max(0, math.floor(elapsed_bytes + _ROUNDING_BYTES)))

    def at_ms(self, offset: int) -> float:
        return self.began_ms + offset / ULAW_BYTES_PER_MS


@attrs.define(eq=False)
class PlayoutBuffer:
    """Plays mu-law in real time from the moment of its arrival, as Twilio's does.

    Every method takes the time on one clock of the caller's choice, in ms. Time never runs
    backwards: an earlier `now_ms` than the latest counts as the latest.
    Not bounded: Twilio documents no bound either.
    Source: "Media Streams: WebSocket Messages", Twilio docs.
    """

    received_bytes: int = attrs.field(default=0, init=False)
    cleared_bytes: int = attrs.field(default=0, init=False)
    """Received and thrown away unplayed."""
    _runs: list[_Run] = attrs.field(factory=list[_Run], init=False)
    _marks: deque[tuple[str, int, float]] = attrs.field(
        factory=deque[tuple[str, int, float]], init=False
    )
    """Name, offset in the last run, and time of arrival."""
    _echoes: list[Echo] = attrs.field(factory=list[Echo], init=False)
    _now_ms: float = attrs.field(default=-math.inf, init=False)

    def play(self, ulaw: bytes, now_ms: float) -> int:
        """Queue audio of any length. Returns its position in everything received."""
        now_ms = self._settle(now_ms)
        position = self.received_bytes
        if not ulaw:
            return position
        if not self._follows_on(now_ms):
            self._runs.append(_Run(now_ms, position, bytearray()))
        self._runs[-1].ulaw += ulaw
        self.received_bytes += len(ulaw)
        return position

    def mark(self, name: str, now_ms: float) -> None:
        """Queue a mark: echoed when reached, at once when nothing is queued before it."""
        now_ms = self._settle(now_ms)
        if self.is_empty(now_ms):
            self._echoes.append(Echo(name, now_ms, flushed=False))
        else:
            self._marks.append((name, len(self._runs[-1].ulaw), now_ms))

    def clear(self, now_ms: float) -> int:
        """Throw away what is not played yet and echo its marks. Returns the bytes thrown away."""
        now_ms = self._settle(now_ms)
        self._echoes += [Echo(name, now_ms, flushed=True) for name, _, _ in self._marks]
        self._marks.clear()
        cleared = self.queued_bytes(now_ms)
        if cleared:
            run = self._runs[-1]
            del run.ulaw[run.played_bytes(now_ms) :]
            if not run.ulaw:
                self._runs.pop()
        self.cleared_bytes += cleared
        return cleared

    def advance(self, now_ms: float) -> list[Echo]:
        """Let time pass. Returns the echoes due by then and not returned before, in order."""
        self._settle(now_ms)
        echoes, self._echoes = self._echoes, []
        return echoes

    def next_echo_ms(self) -> float | None:
        """When `advance` will have something to return, if nothing else happens before."""
        if self._echoes:
            return self._echoes[0].at_ms
        if self._marks:
            _, offset, arrived_ms = self._marks[0]
            return max(arrived_ms, self._runs[-1].at_ms(offset))
        return None

    def is_empty(self, now_ms: float) -> bool:
        """Whether everything received has been played or cleared."""
        return self.queued_bytes(now_ms) == 0

    def queued_bytes(self, now_ms: float) -> int:
        """How much is waiting to be played."""
        if not self._runs:
            return 0
        run = self._runs[-1]
        return len(run.ulaw) - run.played_bytes(max(now_ms, self._now_ms))

    def played_bytes(self, now_ms: float) -> int:
        """How much has been played since the beginning."""
        return self.received_bytes - self.cleared_bytes - self.queued_bytes(now_ms)

    def played_between(self, start: int, end: int, now_ms: float) -> int:
        """How many of the bytes at positions `start` to `end` of all received have been played."""
        now_ms = max(now_ms, self._now_ms)
        total = 0
        for run in self._runs:
            last = run.position + run.played_bytes(now_ms)
            total += max(0, min(end, last) - max(start, run.position))
        return total

    def empty_at_ms(self) -> float:
        """When all that is queued will have been played; minus infinity when nothing ever was."""
        return self._runs[-1].at_ms(len(self._runs[-1].ulaw)) if self._runs else -math.inf

    def began_ms(self) -> float:
        """When the latest audio without a gap began to play; minus infinity when nothing did."""
        return self._runs[-1].began_ms if self._runs else -math.inf

    def heard(self, now_ms: float) -> tuple[Heard, ...]:
        """Everything played so far, in order; joined where there was no gap."""
        now_ms = max(now_ms, self._now_ms)
        pieces = (
            Heard(run.began_ms, run.position, bytes(run.ulaw[: run.played_bytes(now_ms)]))
            for run in self._runs
        )
        return tuple(piece for piece in pieces if piece.ulaw)

    def _follows_on(self, now_ms: float) -> bool:
        """Whether audio that arrives now is played right behind the last run."""
        if not self._runs:
            return False
        run = self._runs[-1]
        if run.position + len(run.ulaw) < self.received_bytes:
            return False  # What came between was cleared.
        return (now_ms - self.empty_at_ms()) * ULAW_BYTES_PER_MS <= _ROUNDING_BYTES

    def _settle(self, now_ms: float) -> float:
        """Move the marks that were reached by now to the echoes."""
        self._now_ms = now_ms = max(now_ms, self._now_ms)
        while self._marks:
            name, offset, arrived_ms = self._marks[0]
            run = self._runs[-1]
            if run.played_bytes(now_ms) < offset:
                break
            self._marks.popleft()
            self._echoes.append(Echo(name, max(arrived_ms, run.at_ms(offset)), flushed=False))
        return now_ms
