"""Whom a rehearsed call is transferred to: a person with a script of one line. No behaviour."""

from __future__ import annotations

import attrs

RINGS_MS = 1000
"""How long it rings at somebody who is going to be busy."""


@attrs.frozen
class Callee:
    """What happens at the other end of a `<Dial>`. Without anything said: an answer after 2 s."""

    answers_after_ms: int = attrs.field(default=2000, validator=attrs.validators.ge(0))
    """Of ringing. Longer than the dial's own `timeout` means no answer."""
    busy: bool = False
    no_answer: bool = False
    """It rings until the dial's `timeout` is over."""
    fails: bool = False
    """The number does not exist, or cannot be reached."""
    says: str | None = None
    """To the caller, once they are connected. For the report; nobody transcribes it."""
    hangs_up_after_ms: int = attrs.field(default=2000, validator=attrs.validators.ge(0))
    """Of talking with the caller."""
    declines_after_ms: int | None = None
    """Hangs up during the whisper, after so much of it: never connected."""
    caller_waits_ms: int | None = None
    """The caller hangs up after so much ringing; `None`: the caller has time."""

    def __attrs_post_init__(self) -> None:
        if self.busy + self.no_answer + self.fails > 1:
            raise ValueError("a callee is one of `busy`, `no_answer` and `fails`")
