"""Whether anybody may hear the caller now: the session, and the recording.

Pure: no trio, no sockets, no clock.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.messages import (
    ItemAudio,
    PlayoutIdle,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
)

GREETING: Final = "greeting"

GREETING_MAX_MS: Final = 30_000.0
"""So long after the session is live, the caller is heard whatever became of the greeting."""

GreetingFact = SessionLive | ResponseStarted | ItemAudio | ResponseFinished | PlayoutIdle


@attrs.define(eq=False)
class Ears:
    """Follows one call.

    Args:
        greeting_first: The session hears nothing of the caller until it has greeted.

    """

    greeting_first: bool = False
    is_private: bool = attrs.field(default=False, init=False)
    """The caller types what is nobody's business: some lines carry its tones as audio."""
    _live_ms: float | None = attrs.field(default=None, init=False)
    _greeting: str | None = attrs.field(default=None, init=False)
    """Its response, or the one that makes up for it."""
    _is_made: bool = attrs.field(default=False, init=False)
    _is_unheard: bool = attrs.field(default=False, init=False)
    """Some of it was received since everything had been heard."""

    def note(self, fact: GreetingFact, *, now_ms: float) -> None:
        """Learn what happened."""
        if not self.greeting_first:
            return
        match fact:
            case SessionLive():
                self._live_ms = now_ms if self._live_ms is None else self._live_ms
            case ResponseStarted(response_id, purpose) if self._greeting is None:
                if purpose in (GREETING, "retry"):
                    self._greeting, self._is_made = response_id, False
            case ItemAudio(response_id) if response_id == self._greeting:
                self._is_unheard = True
            case ResponseFinished(response_id, status) if response_id == self._greeting:
                if status == "failed" and not self._is_unheard:
                    self._greeting = None  # It is asked for again.
                self._is_made = self._greeting is not None
            case PlayoutIdle():
                self._is_unheard = False
            case _:
                pass
        if self._is_made and not self._is_unheard:
            self.greeting_first = False

    def session_hears(self, *, now_ms: float) -> bool:
        """Whether the session is sent what the caller says, and not silence in its place."""
        if self.is_private:
            return False
        if self.greeting_first and self._live_ms is not None:
            self.greeting_first = now_ms < self._live_ms + GREETING_MAX_MS
        return not self.greeting_first
