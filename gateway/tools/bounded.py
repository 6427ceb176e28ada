"""Answers for a model, in no more bytes than they may have. Pure."""

from __future__ import annotations

import json


def size_bytes(value: object) -> int:
    """How long it is as JSON, as `Toolbox` writes it."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def shortened(text: str, most_bytes: int) -> str:
    """The beginning of a text, in whole words where it has any, so that its JSON fits."""
    most_bytes -= len(" …".encode())
    while text and size_bytes(text) > most_bytes:
        over = size_bytes(text) - most_bytes
        text = text[: -max(1, over // 6)]
    shorter = text.rpartition(" ")[0] or text
    return f"{shorter} …"
