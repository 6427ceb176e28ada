from __future__ import annotations

import importlib
import math
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import ULAW_SILENCE
from actors.wire.g711 import decode_ulaw, encode_ulaw, level_dbfs

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int16)


@pytest.fixture
def audioop() -> ModuleType:
    """CPython's own G.711, while it had one."""
    if sys.version_info >= (3, 13):
        pytest.skip("this Python has no audioop")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("audioop")


def test_every_code_decodes_as_in_audioop(audioop: ModuleType) -> None:
    expected = audioop.ulaw2lin(EVERY_CODE, 2)

    assert decode_ulaw(EVERY_CODE).astype("=i2").tobytes() == expected


def test_every_sample_encodes_as_in_audioop(audioop: ModuleType) -> None:
    assert encode_ulaw(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2)


def test_every_code_survives_the_way_there_and_back() -> None:
    """But the second zero, which nobody can hear."""
    assert encode_ulaw(decode_ulaw(EVERY_CODE)) == EVERY_CODE.replace(b"\x7f", b"\xff")


def test_the_ends_of_the_scale_are_those_of_the_standard() -> None:
    assert decode_ulaw(b"\x00\x80\xff\x7f").tolist() == [-32124, 32124, 0, 0]
    assert decode_ulaw(ULAW_SILENCE).tolist() == [0]


def test_no_audio_is_no_audio() -> None:
    assert decode_ulaw(b"").size == 0
    assert encode_ulaw(np.zeros(0, dtype=np.int16)) == b""


def test_samples_need_not_lie_side_by_side() -> None:
    stereo = np.array([[0, 1000], [0, 2000]], dtype=np.int16)

    assert encode_ulaw(stereo[:, 1].copy()) == encode_ulaw(np.array([1000, 2000], dtype=np.int16))


@pytest.mark.parametrize(
    ("ulaw", "dbfs"),
    [
        pytest.param(b"", -96.0, id="nothing"),
        pytest.param(ULAW_SILENCE * 160, -96.0, id="silence"),
        pytest.param(b"\x7f" * 160, -96.0, id="the-other-silence"),
        pytest.param(b"\x00\x80" * 80, 20 * math.log10(32124 / 32768), id="as-loud-as-can-be"),
        pytest.param(b"\x80\xff" * 80, 20 * math.log10(32124 / 32768 / math.sqrt(2)), id="half"),
    ],
)
def test_levels_are_those_of_the_mean_power(ulaw: bytes, dbfs: float) -> None:
    assert level_dbfs(ulaw) == pytest.approx(dbfs)


@given(st.binary(max_size=2000))
def test_a_level_is_always_on_the_scale(ulaw: bytes) -> None:
    assert -96.0 <= level_dbfs(ulaw) <= 0.0


@given(st.lists(st.integers(-32768, 32767), max_size=200))
def test_companding_is_within_half_a_step(samples: list[int]) -> None:
    """A step is a sixteenth of its segment; before it, two bits are lost towards minus infinity."""
    pcm = np.array(samples, dtype=np.int16)
    heard = decode_ulaw(encode_ulaw(pcm)).astype(int)
    for sample, got in zip(samples, heard.tolist(), strict=True):
        within = 1 << max(2, (min(abs(sample), 32635) + 132).bit_length() - 5) + 3

        assert abs(got - max(-32635, min(32635, sample))) <= within
