"""How far the script of a call has come, over all the sessions that the call has had."""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class Progress:
    """Shared by the rehearsed sessions of one call, so that a second one goes on where it is."""

    answers_used: int = 0
    turns_heard: int = 0
    """Turns of the caller that were transcribed."""
