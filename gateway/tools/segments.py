"""How many messages a text is sent as, by which the carrier bills it. Pure.

Source: "GSM 03.38" for the alphabet; "What does "Segment" mean?", Twilio docs, for the lengths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_GSM7: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
"""Two places each: an escape before them."""
_GSM7_PLACES: Final = (160, 153)
"""Of a message that is alone, and of one that is a part of a longer one."""
_UCS2_PLACES: Final = (70, 67)


def segments(text: str) -> int:
    """How many messages a text takes; at least one."""
    if all(one in _GSM7 or one in _GSM7_EXTENDED for one in text):
        return _packed((1 + (one in _GSM7_EXTENDED) for one in text), *_GSM7_PLACES)
    return _packed((1 + (ord(one) > 0xFFFF) for one in text), *_UCS2_PLACES)


def _packed(sizes: Iterable[int], alone: int, in_parts: int) -> int:
    """How many messages are filled. No character is divided between two."""
    total, parts, used = 0, 1, 0
    for size in sizes:
        total += size
        used += size
        if used > in_parts:
            parts, used = parts + 1, size
    return 1 if total <= alone else parts
