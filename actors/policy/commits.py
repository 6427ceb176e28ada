"""Turns of the caller whose ends the session is told of, and which of them it has understood.

Pure: no trio, no clock. Turns are numbered from 1 throughout the call.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actors.messages import CallerTranscript, ResponseFinished, ResponseStarted, SessionFact

OPEN_MAX: Final = 32
"""Turns that nobody understood. Of more, the oldest are given up."""


@attrs.frozen
class Commit:
    """The end of one turn."""

    number: int
    end_bytes: int
    """Where it is, in all the audio that the call ever sent."""


@attrs.define(eq=False)
class Commits:
    """Follows turns from their end to their transcript, or to an answer that knows them."""

    understood_bytes: int = attrs.field(default=0, init=False)
    """Up to here, all the caller said is in the conversation."""
    made: int = attrs.field(default=0, init=False)
    """Turns that ever ended."""
    _open: deque[Commit] = attrs.field(factory=lambda: deque[Commit](maxlen=OPEN_MAX), init=False)
    _transcripts: int = attrs.field(default=0, init=False)
    """The last turn that was written down: transcripts come in the order of turns."""
    _answering: int = attrs.field(default=0, init=False)
    """The last turn that the active response knows."""

    def after(self, number: int) -> Commit | None:
        """The next turn behind this one that nobody has understood yet."""
        return next((one for one in self._open if one.number > number), None)

    def make(self, end_bytes: int) -> int:
        """A turn ends here. Returns its number."""
        self.made += 1
        self._open.append(Commit(self.made, end_bytes))
        return self.made

    def take(self, fact: SessionFact) -> None:
        """Something came from the session."""
        match fact:
            case CallerTranscript():
                self._transcripts = min(self._transcripts + 1, self.made)
                self._understand(self._transcripts)
            case ResponseStarted():
                self._answering = self.made
            case ResponseFinished(status="completed" | "incomplete"):
                self._understand(self._answering)
            case _:
                pass

    def move(self) -> None:
        """Another session hears all that is open once more."""
        self._transcripts = self._open[0].number - 1 if self._open else self.made
        self._answering = 0

    def _understand(self, number: int) -> None:
        while self._open and self._open[0].number <= number:
            self.understood_bytes = self._open.popleft().end_bytes
