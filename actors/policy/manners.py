"""How a call is conducted beside its words: keys, silence, limits. A value, and no behaviour."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Manners:
    """As a `Plan` has it. The defaults do nothing of their own accord."""

    tells_keys: bool = False
    """Whether the model is told of the keys that the caller presses."""
    hash_ends_turn: bool = False
    """The caller ends every turn with the `#` key: the session does not listen for it."""
    language: str | None = None
    """ISO 639-1, of what callers speak: in it, a spoken yes is one. `None`: any."""
    key_tones: Literal["redirect", "in_band"] = "redirect"
    """How keys are sent: by the carrier, or as tones in the audio."""
    greeting_interruptible: bool = True
    """False: until the greeting has been heard, the session hears silence from the caller."""
    max_silence_s: float | None = None
    """Silence of both sides after which the agent asks, and after as much again says goodbye."""
    tool_filler: str | None = None
    """Said in the gateway's own voice when a tool is slow and nobody says anything."""
    tool_filler_after_s: float = 1.5
    wrap_up_s: float | None = None
    """How long before a limit the agent is told to come to an end. `None`: it is not told."""
    max_cost_usd: float | None = None
    """Of the session's tokens. When it is reached, the agent has `wrap_up_s` to come to an end."""
