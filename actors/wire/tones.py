"""Telephone keys as tones in the audio. Pure.

Source: ITU-T Q.23 (frequencies) and Q.24 (levels and lengths that receivers take).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from actors.messages import ULAW_BYTES_PER_MS, ULAW_SILENCE
from actors.wire.g711 import encode_ulaw

KEYS: Final = "123A456B789C*0#D"
"""The keypad, row by row."""
ROWS_HZ: Final = (697, 770, 852, 941)
COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)

TONE_MS: Final = 100
"""Receivers take 40 ms and more; shorter tones are lost in a network that drops a frame."""
PAUSE_MS: Final = 100
"""Behind every key. Likewise."""
WAIT_MS: Final = 500
"""A `w`. Source: `digits` of "TwiML: Play", Twilio docs."""

LOW_DBM0: Final = -8.0
HIGH_DBM0: Final = -6.0
"""The column a little louder: networks take more of the high tones. The two together peak at 62 %
of full scale."""
SINE_0_DBM0: Final = 22_301
"""Peak of a sine of 0 dBm0 in 16-bit samples. Source: ITU-T G.711, table 5."""
RAMP_MS: Final = 2
"""Up and down, so that a tone does not click: a click has all frequencies."""


def key_tones(digits: str) -> bytes:
    """Mu-law of these keys, one after another: `0` to `9`, `*`, `#`, `A` to `D`, and `w`.

    Raises:
        ValueError: There is no such key.

    """
    return b"".join(_tone(digit) for digit in digits)


def _tone(digit: str) -> bytes:
    if digit in ("w", "W"):
        return ULAW_SILENCE * (WAIT_MS * ULAW_BYTES_PER_MS)
    row, column = divmod(KEYS.index(digit), len(COLUMNS_HZ))
    size = TONE_MS * ULAW_BYTES_PER_MS
    turns = 2 * np.pi * np.arange(size) / (1000 * ULAW_BYTES_PER_MS)
    low = 10 ** (LOW_DBM0 / 20) * np.sin(ROWS_HZ[row] * turns)
    high = 10 ** (HIGH_DBM0 / 20) * np.sin(COLUMNS_HZ[column] * turns)
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]) / (RAMP_MS * ULAW_BYTES_PER_MS)
    samples = SINE_0_DBM0 * np.minimum(1.0, ramp) * (low + high)
    tone = encode_ulaw(np.round(samples).astype(np.int16))
    return tone + ULAW_SILENCE * (PAUSE_MS * ULAW_BYTES_PER_MS)
