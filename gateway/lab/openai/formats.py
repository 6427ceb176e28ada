"""The three audio formats of a Realtime session, to and from what the rehearsal works in.

Pure. Inside, caller audio is 16-bit samples at 8 kHz and agent audio is mu-law at 8 kHz.
"""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np
import soxr  # type: ignore[import-untyped] # it has none.

from actors.wire.g711 import Pcm16, decode_ulaw

BYTES_PER_MS: Final = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}
"""PCM is 24 kHz and two bytes a sample; G.711 is 8 kHz and one."""

_THREE_BYTES: Final = 6
"""Three samples of PCM."""


def _alaw_linear(code: int) -> int:
    bits = code ^ 0x55
    segment, step = (bits >> 4) & 7, bits & 15
    magnitude = (step << 4) + 8 if segment == 0 else ((step << 4) + 0x108) << (segment - 1)
    return magnitude if bits & 0x80 else -magnitude


_ALAW: Final = np.array([_alaw_linear(code) for code in range(256)], dtype=np.int16)
_ALAW_ORDER: Final = np.argsort(_ALAW)
_ALAW_LEVELS: Final = _ALAW[_ALAW_ORDER].astype(np.int32)


@attrs.define(eq=False)
class Ear:
    """Expands caller audio to 8 kHz, however it was cut into pieces."""

    _rest: bytes = attrs.field(default=b"", init=False)
    """The beginning of three samples at 24 kHz, which are one at 8."""
    _kind: str = attrs.field(default="", init=False)

    def hear(self, kind: str, audio: bytes) -> Pcm16:
        """Take more audio. What makes up no whole sample is heard with what follows it."""
        if kind != self._kind:
            self._kind, self._rest = kind, b""
        match kind:
            case "audio/pcmu":
                return decode_ulaw(audio)
            case "audio/pcma":
                return _ALAW[np.frombuffer(audio, dtype=np.uint8)]
            case _:
                audio = self._rest + audio
                whole = len(audio) // _THREE_BYTES * _THREE_BYTES
                self._rest = audio[whole:]
                # Averaging is a crude low-pass, but enough to tell speech from silence.
                samples = np.frombuffer(audio[:whole], dtype="<i2").reshape(-1, 3)
                return np.asarray(np.round(samples.mean(axis=1)), dtype=np.int16)


def encode(kind: str, ulaw: bytes) -> bytes:
    """Turn a whole line of the agent's into the session's output format."""
    match kind:
        case "audio/pcmu":
            return ulaw
        case "audio/pcma":
            pcm = decode_ulaw(ulaw).astype(np.int32)
            middles = (_ALAW_LEVELS[1:] + _ALAW_LEVELS[:-1]) // 2
            return _ALAW_ORDER[np.searchsorted(middles, pcm)].astype(np.uint8).tobytes()
        case _:
            wide = soxr.resample(decode_ulaw(ulaw).astype(np.float32), 8000, 24000)
            return bytes(np.clip(np.rint(wide), -32768, 32767).astype("<i2").tobytes())
