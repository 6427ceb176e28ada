"""The audio formats of a session: nothing is lost, shifted, clicked or invented on the way."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import soxr  # type: ignore[import-untyped] # it has none.
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import ULAW_SILENCE
from actors.wire.g711 import decode_ulaw, encode_ulaw
from actors.wire.openai import (
    AudioDelta,
    AudioDone,
    ResponseDone,
    ResponseInfo,
    ServerEvent,
    TranscriptDelta,
)
from gateway.lab.openai.formats import encode
from gateway.session.transcode import (
    ALAW_TO_ULAW,
    MOST_ITEMS,
    QUALITY,
    ULAW_TO_ALAW,
    Resampled,
    Untouched,
    _alaw_sample,
    transcoder,
)

LAG_MS = 80
"""What may be held back at any time. Measured: 73."""
LINEAR_SNR_DB = 75.0
"""There and back, before it is companded. Measured: 81 and more, from 300 to 3400 Hz."""
COMPANDED_SNR_DB = 33.0
"""Of a tone in mu-law against the pure one: what G.711 itself leaves. Measured: 34 and more, which
is what the same tone has that never left 8 kHz."""

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


def tone(hz: float, rate: int, seconds: float, peak: float = 10000) -> Floats:
    return peak * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


def as_ulaw(samples: Floats) -> bytes:
    return encode_ulaw(np.round(samples).astype(np.int16))


def as_pcm(samples: Floats) -> bytes:
    return np.round(samples).astype("<i2").tobytes()


def snr_db(ideal: Floats, got: Floats, rate: int) -> float:
    """Of the best fitting multiple of `ideal` in `got`, without 150 ms at either end."""
    edge = rate * 150 // 1000
    ideal, got = ideal[edge:-edge], got[edge:-edge]
    fit = ideal * float(ideal @ got) / float(ideal @ ideal)
    return float(10 * np.log10((fit @ fit) / max(1e-9, float((got - fit) @ (got - fit)))))


def pieces(audio: bytes, random: Random, longest: int) -> Iterator[bytes]:
    at = 0
    while at < len(audio):
        size = random.randint(1, longest)
        yield audio[at : at + size]
        at += size


def up(one: Any, ulaw: bytes, sizes: Callable[[bytes], Iterator[bytes]]) -> bytes:  # noqa: ANN401 (a transcoder)
    """What the session gets when the caller's audio comes in these pieces."""
    sent = (one.to_session(b64encode(piece).decode()) for piece in sizes(ulaw))
    return b"".join(map(b64decode, sent))


def down(
    one: Any,  # noqa: ANN401 (a transcoder)
    audio: bytes,
    sizes: Callable[[bytes], Iterator[bytes]],
    item: str = "item_1",
) -> bytes:
    """What the call gets of an item that comes in these pieces."""
    events: list[ServerEvent] = []
    for piece in sizes(audio):
        events += one.to_call(AudioDelta("resp_1", item, piece))
    events += one.to_call(AudioDone("resp_1", item))
    assert events.pop() == AudioDone("resp_1", item)
    return heard(events)


def heard(events: list[ServerEvent]) -> bytes:
    assert all(isinstance(event, AudioDelta) for event in events)
    return b"".join(cast("AudioDelta", event).delta for event in events)


def frames(audio: bytes) -> Iterator[bytes]:
    return (audio[at : at + 160] for at in range(0, len(audio), 160))


def whole(audio: bytes) -> Iterator[bytes]:
    return iter([audio])


# Mu-law.


def test_mulaw_is_not_even_looked_at() -> None:
    one, event = transcoder("g711_ulaw"), AudioDelta("resp_1", "item_1", b"\x01\x02")

    assert isinstance(one, Untouched)
    assert one.to_session("anything at all") == "anything at all"
    assert one.to_call(event) == (event,)


# A-law.


def test_alaw_is_what_the_standard_says_at_its_corners() -> None:
    """Source: ITU-T G.711. Minus zero is silence like the other zero."""
    corners = {0xFF: 0xD5, 0x7F: 0xD5, 0x80: 0xAA, 0x00: 0x2A}

    assert {ulaw: ULAW_TO_ALAW[ulaw] for ulaw in corners} == corners
    bases = [_alaw_sample(code ^ 0x55) for code in range(0x80, 0x100, 16)]
    assert bases == [8, 264, 528, 1056, 2112, 4224, 8448, 16896]
    assert _alaw_sample(0xAA) == 32256


def test_every_alaw_code_is_the_nearest_to_its_mulaw_code() -> None:
    """Against a second opinion: the nearest of all levels, and not bits moved about."""
    nearest = encode("audio/pcma", bytes(range(256)))
    linear = decode_ulaw(bytes(range(256))).astype(int)

    for code in range(256):
        ours, theirs = _alaw_sample(ULAW_TO_ALAW[code]), _alaw_sample(nearest[code])
        assert abs(ours - linear[code]) == abs(theirs - linear[code]), code


