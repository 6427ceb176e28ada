"""Who is on the phone, by what the carrier says of them. Pure.

A number is what a stranger's telephone exchange says it is. So it opens nothing by itself: the
owner's number is a hint, and whoever has it may try to prove that they are the owner.
"""

from __future__ import annotations

import re
from typing import Final

from actors.guard import Caller
from actors.policy.risk import Tier
from gateway.configuration.agents import NUMBERLESS
from gateway.configuration.tool_settings import OwnerSettings

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def tier_of(number: str, owner: OwnerSettings, *, outgoing: bool = False) -> Tier:
    """How well a caller is known before they say anything.

    Args:
        number: `From`, as the carrier wrote it. Nothing is made of it: what is not the owner's
            number character by character is not the owner's.
        owner: Whose numbers.
        outgoing: We called: whoever picks up may be anybody.

    """
    if outgoing or number in NUMBERLESS or _E164.fullmatch(number) is None:
        return Tier.ANONYMOUS
    return Tier.KNOWN if number in owner.numbers else Tier.ANONYMOUS


def caller_of(number: str, owner: OwnerSettings, *, outgoing: bool = False) -> Caller:
    """Who is on the phone, and whether they may try to prove that they are the owner."""
    tier = tier_of(number, owner, outgoing=outgoing)
    has_proof = owner.pin is not None or owner.totp_secret is not None
    may_try = tier is Tier.KNOWN or (owner.verify_anywhere and not outgoing)
    return Caller(number=number, tier=tier, can_verify=has_proof and may_try)
