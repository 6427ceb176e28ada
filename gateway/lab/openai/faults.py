"""How a rehearsal model's server misbehaves when its script says so.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from gateway.lab.openai.outbox import Outbox
from gateway.lab.rehearsing.scenario import Failure, Fault


@attrs.define(eq=False)
class Faults:
    """The faults of one session. Those with a time are for the caller to strike in time."""

    script: Sequence[Fault]
    outbox: Outbox
    ignores_close: bool = attrs.field(default=False, init=False)
    """The client's close frame is not to be answered."""

    def after_answer(self, answer: int) -> None:
        """Misbehave if this answer, counted from 1, is when to."""
        for fault in self.script:
            if fault.at.answer == answer:
                self.strike(fault)

    def strike(self, fault: Fault) -> None:
        """Misbehave now."""
        if fault.error is not None:
            self.outbox.fail(fault.error)
        match fault.do:
            case "close":
                self.outbox.close(fault.code, fault.reason)
            case "silence":
                self.outbox.silent = True
            case "expire":
                self.expire()
            case "ignore_close":
                self.ignores_close = True
            case "refuse" | "error":
                pass

    def expire(self) -> None:
        """End the session as one that has lasted too long."""
        message = "Your session hit the maximum duration of 60 minutes."
        self.outbox.fail(Failure("session_expired", message, "invalid_request_error"))
        self.outbox.close(1001, "invalid_request_error.session_expired")
