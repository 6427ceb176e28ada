"""The latest of what the caller said, so that a session can be given it a second time."""

from __future__ import annotations

from base64 import b64decode
from collections import deque
from typing import Final

import attrs

from actors.messages import ULAW_BYTES_PER_MS

KEPT_MS: Final = 30_000
"""240 kB. Hardly anybody speaks for longer without a pause; then their beginning is lost."""


@attrs.define(eq=False)
class SpeechRing:
    """Keeps the end of a call's audio. Positions are ms in all of it."""

    kept_bytes: int = KEPT_MS * ULAW_BYTES_PER_MS
    end_bytes: int = attrs.field(default=0, init=False)
    """Of all the audio that was ever added."""
    _pieces: deque[tuple[int, str]] = attrs.field(factory=deque[tuple[int, str]], init=False)
    """Where each begins, in bytes, and its base64: decoded when it is wanted, which is seldom."""

    def add(self, payload: str) -> None:
        """Keep some more, in base64 of mu-law."""
        self._pieces.append((self.end_bytes, payload))
        self.end_bytes += len(payload) * 3 // 4 - payload[-2:].count("=")
        while len(self._pieces) > 1 and self._pieces[1][0] <= self.end_bytes - self.kept_bytes:
            self._pieces.popleft()

    def clamp(self, at_bytes: int) -> int:
        """The nearest place from which on everything is kept, on a whole ms if there is one."""
        first = self._pieces[0][0] if self._pieces else self.end_bytes
        first += -first % ULAW_BYTES_PER_MS
        return max(min(first, self.end_bytes), min(at_bytes, self.end_bytes))

    def read(self, from_bytes: int) -> bytes:
        """Everything from there on."""
        parts = [
            b64decode(payload)[max(0, from_bytes - start) :]
            for start, payload in self._pieces
            if start + len(payload) * 3 // 4 > from_bytes
        ]
        return b"".join(parts)
