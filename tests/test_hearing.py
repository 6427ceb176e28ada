"""What was heard is found again in audio: whole lines, cut ones, and none that were not said."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

from actors.messages import ULAW_SILENCE
from actors.wire.g711 import decode_ulaw, encode_ulaw, level_dbfs
from gateway.lab.rehearsing.hearing import recognise
from gateway.lab.twilio.noise import SHORTEST_MS, VOICE_DBFS, babble
from gateway.lab.twilio.playout_buffer import Heard

TEXTS = ("Good morning, who is calling?", "Good evening.", "No.", "We are open until six today.")
LINES = {text: babble(text) for text in TEXTS}


def by_way_of_24_khz(ulaw: bytes) -> bytes:
    """As a session with linear samples hears and says it."""
    pcm = decode_ulaw(ulaw).astype(np.float32) / 32768
    there = soxr.resample(pcm, 8000, 24000)
    back = soxr.resample(there, 24000, 8000)
    return encode_ulaw(np.round(np.clip(back * 32768, -32768, 32767)).astype(np.int16))


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_is_recognised_in_whole_and_no_other_is(text: str) -> None:
    (line,) = recognise([Heard(500, 0, LINES[text])], LINES)

    assert (line.at_ms, line.text, line.words) == (500, text, text)
    assert line.heard_ms == line.lasts_ms == max(SHORTEST_MS, 60 * len(text))


def test_lines_are_told_in_the_order_in_which_they_were_heard() -> None:
    said = [TEXTS[3], TEXTS[0], TEXTS[2], TEXTS[0]]
    audio = (ULAW_SILENCE * 1000).join(LINES[text] for text in said)

    lines = recognise([Heard(0, 0, audio[:9000]), Heard(3000, 9000, audio[9000:])], LINES)

    assert [line.text for line in lines] == said
    assert all(one.at_ms < other.at_ms for one, other in pairwise(lines))


@pytest.mark.parametrize("heard_ms", range(400, 1600, 130))
def test_a_cut_line_is_told_as_far_as_it_was_heard(heard_ms: int) -> None:
    cut = LINES[TEXTS[3]][: heard_ms * 8]

    line, other = recognise([Heard(0, 0, cut), Heard(9000, len(cut), LINES[TEXTS[1]])], LINES)

    assert heard_ms - 40 <= line.heard_ms <= heard_ms + 40
    assert TEXTS[3].startswith(line.words)
    assert len(line.words) * 60 <= heard_ms + 60
    assert other.words == TEXTS[1]


def test_a_line_is_recognised_through_a_resampler() -> None:
    audio = by_way_of_24_khz(b"".join([LINES[TEXTS[0]], LINES[TEXTS[3]][:7000], LINES[TEXTS[1]]]))

    words = [line.words for line in recognise([Heard(0, 0, audio)], LINES)]

    assert words == [TEXTS[0], "We are open", TEXTS[1]]


@pytest.mark.parametrize("audio", [b"", ULAW_SILENCE * 16000, babble("Something else entirely.")])
def test_nothing_is_heard_where_nothing_was_said(audio: bytes) -> None:
    assert recognise([Heard(0, 0, audio)], LINES) == ()


def test_a_voice_is_as_loud_as_a_voice_and_two_speakers_are_two() -> None:
    ulaw = babble("Two households, both alike in dignity.")

    assert abs(level_dbfs(ulaw) - VOICE_DBFS) < 1
    assert recognise([Heard(0, 0, babble(TEXTS[0], "caller"))], LINES) == ()
