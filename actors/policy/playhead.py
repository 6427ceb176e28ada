"""Where the carrier's playout is, by our own clock and corrected by its marks.

Pure: no trio, no sockets, no clock; `now_ms` is an argument, on any steady clock.

All positions are bytes of mu-law handed to the carrier since the stream began. The question this
answers is not "what is being played now" but "where would a `clear` sent now stop it": both the
audio and the clear travel the same way, so that way's delay cancels out. A mark's echo comes back
by the other way too, hence it is read as news from one round trip ago.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

import attrs

from actors.messages import ULAW_BYTES_PER_MS

ROUND_TRIP_GUESS_MS: Final = 100.0
"""Until the first probe is back. Twilio's edge is 20 to 150 ms away from most servers (observed
in public reports, 2026); wrong by x means a first estimate wrong by x, for one probe's time."""

ROUND_TRIPS: Final = 7
"""Probes remembered. The median of fewer is at the mercy of one delayed packet."""

LAGS: Final = 5
"""Echoes remembered: one second at a mark per 200 ms. More outvotes a delayed or lost echo longer,
and takes longer to believe that the carrier really stalled."""


@attrs.define(eq=False)
class PlayHead:
    """The carrier's play head: starts when audio reaches an empty buffer, moves 8 bytes a ms.

    Between echoes it moves by the clock, never past what was sent. Echoes tell how far it lags
    behind that ideal: the carrier's own jitter buffer, a late start, a stall.
    """

    sent_bytes: int = attrs.field(default=0, init=False)
    _run_from_bytes: int = attrs.field(default=0, init=False)
    """Where the current unbroken run of audio began."""
    _run_from_ms: float = attrs.field(default=0.0, init=False)
    """When the audio of this run was first sent."""
    _proved_bytes: int = attrs.field(default=0, init=False)
    """The furthest mark that was echoed: at least so much was played."""
    _guess_ms: float = attrs.field(default=ROUND_TRIP_GUESS_MS, init=False)
    """The round trip, until a probe is back."""
    _lags_ms: deque[float] = attrs.field(factory=lambda: deque(maxlen=LAGS), init=False)
    _round_trips_ms: deque[float] = attrs.field(
        factory=lambda: deque(maxlen=ROUND_TRIPS), init=False
    )

    @property
    def round_trip_ms(self) -> float:
        """To the carrier's playout and back, as probes found it."""
        return median(self._round_trips_ms) if self._round_trips_ms else self._guess_ms

    @property
    def lag_ms(self) -> float:
        """How much later than "at once" the carrier plays what reaches its empty buffer."""
        return max(0.0, median(self._lags_ms)) if self._lags_ms else 0.0

    def sends(self, size_bytes: int, *, now_ms: float) -> float:
        """Count audio that is being sent. Returns when its first byte would be cleared by a clear.

        The returned ms are on the caller's clock and lie in the future while earlier audio plays.
        """
        if self.position(now_ms=now_ms) >= self.sent_bytes:
            self._run_from_bytes = self.sent_bytes
            self._run_from_ms = now_ms
        starts_ms = self.ideal_ms(self.sent_bytes)
        self.sent_bytes += size_bytes
        return starts_ms

    def echoes(self, position: int, *, now_ms: float) -> None:
        """Learn from a mark at `position` that was echoed without a clear."""
        self._proved_bytes = max(self._proved_bytes, position)
        if position > self._run_from_bytes:  # Otherwise it belongs to audio of an earlier run.
            self._lags_ms.append(now_ms - self.round_trip_ms - self.ideal_ms(position))

    def probed(self, round_trip_ms: float) -> None:
        """Learn from a mark that was put into an empty buffer: it came straight back."""
        self._round_trips_ms.append(round_trip_ms)

    def clears(self, *, now_ms: float) -> None:
        """Forget what was sent and not yet played."""
        self._run_from_bytes = self.sent_bytes
        self._run_from_ms = now_ms

    def restarts(self, *, now_ms: float) -> None:
        """The carrier plays from an empty buffer of another stream, perhaps by another way.

        What is known of the old way is the best guess for the new one, until it is measured.
        """
        self._guess_ms = self.round_trip_ms
        self._round_trips_ms.clear()
        self._lags_ms.clear()
        self.clears(now_ms=now_ms)

    def position(self, *, now_ms: float) -> int:
        """Where a clear sent now would stop the playout. Never past what was sent."""
        played = self._reached(now_ms - self.lag_ms)
        # No carrier plays faster than time passes: an echo that claims so is no proof.
        proved = min(self._proved_bytes, self._reached(now_ms))
        return min(self.sent_bytes, max(played, proved))

    def _reached(self, now_ms: float) -> int:
        """Where the head would be if the carrier added nothing and audio never ran out."""
        run_ms = now_ms - self._run_from_ms
        return self._run_from_bytes + max(0, round(run_ms * ULAW_BYTES_PER_MS))

    def ideal_ms(self, position: int) -> float:
        """When the head passes `position` if the carrier adds nothing: the clock to pace by."""
        return self._run_from_ms + (position - self._run_from_bytes) / ULAW_BYTES_PER_MS

    def ends_ms(self) -> float:
        """When everything sent so far will have been played."""
        return self.ideal_ms(self.sent_bytes) + self.lag_ms
