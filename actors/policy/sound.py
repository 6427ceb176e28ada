"""Whether the caller's line has sound on it: hold music, a room, a voice. Not whose.

Pure: no trio, no sockets, no clock.
"""

from __future__ import annotations

from typing import Final

import attrs

FLOOR: Final = 164
"""Of 32768, -46 dBFS: a quiet voice is at -35, the comfort noise of a network below -55, and a
caller on mute is digital silence."""

LOUD_SHARE: Final = 8
"""One sample in so many above the floor makes a frame loud: a click is far less than that."""

FRAMES: Final = 5
"""So many loud frames in a row, 100 ms, are a sound."""


def _magnitude(code: int) -> int:
    """Of a mu-law code, on the scale of 16 bits. Source: ITU-T G.711."""
    rank = ~code & 0x7F
    return ((((rank & 15) << 3) + 132) << (rank >> 4)) - 132


_IS_LOUD: Final = bytes(_magnitude(code) >= FLOOR for code in range(256))


@attrs.define(eq=False)
class Sound:
    """Listens to every frame of the caller's, at half a microsecond each."""

    heard_ms: float | None = attrs.field(default=None, init=False)
    """When there was a sound last, on the call's clock. `None`: never."""
    _loud: int = attrs.field(default=0, init=False)
    """Loud frames in a row."""

    def hears(self, ulaw: bytes, *, now_ms: float) -> None:
        """Take in a frame that just came."""
        loud = ulaw.translate(_IS_LOUD).count(1)
        self._loud = self._loud + 1 if loud * LOUD_SHARE > len(ulaw) else 0
        if self._loud >= FRAMES:
            self.heard_ms = now_ms
