"""Who may have a tool run: by what it can do, who is on the phone, and what they confirmed.

Pure: no trio, no sockets, no clock. The model proposes, and has no word in any of this: whoever
speaks to it can make it say anything.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import Literal

Risk = Literal["low", "high"]
"""`low`: anybody may. `high`: the verified owner, who confirms it. What is not known is high."""


class Tier(IntEnum):
    """How well it is known who is on the phone. Of one call; it only ever rises."""

    ANONYMOUS = 0
    """A number that is not the owner's, or none."""
    KNOWN = 1
    """The owner's number, exactly: a hint, since numbers can be forged."""
    VERIFIED = 2
    """They have proved to be the owner, by what only the owner has."""


class Step(Enum):
    """What comes before a tool is run."""

    RUN = auto()
    CONFIRM = auto()
    """The caller is asked, with everything that will be done."""
    VERIFY = auto()
    """They have to prove that they are the owner, and then to confirm."""
    REFUSE = auto()


def step_for(risk: Risk, tier: Tier, *, can_verify: bool) -> Step:
    """The whole policy.

    Args:
        risk: Of the tool.
        tier: Of the caller, now.
        can_verify: Whether there is a proof that this caller may try to give.

    """
    if risk == "low":
        return Step.RUN
    if tier is Tier.VERIFIED:
        return Step.CONFIRM
    return Step.VERIFY if can_verify else Step.REFUSE
