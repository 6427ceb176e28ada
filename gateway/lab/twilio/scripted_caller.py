"""Who is on the phone: a caller who goes through steps, or a menu that waits for keys.

Pure: time is an argument, in ms since the stream was opened. Both live as long as their call, and
a call may have one stream after another: `connect` begins each.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import attrs

from gateway.lab.twilio.far_end import Step
from gateway.lab.twilio.playout_buffer import PlayoutBuffer


class FarEnd(Protocol):
    """What a line asks of whoever is on the phone."""

    @property
    def steps_left(self) -> int:
        """How many steps were not reached, waiting for the end of the call not counted."""

    def connect(self, buffer: PlayoutBuffer, now_ms: float) -> None:
        """A stream was opened; what the agent says on it goes into this buffer."""

    def begin_step(self, now_ms: float) -> None:
        """What was done is done: wait for what comes next."""

    def forget_agent(self, now_ms: float) -> None:
        """Take what the agent said so far for unsaid: it was cut off, and will answer anew."""

    def heard_key(self, digit: str) -> None:
        """The agent pressed a key, as the carrier sends it, while there was no stream."""

    def hears(self, ulaw: bytes, until_ms: float) -> None:
        """The agent sent audio; the last of it will have been played at this time."""

    def due_ms(self) -> float | None:
        """When the next thing is done if nothing else happens; `None`: not by itself."""

    def take_step(self) -> Step:
        """Return what is due. What it does takes its time; then `begin_step`."""


@attrs.define(eq=False)
class ScriptedCaller:
    """Goes through the steps one after the other, by what it hears from the buffer."""

    _steps: deque[Step]
    _buffer: PlayoutBuffer = attrs.field(factory=PlayoutBuffer)
    _since_ms: float = attrs.field(default=math.inf, init=False)
    """Agent audio played before this is not what the present step is waiting for."""
    _step_began_ms: float = attrs.field(default=math.inf, init=False)
    _agent_began_ms: float | None = attrs.field(default=None, init=False)
    _keys: deque[tuple[str, float]] = attrs.field(factory=deque[tuple[str, float]], init=False)
    """Keys of the agent's that no step has waited for yet, and since when they are there."""

    def connect(self, buffer: PlayoutBuffer, now_ms: float) -> None:
        """See `FarEnd`."""
        self._buffer = buffer
        self._keys = deque((key, now_ms) for key, _ in self._keys)
        self.begin_step(now_ms)

    def begin_step(self, now_ms: float) -> None:
        """See `FarEnd`."""
        self._step_began_ms = now_ms
        self.forget_agent(now_ms)

    def forget_agent(self, now_ms: float) -> None:
        """See `FarEnd`."""
        self._since_ms = now_ms
        self._agent_began_ms = None

    def heard_key(self, digit: str) -> None:
        """See `FarEnd`."""
        self._keys.append((digit, 0.0))

    def hears(self, ulaw: bytes, until_ms: float) -> None:
        """See `FarEnd`. A person does not know tones by ear."""

    def due_ms(self) -> float | None:
        """See `FarEnd`."""
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
            case "key":
                while self._keys and step.key not in (None, self._keys[0][0]):
                    self._keys.popleft()
                return max(self._keys[0][1], self._step_began_ms) if self._keys else None
            case "call_end":
                return None

    def take_step(self) -> Step:
        """See `FarEnd`."""
        self._step_began_ms = math.inf
        step = self._steps.popleft()
        if step.wait == "key":
            self._keys.popleft()
        return step

    @property
    def steps_left(self) -> int:
        """See `FarEnd`."""
        return sum(step.wait != "call_end" for step in self._steps)

    def _agent_began(self) -> float | None:
        # Remembered, because a gap in playout would otherwise start the count again.
        if self._agent_began_ms is None and self._buffer.empty_at_ms() > self._since_ms:
            self._agent_began_ms = max(self._buffer.began_ms(), self._since_ms)
        return self._agent_began_ms
