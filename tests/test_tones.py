"""Keys as tones: the right two frequencies, in the levels and lengths that receivers take."""

from __future__ import annotations

import numpy as np
import pytest

from actors.messages import FRAME_BYTES, ULAW_SILENCE
from actors.wire.g711 import decode_ulaw
from actors.wire.tones import (
    COLUMNS_HZ,
    KEYS,
    PAUSE_MS,
    ROWS_HZ,
    SINE_0_DBM0,
    TONE_MS,
    WAIT_MS,
    key_tones,
)

SAMPLES_PER_MS = 8


def level_dbm0(ulaw: bytes, hz: float) -> float:
    """Goertzel: how loud one frequency is."""
    samples = decode_ulaw(ulaw).astype(float)
    turn = 2 * np.cos(2 * np.pi * hz / 8000)
    before = latest = 0.0
    for sample in samples:
        before, latest = latest, sample + turn * latest - before
    power = before**2 + latest**2 - turn * before * latest
    amplitude = 2 * np.sqrt(max(power, 1e-9)) / len(samples)
    return float(20 * np.log10(amplitude / SINE_0_DBM0))


def heard_key(ulaw: bytes) -> str | None:
    """What a receiver makes of a tone: the loudest row and column, if they stand out by 15 dB."""
    found = []
    for group in (ROWS_HZ, COLUMNS_HZ):
        levels = sorted(((level_dbm0(ulaw, hz), hz) for hz in group), reverse=True)
        if levels[0][0] < -25 or levels[0][0] - levels[1][0] < 15:
            return None
        found.append(group.index(levels[0][1]))
    return KEYS[found[0] * 4 + found[1]]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_heard_as_itself(key: str) -> None:
    ulaw = key_tones(key)
    tone = ulaw[: TONE_MS * SAMPLES_PER_MS]
    row, column = divmod(KEYS.index(key), 4)

    assert heard_key(tone) == key
    # 40 ms of it are enough for a receiver, wherever they begin.
    assert heard_key(tone[20 * SAMPLES_PER_MS : 60 * SAMPLES_PER_MS]) == key
    assert level_dbm0(tone, ROWS_HZ[row]) == pytest.approx(-8, abs=0.5)
    assert level_dbm0(tone, COLUMNS_HZ[column]) == pytest.approx(-6, abs=0.5)


@pytest.mark.parametrize("key", KEYS)
def test_no_key_clips_or_clicks(key: str) -> None:
    samples = decode_ulaw(key_tones(key)).astype(int)

    assert np.abs(samples).max() < 21_000
    tone = samples[: TONE_MS * SAMPLES_PER_MS]
    for edge in (tone[:4], tone[-4:]):
        assert np.abs(edge).max() < 4_000


def test_a_key_is_a_tone_and_a_pause_and_w_is_half_a_second_of_nothing() -> None:
    each = (TONE_MS + PAUSE_MS) * SAMPLES_PER_MS
    ulaw = key_tones("1w2")

    assert len(ulaw) == 2 * each + WAIT_MS * SAMPLES_PER_MS
    assert len(ulaw) % FRAME_BYTES == 0
    assert ulaw[TONE_MS * SAMPLES_PER_MS : each] == ULAW_SILENCE * (PAUSE_MS * SAMPLES_PER_MS)
    assert ulaw[each:-each] == ULAW_SILENCE * (WAIT_MS * SAMPLES_PER_MS)


def test_silence_and_a_voice_are_no_key() -> None:
    assert heard_key(ULAW_SILENCE * 800) is None
    assert heard_key(b"\x90\x90\x90\x90\x10\x10\x10\x10" * 100) is None


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="substring"):
        key_tones("1x")
