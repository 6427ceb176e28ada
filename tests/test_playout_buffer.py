from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.twilio.playout_buffer import Echo, PlayoutBuffer

SECOND = bytes(8000)


def names(echoes: list[Echo]) -> list[str]:
    return [echo.name for echo in echoes]


def test_audio_plays_at_eight_bytes_a_millisecond_from_its_arrival() -> None:
    buffer = PlayoutBuffer()
    buffer.play(SECOND, 100.0)

    assert buffer.played_bytes(100.0) == 0
    assert buffer.played_bytes(350.0) == 250 * 8
    assert buffer.queued_bytes(350.0) == 750 * 8
    assert buffer.played_bytes(1099.875) == 7999
    assert buffer.empty_at_ms() == 1100.0
    assert buffer.is_empty(1100.0)


def test_audio_that_arrives_in_time_follows_on_without_a_gap() -> None:
    buffer = PlayoutBuffer()
    buffer.play(SECOND, 0)
    buffer.play(SECOND, 1000)

    assert [(heard.at_ms, len(heard.ulaw)) for heard in buffer.heard(1500)] == [(0, 12000)]


def test_audio_that_arrives_late_leaves_a_gap() -> None:
    buffer = PlayoutBuffer()
    buffer.play(b"a" * 80, 0)
    buffer.play(b"b" * 80, 15)

    first, second = buffer.heard(100)
    assert (first.at_ms, first.end_ms, first.position) == (0, 10, 0)
    assert (second.at_ms, second.end_ms, second.position) == (15, 25, 80)


def test_a_mark_comes_back_when_what_was_before_it_has_been_played() -> None:
    buffer = PlayoutBuffer()
    buffer.play(SECOND, 0)
    buffer.mark("one", 3)
    buffer.play(SECOND, 5)
    buffer.mark("two", 5)

    assert buffer.next_echo_ms() == 1000
    assert buffer.advance(999.9) == []
    assert buffer.advance(1000) == [Echo("one", 1000, flushed=False)]
    assert buffer.next_echo_ms() == 2000
    assert buffer.advance(5000) == [Echo("two", 2000, flushed=False)]
    assert buffer.next_echo_ms() is None


def test_a_mark_comes_back_at_once_when_nothing_is_queued() -> None:
    buffer = PlayoutBuffer()
    buffer.mark("at rest", 7)

    assert buffer.next_echo_ms() == 7
    assert buffer.advance(7) == [Echo("at rest", 7, flushed=False)]


def test_clear_brings_every_pending_mark_back_at_once_and_in_order() -> None:
    buffer = PlayoutBuffer()
    for number in range(4):
        buffer.play(SECOND, 0)
        buffer.mark(f"m{number}", 0)

    assert buffer.clear(1500) == 2500 * 8
    echoes = buffer.advance(1500)
    assert names(echoes) == ["m0", "m1", "m2", "m3"]
    assert [echo.flushed for echo in echoes] == [False, True, True, True]
    assert [echo.at_ms for echo in echoes] == [1000, 1500, 1500, 1500]
    assert buffer.played_bytes(9000) == 1500 * 8


def test_audio_after_a_clear_plays_from_its_own_arrival() -> None:
    buffer = PlayoutBuffer()
    buffer.play(b"a" * 8000, 0)
    buffer.clear(100)
    buffer.play(b"b" * 8000, 300)

    first, second = buffer.heard(400)
    assert (first.at_ms, first.ulaw) == (0, b"a" * 800)
    assert (second.at_ms, second.position, second.ulaw) == (300, 8000, b"b" * 800)


def test_clear_of_audio_that_had_no_time_to_play_leaves_nothing_heard() -> None:
    buffer = PlayoutBuffer()
    buffer.play(SECOND, 50)
    buffer.clear(50)

    assert buffer.heard(1000) == ()
    assert buffer.cleared_bytes == 8000


def test_played_between_counts_an_item_by_its_place_in_what_was_received() -> None:
    buffer = PlayoutBuffer()
    first = buffer.play(SECOND, 0)
    second = buffer.play(SECOND, 0)
    buffer.clear(1250)
    third = buffer.play(SECOND, 2000)

    assert buffer.played_between(first, second, 2100) == 8000
    assert buffer.played_between(second, third, 2100) == 2000
    assert buffer.played_between(third, third + 8000, 2100) == 800


def test_time_does_not_run_backwards() -> None:
    buffer = PlayoutBuffer()
    buffer.play(SECOND, 0)
    buffer.advance(500)

    assert buffer.played_bytes(100) == 4000


operation = st.one_of(
    st.tuples(st.just("play"), st.integers(0, 4000)),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.just("advance"), st.just(0)),
)
pause_ms = st.one_of(st.integers(0, 600).map(float), st.floats(0, 600, allow_nan=False))


@settings(deadline=None)
@given(st.lists(st.tuples(pause_ms, operation), max_size=60), st.floats(0, 1e8))
def test_no_byte_is_lost_and_every_mark_comes_back_once_and_in_order(
    steps: list[tuple[float, tuple[str, int]]], now_ms: float
) -> None:
    buffer = PlayoutBuffer()
    queued: list[str] = []
    echoes: list[Echo] = []
    for pause, (what, size) in steps:
        now_ms += pause
        if what == "play":
            buffer.play(bytes(size), now_ms)
        elif what == "mark":
            queued.append(f"m{len(queued)}")
            buffer.mark(queued[-1], now_ms)
        elif what == "clear":
            buffer.clear(now_ms)
        else:
            due_ms = buffer.next_echo_ms()
            collected = buffer.advance(now_ms)
            assert bool(collected) == (due_ms is not None and due_ms <= now_ms + 1e-3)
            echoes += collected
        played = buffer.played_bytes(now_ms)
        assert played + buffer.cleared_bytes + buffer.queued_bytes(now_ms) == buffer.received_bytes
        assert played == sum(len(heard.ulaw) for heard in buffer.heard(now_ms))
        assert played == buffer.played_between(0, buffer.received_bytes, now_ms)
    echoes += buffer.advance(now_ms + 1e6)

    assert names(echoes) == queued
    assert [echo.at_ms for echo in echoes] == sorted(echo.at_ms for echo in echoes)
    assert buffer.is_empty(now_ms + 1e6)


@settings(deadline=None)
@given(st.integers(1, 100_000), st.floats(0, 1e8))
def test_a_mark_is_due_when_its_time_says_so(size: int, now_ms: float) -> None:
    """Whoever sleeps until `next_echo_ms` must not find that it was a rounding error early."""
    buffer = PlayoutBuffer()
    buffer.play(bytes(size), now_ms)
    buffer.mark("m", now_ms)
    due_ms = buffer.next_echo_ms()
    assert due_ms is not None

    assert names(buffer.advance(due_ms)) == ["m"]
    assert due_ms - now_ms == pytest.approx(size / 8, abs=1e-3)
