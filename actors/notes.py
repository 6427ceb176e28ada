"""The call's clock and its journal, at hand for every actor of one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actors.policy.journal import Journal


@attrs.define(eq=False)
class Notes:
    """Stamps what happened with the call's time."""

    journal: Journal
    _began_s: float = attrs.field(factory=trio.current_time, init=False)
    _listeners: dict[type, list[Callable[[Any], object]]] = attrs.field(factory=dict, init=False)

    def now_ms(self) -> float:
        """Time since the call began."""
        return (trio.current_time() - self._began_s) * 1000

    def trio_s(self, at_ms: float) -> float:
        """The same moment on trio's clock, or a microsecond later.

        Later, so that whoever wakes up then finds that it is due, however floats were rounded.
        """
        return self._began_s + at_ms / 1000 + 1e-6

    def listen(self, kinds: tuple[type, ...], tell: Callable[[Any], object]) -> None:
        """Let somebody know of every note of these kinds, as it is made.

        For who looks on and decides by the second: what is noted by several actors at once comes
        in the order in which they got round to it. `tell` returns at once: it puts into a lane.
        """
        for kind in kinds:
            self._listeners.setdefault(kind, []).append(tell)

    def note(self, message: object) -> None:
        """Remember that this just happened."""
        self.journal.note(round(self.now_ms()), message)
        for tell in self._listeners.get(type(message), ()):
            tell(message)
