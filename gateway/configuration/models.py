"""What is known of models, recognisers and voices: names, abilities, and the ends announced. Pure.

Source: the literals and docstrings of OpenAI's Python SDK 3.51, and "Deprecations", OpenAI docs,
both of November 2026. The list of models is open: another name is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

_BETA_END: Final = date(2026, 5, 31)
"""The protocol that the preview models spoke ended in this month."""
_2025_END: Final = date(2027, 1, 20)
_WHISPER_END: Final = date(2027, 2, 26)

MODELS: Final[Mapping[str, date | None]] = MappingProxyType(
    {
        "gpt-realtime-2.1": None,
        "gpt-realtime-2.1-mini": None,
        "gpt-realtime-2": None,
        "gpt-realtime-1.5": None,
        "gpt-realtime": _2025_END,
        "gpt-realtime-2025-08-28": _2025_END,
        "gpt-realtime-mini": _2025_END,
        "gpt-realtime-mini-2025-12-15": _2025_END,
        "gpt-realtime-mini-2025-10-06": date(2026, 7, 23),
        "gpt-4o-realtime-preview": _BETA_END,
        "gpt-4o-realtime-preview-2024-10-01": _BETA_END,
        "gpt-4o-realtime-preview-2024-12-17": _BETA_END,
        "gpt-4o-realtime-preview-2025-06-03": _BETA_END,
        "gpt-4o-mini-realtime-preview": _BETA_END,
        "gpt-4o-mini-realtime-preview-2024-12-17": _BETA_END,
    }
)
"""Models that hold a conversation, with the day they are shut down, if one is announced."""

RECOGNISERS: Final[Mapping[str, date | None]] = MappingProxyType(
    {
        "gpt-transcribe": None,
        "gpt-live-transcribe": None,
        "gpt-realtime-whisper": None,
        "gpt-4o-transcribe": _WHISPER_END,
        "gpt-4o-transcribe-diarize": _WHISPER_END,
        "gpt-4o-mini-transcribe": _WHISPER_END,
        "gpt-4o-mini-transcribe-2025-12-15": _WHISPER_END,
        "whisper-1": _WHISPER_END,
    }
)
"""Models that write down what the caller said."""

TAKES_KEYWORDS: Final = frozenset({"gpt-transcribe", "gpt-live-transcribe"})

VOICES: Final = (
    "marin", "cedar", "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse",
)  # fmt: skip
CUSTOM_VOICE: Final = "voice_"
"""What the id of a voice of one's own begins with."""

SUCCESSOR: Final = "gpt-realtime-2.1"
SMALL_SUCCESSOR: Final = "gpt-realtime-2.1-mini"
RECOGNISER: Final = "gpt-transcribe"


def reasons(model: str) -> bool | None:
    """Whether a model takes `reasoning_effort` and `parallel_tool_calls`; `None`: nobody knows.

    Source: "session.update", `reasoning` and `parallel_tool_calls`, OpenAI API reference.
    """
    if model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-2025"):
        return True
    # Another name may be anything: a deployment of Azure's is called as its owner likes.
    return False if model.startswith(("gpt-realtime", "gpt-4o")) else None


def successor(model: str) -> str:
    """What to use in the place of a model that ends."""
    if model in RECOGNISERS:
        return RECOGNISER
    return SMALL_SUCCESSOR if "mini" in model else SUCCESSOR
