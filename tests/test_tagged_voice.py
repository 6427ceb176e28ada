from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import FRAME_BYTES, ULAW_BYTES_PER_MS, ULAW_SILENCE
from actors.wire.g711 import decode_ulaw
from gateway.lab.judges.tagged_voice import CALLS, Silence, Tagged, TaggedVoice, Unreadable, read

WORDS = "Good morning."
LASTS_MS = 787


def test_every_millisecond_of_a_line_says_whose_it_is() -> None:
    voice = TaggedVoice(call=7, side="agent")
    voice("An earlier line.")

    audio = voice(WORDS)

    assert read(audio) == [Tagged(0, 7, "agent", 1, 0, LASTS_MS)]
    assert voice.lines == ["An earlier line.", WORDS]


@given(
    call=st.integers(0, 3 * CALLS),
    begin=st.integers(0, LASTS_MS - 1),
    length=st.integers(1, LASTS_MS),
    gap=st.integers(1, 50),
)
def test_any_part_of_a_line_is_known_again_behind_silence(
    call: int, begin: int, length: int, gap: int
) -> None:
    audio = TaggedVoice(call=call, side="caller")(WORDS)
    end = min(LASTS_MS, begin + length)
    part = audio[begin * ULAW_BYTES_PER_MS : end * ULAW_BYTES_PER_MS]

    runs = read(ULAW_SILENCE * (gap * ULAW_BYTES_PER_MS) + part)

    assert runs == [Silence(0, gap), Tagged(gap, call % CALLS, "caller", 0, begin, end)]


def test_a_hole_in_a_line_parts_two_runs() -> None:
    audio = TaggedVoice(call=0, side="agent")(WORDS)

    runs = read(audio[:800] + audio[1600:2400])

    assert runs == [Tagged(0, 0, "agent", 0, 0, 100), Tagged(100, 0, "agent", 0, 200, 300)]


@given(where=st.integers(0, 799), bit=st.sampled_from([0x01, 0x08, 0x40, 0x80]))
def test_a_changed_bit_is_noticed(where: int, bit: int) -> None:
    audio = bytearray(TaggedVoice(call=3, side="agent")(WORDS)[:800])
    audio[where] ^= bit

    spoilt = [run for run in read(bytes(audio)) if isinstance(run, Unreadable)]

    assert spoilt == [Unreadable(where // ULAW_BYTES_PER_MS, 1)]


def test_a_line_is_loud_all_through_and_no_whole_number_of_frames() -> None:
    audio = TaggedVoice(call=CALLS - 1, side="caller")(WORDS)

    frames = decode_ulaw(audio)[: len(audio) // 160 * 160].reshape(-1, 160).astype(np.float64)
    rms = np.sqrt(np.mean(np.square(frames), axis=1))
    assert rms.min() > 32768 * 10 ** (-30 / 20)
    assert len(audio) % FRAME_BYTES != 0


def test_less_than_a_millisecond_says_nothing() -> None:
    assert read(b"") == []
    assert read(b"\x80" * 7) == []
