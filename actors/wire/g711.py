"""G.711 mu-law to linear PCM and back, by table.

Source: ITU-T G.711; byte-exact with CPython's former `audioop` over the whole domain.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Pcm16 = npt.NDArray[np.int16]
"""Signed 16-bit samples at 8 kHz, mono."""


def _linear(code: int) -> int:
    bits = ~code & 0xFF
    magnitude = ((((bits & 15) << 3) + 132) << ((bits >> 4) & 7)) - 132
    return -magnitude if bits & 0x80 else magnitude


def _companded(sample: int) -> int:
    sample >>= 2
    mask = 0xFF
    if sample < 0:
        sample, mask = -sample, 0x7F
    sample = min(sample, 8159) + 33
    segment = sample.bit_length() - 6
    if segment >= 8:
        return mask ^ 0x7F
    return mask ^ ((segment << 4) | ((sample >> (segment + 1)) & 15))


_LINEAR: Final = np.array([_linear(code) for code in range(256)], dtype=np.int16)
_COMPANDED: Final = np.array(
    [_companded(sample - 0x10000 if sample & 0x8000 else sample) for sample in range(0x10000)],
    dtype=np.uint8,
)


def decode_ulaw(ulaw: bytes) -> Pcm16:
    """Expand mu-law to 16-bit samples."""
    return _LINEAR[np.frombuffer(ulaw, dtype=np.uint8)]


def encode_ulaw(pcm: Pcm16) -> bytes:
    """Compress 16-bit samples to mu-law."""
    return _COMPANDED[pcm.view(np.uint16)].tobytes()


def level_dbfs(ulaw: bytes) -> float:
    """RMS level relative to a full-scale square wave; -96.0 for silence and for no audio."""
    if not ulaw:
        return -96.0
    rms = float(np.sqrt(np.mean(np.square(decode_ulaw(ulaw), dtype=np.float64))))
    return max(-96.0, 20.0 * float(np.log10(rms / 32768.0))) if rms > 0 else -96.0
