"""The call's clock and its journal, at hand for every actor of one call."""

from __future__ import annotations

import attrs
import trio

from actors.policy.journal import Journal


@attrs.define(eq=False)
class Notes:
    """Stamps what happened with the call's time."""

    journal: Journal
    _began_s: float = attrs.field(factory=trio.current_time, init=False)

    def now_ms(self) -> float:
        """Time since the call began."""
        return (trio.current_time() - self._began_s) * 1000

    def trio_s(self, at_ms: float) -> float:
        """The same moment on trio's clock, or a microsecond later.

        Later, so that whoever wakes up then finds that it is due, however floats were rounded.
        """
        return self._began_s + at_ms / 1000 + 1e-6

    def note(self, message: object) -> None:
        """Remember that this just happened."""
        self.journal.note(round(self.now_ms()), message)
