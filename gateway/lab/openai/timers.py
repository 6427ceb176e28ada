"""What a rehearsal model is going to do, and when.

Pure: time is an argument.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import attrs

Action = Callable[[], None]


@attrs.define(eq=False)
class Timers:
    """Actions by the time they are due; those due at the same time in the order they were set."""

    now_ms: int = 0
    """On the clock of whoever advances it."""
    _heap: list[tuple[int, int, Action]] = attrs.field(factory=list, init=False)
    _order: count[int] = attrs.field(factory=count, init=False)

    @property
    def next_ms(self) -> int | None:
        """When the next action is due; `None`: there is none."""
        return self._heap[0][0] if self._heap else None

    def at(self, due_ms: int, action: Action) -> None:
        """Set a timer. One whose time has passed is due at once."""
        heapq.heappush(self._heap, (due_ms, next(self._order), action))

    def after(self, wait_ms: int, action: Action) -> None:
        """Set a timer, counted from now."""
        self.at(self.now_ms + wait_ms, action)

    def advance(self, now_ms: int) -> None:
        """Move on to `now_ms`, never back."""
        self.now_ms = max(self.now_ms, now_ms)

    def take_due(self) -> Action | None:
        """Take the next action if its time has come. Doing it may set others."""
        if self._heap and self._heap[0][0] <= self.now_ms:
            return heapq.heappop(self._heap)[2]
        return None
