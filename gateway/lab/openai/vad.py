"""Voice activity by energy, on the audio's own time line.

Pure. Like the real one it hears time only as audio: when nothing is appended, nothing ends.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import numpy as np

from actors.wire.g711 import Pcm16

_WINDOW_SAMPLES: Final = 160
WINDOW_MS: Final = 20
ONSET_MS: Final = 60
"""This much voice in a row begins a turn: more than a click, less than a word."""

THRESHOLD_DBFS: Final = -35.0
"""Of a window's RMS, at `threshold` 0.5. Telephone speech lies around -20, line noise below -50."""

_THRESHOLD_SPAN_DB: Final = 30.0
"""From threshold 0 to threshold 1: -50 to -20 dBFS."""

_EAGER_SILENCE_MS: Final = {"low": 1200, "medium": 600, "auto": 600, "high": 300}
"""Stands in for the semantic detector: how long it waits after what sounds like an end."""


@attrs.frozen
class Began:
    """The caller began to speak."""

    audio_start_ms: int
    """Where the turn begins, padding included."""


@attrs.frozen
class Ended:
    """The caller has been silent for long enough."""

    audio_end_ms: int
    """Where the turn ends, the silence included."""


@attrs.define
class VoiceActivity:
    """Hears speech begin and end. Times count from the first sample it ever heard."""

    heard_ms: int = 0
    _rest: Pcm16 = attrs.field(factory=lambda: np.zeros(0, dtype=np.int16))
    _voiced_ms: int = 0
    _silent_ms: int = 0
    speaking: bool = False

    def hear(self, pcm: Pcm16, settings: dict[str, Any] | None) -> list[Began | Ended]:
        """Take more audio. `settings` is the session's `turn_detection`; `None` only counts."""
        samples = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        whole = len(samples) // _WINDOW_SAMPLES * _WINDOW_SAMPLES
        self._rest = samples[whole:]
        windows = samples[:whole].reshape(-1, _WINDOW_SAMPLES).astype(np.float64)
        if settings is None:
            self.heard_ms += WINDOW_MS * len(windows)
            return []
        limit = 32768.0 * 10 ** (_threshold_dbfs(settings) / 20)
        # Energies, not levels: nothing is quicker than a product of two short vectors.
        least_energy = limit * limit * _WINDOW_SAMPLES
        found: list[Began | Ended] = []
        for window in windows:
            voiced = float(window @ window) > least_energy
            self.heard_ms += WINDOW_MS
            self._voiced_ms = self._voiced_ms + WINDOW_MS if voiced else 0
            self._silent_ms = 0 if voiced else self._silent_ms + WINDOW_MS
            if not self.speaking and self._voiced_ms >= ONSET_MS:
                self.speaking = True
                padding_ms = int(settings.get("prefix_padding_ms", 300))
                found.append(Began(max(0, self.heard_ms - self._voiced_ms - padding_ms)))
            elif self.speaking and self._silent_ms >= _silence_ms(settings):
                self.speaking = False
                found.append(Ended(self.heard_ms))
        return found

    def forget(self) -> None:
        """Give up the turn being heard, if any, and count on."""
        self.speaking = False
        self._voiced_ms = self._silent_ms = 0


def _threshold_dbfs(settings: dict[str, Any]) -> float:
    return THRESHOLD_DBFS + (float(settings.get("threshold", 0.5)) - 0.5) * _THRESHOLD_SPAN_DB


def _silence_ms(settings: dict[str, Any]) -> int:
    if settings["type"] == "semantic_vad":
        return _EAGER_SILENCE_MS[settings["eagerness"]]
    # A window is the least that can be silent.
    return max(WINDOW_MS, int(settings["silence_duration_ms"]))
