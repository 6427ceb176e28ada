"""Sound that is no speech, and speech that is no language: both the same every time.

Pure. Noise stands for hold music and streets. Babble stands for a voice where no synthesiser is
wanted: every line of it is unlike every other, survives a telephone's filters, and so can be told
from all others in whatever was heard.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.g711 import encode_ulaw
from gateway.lab.twilio.far_end import Noise

MS_PER_CHARACTER: Final = 60
"""About as fast as a person speaks."""
SHORTEST_MS: Final = 240
VOICE_DBFS: Final = -20.0

_RATE: Final = 1000 * ULAW_BYTES_PER_MS
_HZ: Final = (250.0, 3000.0)
"""Well inside what a telephone passes on, and what resampling leaves alone."""
_SYLLABLE_MS: Final = 180
_DEPTH: Final = 0.5
"""How much quieter the voice is between two syllables: heard, and still speech."""

Samples = npt.NDArray[np.float64]


def noise_of(noise: Noise) -> bytes:
    """Mu-law of some noise."""
    return _companded(_sound(Random("noise"), noise.ms), noise.dbfs)


@lru_cache(maxsize=512)
def babble(text: str, who: str = "agent") -> bytes:
    """Mu-law of a line, as this speaker says it. Longer texts take longer."""
    ms = max(SHORTEST_MS, len(text) * MS_PER_CHARACTER)
    sound = _sound(Random(f"{who}/{text}"), ms)
    at_ms = np.arange(len(sound)) / ULAW_BYTES_PER_MS
    sound *= 1 - _DEPTH * np.square(np.cos(np.pi * at_ms / _SYLLABLE_MS))
    return _companded(sound, VOICE_DBFS)


def _sound(random: Random, ms: int) -> Samples:
    count = ms * ULAW_BYTES_PER_MS
    white = np.frombuffer(random.randbytes(2 * count), dtype="<i2").astype(np.float64)
    spectrum = np.fft.rfft(white)
    hz = np.arange(len(spectrum)) * _RATE / count
    spectrum[(hz < _HZ[0]) | (hz > _HZ[1])] = 0
    return np.fft.irfft(spectrum, count)


def _companded(sound: Samples, dbfs: float) -> bytes:
    rms = float(np.sqrt(np.mean(np.square(sound))))
    scaled = sound * (32768 * 10 ** (dbfs / 20) / rms)
    return encode_ulaw(np.round(np.clip(scaled, -32000, 32000)).astype(np.int16))
