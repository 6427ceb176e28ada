"""What a recogniser would write down: the lines that were really begun, turn by turn.

Pure. Nothing in a rehearsal understands speech, so whoever speaks says here what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import attrs


@attrs.define(eq=False)
class Spoken(Sequence[str]):
    """The transcripts of a call's turns, by their numbers.

    A turn that is asked for the first time has every line said since the turn before it: two lines
    without a pause between them are one turn.
    """

    _turns: list[str] = attrs.field(factory=list[str], init=False)
    _pending: list[str] = attrs.field(factory=list[str], init=False)

    def says(self, text: str) -> None:
        """A line was begun."""
        self._pending.append(text)

    def __len__(self) -> int:
        return len(self._turns) + 1  # There may always be another turn, of noise if nothing else.

    @overload
    def __getitem__(self, turn: int) -> str: ...
    @overload
    def __getitem__(self, turn: slice) -> list[str]: ...
    def __getitem__(self, turn: int | slice) -> str | list[str]:
        last = len(self) if isinstance(turn, slice) else turn
        while len(self._turns) <= last:
            self._turns.append(" ".join(self._pending))
            self._pending.clear()
        return self._turns[turn]
