"""What is written down of every decision about a tool, before it takes effect. A value."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from actors.policy.risk import Risk, Tier

AuditEvent = Literal[
    "asked", "allowed", "refused", "verified", "not_verified",
    "confirmed", "declined", "began", "finished", "failed", "unknown",
]  # fmt: skip
"""`asked`: the model wants it. `began`: its effect may happen from here on. `unknown`: whether it
took effect is not known, and it is never tried again."""

ENDS: Final[frozenset[AuditEvent]] = frozenset(
    {"refused", "declined", "finished", "failed", "unknown"}
)
"""Every call of the model's that was `asked` for comes to exactly one of these."""

SHOWN_CHARS: Final = 64
"""Of names that the model or the carrier made up, in a row."""


def shown(text: str) -> str:
    """A name of somebody else's, as far as a row may hold it."""
    return "".join(filter(str.isprintable, text[:SHOWN_CHARS]))


@attrs.frozen(kw_only=True)
class AuditRow:
    """One decision, or one step of an execution."""

    event: AuditEvent
    call_sid: str
    tool_call_id: str
    tool: str
    digest: str
    """Of the tool and its exact arguments: what was confirmed, and what was run, is the same."""
    risk: Risk
    tier: Tier
    caller: str = attrs.field(default="", repr=False)
    """Who is on the phone, as the carrier has it."""
    arguments: str = attrs.field(default="", repr=False)
    """JSON text; with `asked` only."""
    detail: str = ""
    """Why, in a word or two of ours: never words of anybody on the phone."""
