"""When a call has to come to an end, and the agent has to be told.

Pure: no trio, no sockets, no clock.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Literal

import attrs

from actors.messages import ResponseFinished, ResponseStarted, Usage
from actors.policy.activity import Activity, ActivityFact
from actors.policy.cost import cost_usd

Cause = Literal["length", "cost"]

QUIET_MS: Final = 1_000.0
"""Nobody has said anything for so long: a moment at which the agent may come to an end by itself.
Whoever speaks without such a pause is answered, and the answer knows what it was told."""


class Step(Enum):
    """What is to be done now."""

    TELL = auto()
    """Tell the agent, as part of the conversation."""
    SPEAK = auto()
    """Have it speak of it."""
    END = auto()
    """End the call: there was time enough."""


@attrs.define(eq=False)
class Landing:
    """Follows one call down.

    Args:
        model: Whose prices count.
        call_s: The call's longest length; what happens then is not decided here.
        wrap_up_s: How long before that the agent is told. `None`: it is not told.
        max_cost_usd: What the tokens may cost; `wrap_up_s` after that the call ends.

    """

    model: str
    call_s: float
    wrap_up_s: float | None = None
    max_cost_usd: float | None = None
    cause: Cause | None = attrs.field(default=None, init=False)
    """Why it has to end. `None`: it has not yet."""
    activity: Activity = attrs.field(factory=Activity, init=False)
    _cost_usd: float = attrs.field(default=0.0, init=False)
    _end_ms: float | None = attrs.field(default=None, init=False)
    """When the call ends because of its cost."""
    _since_ms: float = attrs.field(default=0.0, init=False)
    """When somebody did something last."""
    _speech_due: bool = attrs.field(default=False, init=False)
    """The agent was told, and has not begun to speak since."""

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to watch for."""
        return self.wrap_up_s is not None or self.max_cost_usd is not None

    def note(self, fact: ActivityFact, *, now_ms: float) -> Step | None:
        """Learn what happened. The cost of a response is known when it is finished."""
        self.activity.note(fact)
        self._since_ms = now_ms
        match fact:
            case ResponseStarted():
                self._speech_due = False
            case ResponseFinished(usage=Usage() as usage):
                self._cost_usd += cost_usd(self.model, usage) or 0.0
                limit = self.max_cost_usd
                if limit is not None and self._cost_usd >= limit and self._end_ms is None:
                    self._end_ms = now_ms + (self.wrap_up_s or 0.0) * 1000
                    return self._tell("cost")
            case _:
                pass
        return None

    def left_s(self, *, now_ms: float) -> float:
        """How long the call still has: a short one, or one that costs, has less than the other."""
        ends_ms = self.call_s * 1000
        return (ends_ms if self._end_ms is None else min(ends_ms, self._end_ms)) / 1000 - (
            now_ms / 1000
        )

    def due_ms(self) -> float | None:
        """When `tick` has something to do, if nothing happens before."""
        due = [self._end_ms]
        if self.cause is None and self.wrap_up_s is not None:
            # A call shorter than its landing is told at half of it.
            due.append(max(self.call_s - self.wrap_up_s, self.call_s / 2) * 1000)
        if self._speech_due and self.activity.is_nobodys:
            due.append(self._since_ms + QUIET_MS)
        return min((at_ms for at_ms in due if at_ms is not None), default=None)

    def tick(self, *, now_ms: float) -> Step | None:
        """Act on time that has passed."""
        due_ms = self.due_ms()
        if due_ms is None or now_ms < due_ms:
            return None
        if self._end_ms is not None and now_ms >= self._end_ms:
            return Step.END
        if self._speech_due and self.activity.is_nobodys and now_ms >= self._since_ms + QUIET_MS:
            self._speech_due = False
            return Step.SPEAK
        return self._tell("length")

    def _tell(self, cause: Cause) -> Step | None:
        """Once is enough, whatever comes to an end first."""
        if self.cause is not None:
            return None
        self.cause = cause
        if not self.wrap_up_s:
            return None
        self._speech_due = True
        return Step.TELL
