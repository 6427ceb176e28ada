"""One clock for the caller's audio of one stream after another.

Pure: no trio, no sockets, no clock; `now_ms` is an argument, on any steady clock.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.messages import FRAME_MS

DRIFT_MS: Final = 0.002
"""Per frame of 20 ms: 100 ppm, by which two honest clocks may differ."""


@attrs.define(eq=False)
class LineTime:
    """Where frames lie, on a clock that begins with the first stream and goes on with the next.

    Each stream counts from zero. The gap between two is as long as it took here.
    """

    _least_ms: float | None = attrs.field(default=None, init=False)
    """Our clock minus the line's: the least that was found, which the network delayed least."""
    _next_ms: int = attrs.field(default=0, init=False)
    _offset_ms: int | None = attrs.field(default=0, init=False)

    def restarts(self) -> None:
        """The next frame is another stream's first."""
        self._offset_ms = None

    def place(self, line_ms: int, *, now_ms: float) -> int:
        """Where a frame of the present stream lies."""
        if self._offset_ms is None:
            at_ms = line_ms if self._least_ms is None else round(now_ms - self._least_ms)
            self._offset_ms = max(at_ms, self._next_ms) - line_ms
        placed_ms = line_ms + self._offset_ms
        late_ms = now_ms - placed_ms
        least_ms = late_ms if self._least_ms is None else self._least_ms + DRIFT_MS
        self._least_ms = min(late_ms, least_ms)
        self._next_ms = max(self._next_ms, placed_ms + FRAME_MS)
        return placed_ms
