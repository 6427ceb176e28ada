"""Audio that passed one point of a simulation, and how to find it in what passes there. Pure."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import attrs
import orjson

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.judges.tagged_voice import Run, read


@attrs.define(eq=False)
class Audio:
    """Audio that passed one point, and when each piece of it did."""

    ulaw: bytearray = attrs.field(factory=bytearray, init=False)
    count: int = attrs.field(default=0, init=False)
    """Bytes, also when the audio itself is forgotten."""
    _offsets: list[int] = attrs.field(factory=list[int], init=False)
    _times_s: list[float] = attrs.field(factory=list[float], init=False)

    def add(self, ulaw: bytes, at_s: float) -> None:
        """Take in one piece."""
        self._offsets.append(self.count)
        self._times_s.append(at_s)
        self.ulaw += ulaw
        self.count += len(ulaw)

    def at_s(self, at_ms: int) -> float:
        """When this millisecond passed."""
        return self._times_s[bisect_right(self._offsets, at_ms * ULAW_BYTES_PER_MS) - 1]

    def pieces(self) -> Iterator[tuple[float, int, int]]:
        """Each piece: when it passed, where it begins, and its length in bytes."""
        for index, (at_s, begin) in enumerate(zip(self._times_s, self._offsets, strict=True)):
            is_last = index + 1 == len(self._offsets)
            end = self.count if is_last else self._offsets[index + 1]
            yield at_s, begin, end - begin

    def runs(self) -> list[Run]:
        """Whose audio it is."""
        return read(bytes(self.ulaw))

    def forget(self) -> None:
        """Keep only how much it was."""
        self.ulaw.clear()
        self._offsets.clear()
        self._times_s.clear()


def parsed(frame: str | bytes) -> dict[str, Any]:
    """The message in a frame; nothing when it is spoilt."""
    try:
        message: Any = orjson.loads(frame)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def decoded(parent: object, key: str) -> bytes:
    """The audio in a message; nothing when it is spoilt, which whoever reads it drops as well."""
    payload = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(payload, str):
        return b""
    try:
        ulaw = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return ulaw if base64.b64encode(ulaw).decode("ascii") == payload else b""
