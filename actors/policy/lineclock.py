"""The three clocks of the caller's audio: the line's, the call's and the session's.

Pure: no trio, no sockets, no clock. The line's clock counts ms of the carrier's stream (Twilio's
`timestamp`). The call's counts ms since the call began, here. The session's counts ms of the audio
it was sent, and its voice detection lives on that one alone.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import attrs

from actors.messages import FRAME_MS, ULAW_BYTES_PER_MS, ULAW_SILENCE, CallerAudio

FILL_MAX_MS: Final = 2000
"""Longest hole filled with silence. Every turn ends within it (the slowest sensible silence window
is 1.5 s); a longer hole would only make the session listen to minutes of nothing."""

WINDOW_MS: Final = 30_000
"""How long a least delay is believed. The line's clock and ours differ by up to 100 ppm, 3 ms in
this time; network delay has its quiet moments in it."""

SHIFTS: Final = 256
"""Holes too long to fill that are remembered, for translating old positions."""


@attrs.define(eq=False)
class LineClock:
    """Translates positions in the caller's audio; keeps the session's time line without holes."""

    filled_ms: int = attrs.field(default=0, init=False)
    """Silence put in for frames that were lost or dropped."""
    skipped_ms: int = attrs.field(default=0, init=False)
    """Holes longer than `FILL_MAX_MS`: what of them was not filled."""
    restarts: int = attrs.field(default=0, init=False)
    """Times the line's clock jumped back further than `FILL_MAX_MS`, and was followed."""
    late_frames: int = attrs.field(default=0, init=False)
    """Frames from before what was already sent: repeated or out of order, and left out."""
    late_bytes: int = attrs.field(default=0, init=False)
    """The audio in them."""
    _offsets: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]], init=False)
    """Of the latest two windows: when each began, and the least of call's minus line's clock."""
    _session_ms: int = attrs.field(default=0, init=False)
    _next_line_ms: int | None = attrs.field(default=None, init=False)
    _shifts: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]], init=False)
    """From this position of the session's clock on, add this to get the line's."""

    def arrived(self, frame: CallerAudio, *, now_ms: float) -> int:
        """When the frame began on the call's clock, had the network no jitter."""
        offset_ms = now_ms - FRAME_MS - frame.line_ms
        if not self._offsets or abs(offset_ms - self._offsets[-1][1]) > FILL_MAX_MS:
            self._offsets = [(now_ms, offset_ms)]  # The first frame, or the line's clock jumped.
        elif now_ms - self._offsets[-1][0] > WINDOW_MS:
            self._offsets = [self._offsets[-1], (now_ms, offset_ms)]
        elif offset_ms < self._offsets[-1][1]:
            self._offsets[-1] = (self._offsets[-1][0], offset_ms)
        return max(0, round(frame.line_ms + self._line_to_call_ms))

    @property
    def _line_to_call_ms(self) -> float:
        """The least delayed frame of the latest window or two tells it best."""
        return min((offset_ms for _, offset_ms in self._offsets), default=0.0)

    def sends(self, frame: CallerAudio) -> bytes | None:
        """The silence that has to go before this frame; `None` when the frame comes too late."""
        expected_ms = frame.line_ms if self._next_line_ms is None else self._next_line_ms
        hole_ms = frame.line_ms - expected_ms
        if -FILL_MAX_MS < hole_ms <= -FRAME_MS:
            self.late_frames += 1
            self.late_bytes += len(frame.ulaw)
            return None
        self.restarts += hole_ms <= -FILL_MAX_MS
        fill_ms = min(max(hole_ms, 0), FILL_MAX_MS)
        self.filled_ms += fill_ms
        self.skipped_ms += max(hole_ms, 0) - fill_ms
        self._session_ms += fill_ms
        shift = frame.line_ms - self._session_ms
        if not self._shifts or self._shifts[-1][1] != shift:
            self._shifts.append((self._session_ms, shift))
            del self._shifts[:-SHIFTS]
        frame_ms = len(frame.ulaw) // ULAW_BYTES_PER_MS
        self._session_ms += frame_ms
        self._next_line_ms = frame.line_ms + frame_ms
        return ULAW_SILENCE * (fill_ms * ULAW_BYTES_PER_MS)

    def call_ms(self, session_ms: int) -> int:
        """Where a position of the session's clock is on the call's."""
        place = bisect_right(self._shifts, session_ms, key=lambda shift: shift[0])
        shift_ms = self._shifts[max(0, place - 1)][1] if self._shifts else 0
        return round(session_ms + shift_ms + self._line_to_call_ms)