def test_mulaw_to_alaw_and_back_changes_16_codes_by_one_step() -> None:
    back = [ALAW_TO_ULAW[ULAW_TO_ALAW[code]] for code in range(256)]
    # Minus zero is another name of zero, in a table of steps.
    changed = [code for code in range(256) if back[code] != code]

    assert len(changed) <= 16
    assert all(abs(code - back[code]) <= 1 for code in changed if code != 0x7F)


def test_alaw_goes_both_ways_byte_by_byte() -> None:
    one = transcoder("g711_alaw")
    ulaw = as_ulaw(tone(700, 8000, 0.5))
    alaw = up(one, ulaw, frames)

    assert len(alaw) == len(ulaw)
    assert snr_db(tone(700, 8000, 0.5), _linear(alaw), 8000) > COMPANDED_SNR_DB
    back = down(one, alaw, lambda audio: pieces(audio, Random(1), 999))
    assert back == ulaw.translate(ULAW_TO_ALAW).translate(ALAW_TO_ULAW)


def _linear(alaw: bytes) -> Floats:
    return np.array([_alaw_sample(code) for code in alaw], dtype=np.float64)


# 24 kHz.

SWEEP_HZ = [300, 500, 1000, 1700, 2400, 3000, 3200, 3400]


@pytest.mark.parametrize("hz", SWEEP_HZ)
def test_a_tone_survives_to_24_khz_and_back_in_any_pieces(hz: int) -> None:
    """In mu-law at both ends, the most that G.711 lets through."""
    random = Random(hz)
    ideal = tone(hz, 8000, 2.0)
    ulaw = as_ulaw(ideal)
    wide = up(Resampled(), ulaw, lambda audio: pieces(audio, random, 700))
    narrow = down(Resampled(), wide, lambda audio: pieces(audio, random, 5000))

    direct_db = snr_db(ideal, decode_ulaw(ulaw).astype(float), 8000)
    # The caller's audio never ends, so what is held back at its end stays there.
    got = decode_ulaw(narrow).astype(float)
    there_db = snr_db(ideal[: len(got)], got, 8000)
    assert there_db > COMPANDED_SNR_DB
    assert there_db > direct_db - 3.5  # Companded twice: twice the noise.


@pytest.mark.parametrize("hz", SWEEP_HZ)
def test_the_resampling_itself_is_far_below_what_g711_leaves(hz: int) -> None:
    """The same two resamplers with whole samples at both ends."""
    there = soxr.ResampleStream(8000, 24000, 1, dtype="float32", quality=QUALITY)
    back = soxr.ResampleStream(24000, 8000, 1, dtype="float32", quality=QUALITY)
    ideal = tone(hz, 8000, 2.0)
    wide = np.rint(there.resample_chunk(ideal.astype(np.float32), last=True))
    got = np.rint(back.resample_chunk(wide, last=True)).astype(np.float64)

    assert len(got) == len(ideal)
    assert snr_db(ideal, got, 8000) > LINEAR_SNR_DB
    # And as loud as it was, to a tenth of a decibel.
    loudness_db = 20 * np.log10(np.std(got[1200:-1200]) / np.std(ideal[1200:-1200]))
    assert abs(loudness_db) < 0.1


@pytest.mark.parametrize("hz", [4300, 5000, 6000, 7000, 9000])
def test_what_8_khz_cannot_carry_is_not_heard_as_something_else(hz: int) -> None:
    """Every third sample alone would be another tone, as loud as this one."""
    ulaw = down(Resampled(), as_pcm(tone(hz, 24000, 1.0)), whole)

    assert np.abs(decode_ulaw(ulaw)[800:-800]).max() <= 8


@given(st.data())
@settings(max_examples=30)
def test_pieces_make_no_difference(data: st.DataObject) -> None:
    """Not to one sample: a click at the border of two pieces would be one."""
    random = Random(data.draw(st.integers(0, 2**32)))
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, 3000, 3000)
    longest = data.draw(st.sampled_from([1, 7, 160, 500, 3000]), "longest piece")
    cut = lambda audio: pieces(audio, random, longest)  # noqa: E731 (its name is its use)

    assert down(Resampled(), as_pcm(noise), cut) == down(Resampled(), as_pcm(noise), whole)
    caller = as_ulaw(noise)
    in_pieces, at_once = up(Resampled(), caller, cut), up(Resampled(), caller, whole)
    # How much is held back may differ; what was handed out may not.
    both = min(len(in_pieces), len(at_once))
    assert in_pieces[:both] == at_once[:both]
    assert both >= 6 * (len(caller) - 8 * LAG_MS)


