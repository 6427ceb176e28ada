"""Both sides say nothing: when the agent is to ask, and when it is to say goodbye.

Pure: no trio, no sockets, no clock.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import attrs

from actors.messages import KeyPressed, ResponseStarted, SpeechStarted
from actors.policy.activity import Activity, ActivityFact

NOISE_FACTOR: Final = 10
"""How many times as long a line may be without words that is not silent: hold music, a noisy room,
speech of which the session never said that it stopped. A caller on hold for five minutes comes
back; for an hour, nobody does. Once the agent has asked, sound without words is no answer."""

GOODBYE = "goodbye"
"""The purpose of the response that says it."""

GOODBYE_BEGINS_MS: Final = 10_000.0
"""How long the session may take to begin its goodbye. Then the call ends without one."""


class Step(Enum):
    """What is to be done now."""

    ASK = auto()
    """Have the agent ask whether the caller is still there."""
    SAY_GOODBYE = auto()
    """Have it say goodbye; when that has begun, ask for the hang-up."""
    END = auto()
    """End the call: the goodbye was ordered, and never began."""


@attrs.define(eq=False)
class Silence:
    """Follows one call.

    Args:
        max_ms: How long both may be silent before the agent asks, and then before it says goodbye.

    """

    max_ms: float
    activity: Activity = attrs.field(factory=Activity, init=False)
    _since_ms: float = attrs.field(default=0.0, init=False)
    """When somebody did something last."""
    _steps: int = attrs.field(default=0, init=False)
    """Steps taken since the caller did something."""
    _goodbye_ms: float | None = attrs.field(default=None, init=False)
    """When the goodbye was ordered, until it begins."""

    def note(self, fact: ActivityFact, *, now_ms: float) -> str | None:
        """Learn what happened. Returns the response that is the goodbye, when it begins."""
        self.activity.note(fact)
        self._since_ms = now_ms
        match fact:
            case SpeechStarted() | KeyPressed():
                self._steps, self._goodbye_ms = 0, None
            case ResponseStarted(response_id, purpose) if self._goodbye_ms is not None:
                if purpose in (GOODBYE, "retry"):
                    self._goodbye_ms = None
                    return response_id
            case _:
                pass
        return None

    def due_ms(self, sound_ms: float | None) -> float | None:
        """When `tick` has something to do, if nothing happens before.

        Args:
            sound_ms: When the caller's line had sound on it last; `None`: never.

        """
        if self._goodbye_ms is not None:
            return self._goodbye_ms + GOODBYE_BEGINS_MS
        if self.activity.is_busy or self._steps > 1:
            return None
        if self._steps == 1:
            return self._since_ms + self.max_ms  # Who is there has been asked for a word.
        longest_ms = self._since_ms + self.max_ms * NOISE_FACTOR
        if self.activity.caller_speaks:
            return longest_ms
        last_ms = max(self._since_ms, sound_ms or 0.0)
        return min(longest_ms, last_ms + self.max_ms)

    def tick(self, sound_ms: float | None, *, now_ms: float) -> Step | None:
        """Act on time that has passed."""
        due_ms = self.due_ms(sound_ms)
        if due_ms is None or now_ms < due_ms:
            return None
        self._since_ms = now_ms
        if self._goodbye_ms is not None:
            self._goodbye_ms = None
            return Step.END
        self._steps += 1
        if self._steps == 1:
            return Step.ASK
        self._goodbye_ms = now_ms
        return Step.SAY_GOODBYE
