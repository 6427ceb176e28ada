"""When a caller has waited for a tool in silence for so long that somebody should say so.

Pure: no trio, no sockets, no clock. Said once for all the tools of one response.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actors.messages import (
    HANGUP,
    FloorGiven,
    FloorTaken,
    ResponseFinished,
    ToolFinished,
    ToolsAsked,
    ToolStarted,
    ToolWaits,
    ToolWentOn,
)
from actors.policy.activity import Activity, ActivityFact

BATCHES: Final = 64
"""Responses remembered for which something was said already: more than have tools running."""

SlowToolFact = ActivityFact | ToolsAsked | FloorTaken | FloorGiven | ToolWaits | ToolWentOn


@attrs.define(eq=False)
class SlowTools:
    """Follows one call.

    Args:
        after_ms: How long tools may run, and nobody say anything.

    """

    after_ms: float
    activity: Activity = attrs.field(factory=Activity, init=False)
    _batches: int = attrs.field(default=0, init=False)
    _batch_of: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    """Tool calls that run or are going to, and which response asked for them."""
    _running: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """Since when."""
    _waiting: set[str] = attrs.field(factory=set[str], init=False)
    """Those that are not slow, but wait for the caller or the carrier."""
    _covered: deque[int] = attrs.field(factory=lambda: deque[int](maxlen=BATCHES), init=False)
    """Responses whose tools need no more words."""
    _is_floor_taken: bool = attrs.field(default=False, init=False)
    _since_ms: float = attrs.field(default=0.0, init=False)
    """When somebody did something last that is no tool."""

    def note(self, fact: SlowToolFact, *, now_ms: float) -> None:
        """Learn what happened."""
        match fact:
            case ToolsAsked(tool_calls) | ResponseFinished(tool_calls=tool_calls):
                self._batches += 1
                for one in tool_calls:
                    self._batch_of.setdefault(one.tool_call_id, self._batches)
            case ToolStarted(tool_call_id, name) if name != HANGUP:
                self._running[tool_call_id] = now_ms
            case ToolFinished(tool_call_id):
                self._batch_of.pop(tool_call_id, None)
                self._running.pop(tool_call_id, None)
                self._waiting.discard(tool_call_id)
            case ToolWaits(tool_call_id):
                self._waiting.add(tool_call_id)
            case ToolWentOn(tool_call_id):
                self._waiting.discard(tool_call_id)
            case FloorTaken() | FloorGiven():
                self._is_floor_taken = isinstance(fact, FloorTaken)
            case _:
                pass
        if not isinstance(fact, ToolsAsked | FloorTaken | FloorGiven | ToolWaits | ToolWentOn):
            self.activity.note(fact)
        if not isinstance(fact, ToolStarted | ToolFinished | ToolsAsked):
            self._since_ms = now_ms

    def due_ms(self) -> float | None:
        """When `is_due`, if nothing happens before; `None`: there is no such time."""
        began_ms = [
            began_ms
            for tool_call_id, began_ms in self._running.items()
            if self._batch_of.get(tool_call_id, 0) not in self._covered
        ]
        if not began_ms or self._waiting or self._is_floor_taken or not self.activity.is_still:
            return None
        return max(self._since_ms, min(began_ms)) + self.after_ms

    def is_due(self, *, now_ms: float) -> bool:
        """Whether it is time to say something. True once for the tools that run now."""
        due_ms = self.due_ms()
        if due_ms is None or now_ms < due_ms:
            return False
        self._covered.extend({self._batch_of.get(one, 0) for one in self._running})
        return True