def test_positions_in_time_are_the_same_on_both_sides() -> None:
    """A click of the caller's is at the same millisecond in the session, and back again."""
    samples = np.zeros(8000)
    samples[4000] = 20000
    wide = np.frombuffer(up(Resampled(), as_ulaw(samples), frames), dtype="<i2")
    narrow = decode_ulaw(down(Resampled(), wide.tobytes(), whole))

    assert int(np.argmax(np.abs(wide))) == 12000
    assert int(np.argmax(np.abs(narrow))) == 4000


def test_an_hour_does_not_drift() -> None:
    """And never is more than a breath held back."""
    one, second = Resampled(), b64encode(as_ulaw(tone(440, 8000, 1.0))).decode()
    given_bytes = 0
    for number in range(3600):
        given_bytes += len(b64decode(one.to_session(second)))
        held_ms = (number + 1) * 1000 - given_bytes / 48
        assert 0 <= held_ms <= LAG_MS


def test_a_caller_frame_is_never_held_back_longer_than_the_lag() -> None:
    one, held = Resampled(), []
    given_bytes = 0
    for number in range(500):
        sent = one.to_session(b64encode(ULAW_SILENCE * 160).decode())
        given_bytes += len(b64decode(sent))
        held.append((number + 1) * 20 - given_bytes / 48)

    assert max(held) <= LAG_MS
    assert held[0] == 20  # The first frames give nothing at all, and that is no error.


def test_silence_stays_silence_both_ways() -> None:
    """No dither: a session that hears a hiss hears a caller breathing."""
    wide = up(Resampled(), ULAW_SILENCE * 8000, frames)

    assert set(wide) == {0}
    assert set(down(Resampled(), wide, whole)) == set(ULAW_SILENCE)


def test_what_is_too_loud_is_cut_off_and_does_not_wrap_round() -> None:
    """A square wave at full scale rings beyond it between its samples."""
    square = np.where(tone(400, 24000, 0.5) > 0, 32767.0, -32768.0)
    narrow = decode_ulaw(down(Resampled(), as_pcm(square), whole)).astype(float)
    filtered = soxr.resample(square.astype(np.float32), 24000, 8000, quality=QUALITY)

    assert np.abs(filtered).max() > 32768
    assert np.abs(narrow - np.clip(filtered, -32124, 32124)).max() < 1100  # A step of mu-law.


@given(st.lists(st.integers(0, 700), max_size=20), st.booleans())
def test_no_item_is_longer_here_than_at_the_server(sizes: list[int], ends: bool) -> None:
    """A truncate in ms goes to the end of what we have, and the server refuses one byte more."""
    one, sent, given_bytes = Resampled(), 0, 0
    for size in sizes:
        sent += size
        given_bytes += len(heard(list(one.to_call(AudioDelta("resp_1", "item_1", bytes(size))))))
        assert given_bytes <= sent // 6
    event: ServerEvent = AudioDone("resp_1", "item_1")
    if not ends:
        event = ResponseDone(ResponseInfo("resp_1"))
    *tail, last = one.to_call(event)

    assert last == event
    assert given_bytes + len(heard(tail)) == sent // 2 // 3


def test_items_of_one_response_are_told_apart_and_end_with_it() -> None:
    """The next item begins afresh; one that was cut off is flushed before its response is done."""
    one = Resampled()
    first = as_pcm(tone(500, 24000, 0.3))
    alone = down(Resampled(), first, whole)
    begun = one.to_call(AudioDelta("resp_1", "item_1", first))
    other = one.to_call(AudioDelta("resp_2", "item_2", first))
    text = TranscriptDelta("item_1", "words")
    assert one.to_call(text) == (text,)

    *tail, done = one.to_call(ResponseDone(ResponseInfo("resp_1")))
    assert heard([*begun, *tail]) == alone
    assert {event.item_id for event in [*begun, *tail] if isinstance(event, AudioDelta)} == {
        "item_1"
    }
    assert done == ResponseDone(ResponseInfo("resp_1"))
    assert one.to_call(ResponseDone(ResponseInfo("resp_1"))) == (done,)
    *tail, _ = one.to_call(AudioDone("resp_2", "item_2"))
    assert heard([*other, *tail]) == alone
    assert down(one, first, whole) == alone


def test_items_without_end_are_not_kept_without_end() -> None:
    one = Resampled()
    for number in range(MOST_ITEMS * 2):
        one.to_call(AudioDelta("resp_1", f"item_{number}", bytes(600)))

    assert len(one._items) == MOST_ITEMS


def test_the_rehearsal_models_pcm_comes_back_as_what_it_said() -> None:
    said = as_ulaw(tone(1000, 8000, 1.0, peak=8000))
    got = down(Resampled(), encode("audio/pcm", said), lambda audio: pieces(audio, Random(3), 9999))

    assert len(got) == len(said)
    ideal = tone(1000, 8000, 1.0)
    assert snr_db(ideal, decode_ulaw(got).astype(float), 8000) > COMPANDED_SNR_DB
