"""What the session's tokens cost, by list price. Pure: a table, and arithmetic.

Not in it: the recogniser of the caller's words, which is billed by the minute, and the telephone.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from actors.messages import Usage

PRICES_AS_OF: Final = "2026-11-20"
"""When the table was last compared with its source. Source: the model pages of OpenAI's
documentation. USD per million tokens."""


@attrs.frozen
class Price:
    """Of one model, in USD per million tokens."""

    text_in: float
    text_cached: float
    text_out: float
    audio_in: float
    audio_cached: float
    audio_out: float


_LARGE: Final = Price(4.0, 0.4, 16.0, 32.0, 0.4, 64.0)
_REASONING: Final = Price(4.0, 0.4, 24.0, 32.0, 0.4, 64.0)
_MINI: Final = Price(0.6, 0.06, 2.4, 10.0, 0.3, 20.0)

PRICES: Final = {
    "gpt-realtime-2.1": _REASONING,
    "gpt-realtime-2": _REASONING,
    "gpt-realtime-2.1-mini": _MINI,
    "gpt-realtime-1.5": _LARGE,
    "gpt-realtime": _LARGE,
    "gpt-realtime-mini": _MINI,
}

_DATE: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""A model may be named with the day it was made; it costs the same."""


def price_of(model: str) -> Price | None:
    """What a model costs. `None`: not known, which is not the same as nothing."""
    return PRICES.get(_DATE.sub("", model))


def cost_usd(model: str, usage: Usage) -> float | None:
    """What this many tokens of a model cost. `None`: its price is not known."""
    price = price_of(model)
    if price is None:
        return None
    millionths = (
        (usage.input_text_tokens - usage.cached_text_tokens) * price.text_in
        + usage.cached_text_tokens * price.text_cached
        + usage.output_text_tokens * price.text_out
        + (usage.input_audio_tokens - usage.cached_audio_tokens) * price.audio_in
        + usage.cached_audio_tokens * price.audio_cached
        + usage.output_audio_tokens * price.audio_out
    )
    return round(millionths / 1e6, 6)
