"""Hears key tones in audio, as the machine at the other end of a line does.

Pure. A key is two tones at a time, one of four low and one of four high frequencies.
Source: ITU-T Q.23 (frequencies), Q.24 (how a receiver tells them from speech).
"""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.g711 import decode_ulaw

LOW_HZ: Final = (697, 770, 852, 941)
HIGH_HZ: Final = (1209, 1336, 1477, 1633)
KEYPAD: Final = ("123A", "456B", "789C", "*0#D")

WINDOW_MS: Final = 20
LEAST_MS: Final = 40
"""Q.24: a receiver has to accept 40 ms, and to refuse what is much shorter."""
_LEAST_DBFS: Final = -36.0
_PURITY: Final = 0.8
"""Of the energy, what the two tones have to have between them. Speech has far less."""
_TWIST: Final = 8.0
"""How many times more energy one of the two may have: 9 dB."""

_RATE: Final = 1000 * ULAW_BYTES_PER_MS
_COUNT: Final = WINDOW_MS * ULAW_BYTES_PER_MS
_AT: Final = 2 * np.pi * np.arange(_COUNT) / _RATE
_WAVES: Final = np.exp(-1j * np.outer([*LOW_HZ, *HIGH_HZ], _AT))


@attrs.define(eq=False)
class KeyEar:
    """Listens to audio as it comes, in pieces of any length."""

    _rest: bytes = attrs.field(default=b"", init=False)
    _heard: str | None = attrs.field(default=None, init=False)
    _heard_ms: int = attrs.field(default=0, init=False)

    def hear(self, ulaw: bytes) -> str:
        """Take more audio. Returns the keys that were recognised in it, usually none."""
        audio = self._rest + ulaw
        whole = len(audio) // _COUNT * _COUNT
        self._rest = audio[whole:]
        keys = ""
        for at in range(0, whole, _COUNT):
            key = _key_in(audio[at : at + _COUNT])
            if key != self._heard:
                self._heard, self._heard_ms = key, 0
            self._heard_ms += WINDOW_MS
            if key is not None and self._heard_ms == LEAST_MS:
                keys += key
        return keys


def _key_in(ulaw: bytes) -> str | None:
    """The key that sounds through one whole window, if one does."""
    pcm = decode_ulaw(ulaw).astype(np.float64)
    energy = float(pcm @ pcm)
    if energy < _COUNT * (32768 * 10 ** (_LEAST_DBFS / 20)) ** 2:
        return None
    # Of a pure tone at one of these frequencies, this is all of its energy.
    found = 2 * np.square(np.abs(_WAVES @ pcm)) / _COUNT
    low, high = int(np.argmax(found[:4])), int(np.argmax(found[4:]))
    low_energy, high_energy = float(found[low]), float(found[4 + high])
    if low_energy + high_energy < _PURITY * energy:
        return None
    if max(low_energy, high_energy) > _TWIST * min(low_energy, high_energy):
        return None
    return KEYPAD[low][high]
