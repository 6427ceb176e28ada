"""When a scripted caller does what: the steps of a scenario against what was really heard.

Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from gateway.lab.playout_buffer import PlayoutBuffer
from gateway.lab.scenario import Step


@attrs.define(eq=False)
class ScriptedCaller:
    """Goes through the steps one after the other, by what it hears from the buffer."""

    _steps: deque[Step]
    _buffer: PlayoutBuffer
    _since_ms: float = attrs.field(default=math.inf, init=False)
    """Agent audio played before this is not what the present step is waiting for."""
    _step_began_ms: float = attrs.field(default=math.inf, init=False)
    _agent_began_ms: float | None = attrs.field(default=None, init=False)

    def begin_step(self, now_ms: float) -> None:
        """Start waiting for what the next step waits for."""
        self._step_began_ms = now_ms
        self.forget_agent(now_ms)

    def forget_agent(self, now_ms: float) -> None:
        """Take what the agent said so far for unsaid: it was cut off, and will answer anew."""
        self._since_ms = now_ms
        self._agent_began_ms = None

    def due_ms(self) -> float | None:
        """When the present step acts if nothing else happens; `None`: not by itself."""
        if not self._steps:
            return None
        step = self._steps[0]
        match step.wait:
            case None:
                return self._step_began_ms + step.wait_ms
            case "agent_quiet":
                quiet_ms = self._buffer.empty_at_ms()
                return quiet_ms + step.quiet_ms if quiet_ms > self._since_ms else None
            case "agent_speaking":
                began_ms = self._agent_began()
                return None if began_ms is None else began_ms + step.after_ms
            case "call_end":
                return None

    def take_step(self) -> Step:
        """Return the step that is due. What it does takes its time; then `begin_step`."""
        self._step_began_ms = math.inf
        return self._steps.popleft()

    @property
    def steps_left(self) -> int:
        """How many steps were not reached, waiting for the end of the call not counted."""
        return sum(step.wait != "call_end" for step in self._steps)

    def _agent_began(self) -> float | None:
        # Remembered, because a gap in playout would otherwise start the count again.
        if self._agent_began_ms is None and self._buffer.empty_at_ms() > self._since_ms:
            self._agent_began_ms = max(self._buffer.began_ms(), self._since_ms)
        return self._agent_began_ms
