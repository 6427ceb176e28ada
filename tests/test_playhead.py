from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import FRAME_BYTES, ULAW_BYTES_PER_MS
from actors.policy.playhead import LAGS, ROUND_TRIP_GUESS_MS, ROUND_TRIPS, PlayHead

SECOND = 1_000 * ULAW_BYTES_PER_MS


def playing(*, sent_bytes: int = SECOND, from_ms: float = 100.0) -> PlayHead:
    head = PlayHead()
    head.probed(50.0)
    head.sends(sent_bytes, now_ms=from_ms)
    return head


def test_the_head_moves_eight_bytes_a_millisecond_and_stops_at_the_end() -> None:
    head = playing()

    assert [head.position(now_ms=ms) for ms in (0, 100, 101, 600, 1_100, 9_999)] == [
        *(0, 0, 8, 4_000),
        *(SECOND, SECOND),
    ]
    assert head.ends_ms() == 1_100


def test_audio_sent_while_more_is_playing_follows_on() -> None:
    head = playing()

    assert head.sends(SECOND, now_ms=200.0) == 1_100
    assert head.ends_ms() == 2_100


def test_audio_sent_into_silence_begins_at_once() -> None:
    head = playing()

    assert head.sends(SECOND, now_ms=5_000.0) == 5_000
    assert head.position(now_ms=5_500) == SECOND + SECOND // 2


def test_the_round_trip_is_guessed_until_it_is_known() -> None:
    head = PlayHead()
    assert head.round_trip_ms == ROUND_TRIP_GUESS_MS

    head.probed(40.0)
    assert head.round_trip_ms == 40


def test_one_delayed_probe_is_outvoted_and_old_ones_are_forgotten() -> None:
    head = PlayHead()
    for round_trip_ms in (40.0, 41.0, 900.0):
        head.probed(round_trip_ms)
    assert head.round_trip_ms == 41

    for _ in range(ROUND_TRIPS):
        head.probed(80.0)
    assert head.round_trip_ms == 80


def test_an_echo_tells_how_far_the_carrier_lags() -> None:
    """Position 1600 ought to have been played at 300, and the news takes 50."""
    head = playing()
    head.echoes(1_600, now_ms=300 + 50 + 60)

    assert head.lag_ms == 60
    assert head.position(now_ms=600) == 4_000 - 60 * ULAW_BYTES_PER_MS
    assert head.ends_ms() == 1_160


def test_what_an_echo_proves_was_played_whatever_the_lag_was_thought_to_be() -> None:
    """Three late echoes made the head lag; one in time shows that it does not."""
    head = playing()
    for _ in range(3):
        head.echoes(800, now_ms=200 + 50 + 300)
    assert head.position(now_ms=600) == 1_600

    head.echoes(3_200, now_ms=500 + 50)
    assert head.position(now_ms=600) == 3_200


def test_an_echo_that_comes_too_early_makes_nobody_a_prophet() -> None:
    head = playing()
    head.echoes(1_600, now_ms=101)

    assert head.lag_ms == 0
    assert head.position(now_ms=100) == 0


def test_one_delayed_echo_is_outvoted_and_old_ones_are_forgotten() -> None:
    head = playing()
    for lag_ms in (10, 11, 700):
        head.echoes(1_600, now_ms=350 + lag_ms)
    assert head.lag_ms == 11

    for _ in range(LAGS):
        head.echoes(3_200, now_ms=550 + 30)
    assert head.lag_ms == 30


def test_an_echo_from_before_the_present_run_teaches_nothing() -> None:
    head = playing()
    head.sends(SECOND, now_ms=9_000.0)
    head.echoes(SECOND, now_ms=9_010)

    assert head.lag_ms == 0


def test_after_a_clear_the_head_stands_where_sending_goes_on() -> None:
    head = playing()
    head.clears(now_ms=500)

    assert head.position(now_ms=500) == SECOND
    assert head.sends(FRAME_BYTES, now_ms=600.0) == 600
    assert head.position(now_ms=610) == SECOND + FRAME_BYTES // 2


def test_on_another_stream_the_head_starts_anew_with_its_best_guess() -> None:
    head = playing()
    head.probed(90.0)
    head.echoes(800, now_ms=100 + 100 + 70 + 30)
    guess_ms = head.round_trip_ms
    head.restarts(now_ms=2_000)

    assert head.lag_ms == 0
    assert head.round_trip_ms == guess_ms
    assert head.position(now_ms=2_000) == SECOND
    assert head.sends(FRAME_BYTES, now_ms=2_100.0) == 2_100
    # Whatever the old stream says still, it says of the old stream.
    head.echoes(SECOND, now_ms=2_105)
    assert head.lag_ms == 0
    head.probed(20.0)
    assert head.round_trip_ms == 20


STEPS = st.one_of(
    st.tuples(st.just("sends"), st.integers(1, 40)),
    st.tuples(st.just("echoes"), st.integers(0, 400)),
    st.tuples(st.just("probed"), st.integers(0, 500)),
    st.tuples(st.just("clears"), st.just(0)),
    st.tuples(st.just("restarts"), st.just(0)),
    st.tuples(st.just("waits"), st.integers(0, 700)),
)


@given(st.lists(STEPS, max_size=60))
def test_the_head_is_never_before_its_run_and_never_past_what_was_sent(
    steps: list[tuple[str, int]],
) -> None:
    head = PlayHead()
    now_ms = 0.0
    cleared = starts_ms = 0.0
    for step, value in steps:
        match step:
            case "sends":
                begins_ms = head.sends(value * FRAME_BYTES, now_ms=now_ms)
                assert begins_ms >= starts_ms  # Audio is played in the order it was sent.
                starts_ms = begins_ms
            case "echoes":
                head.echoes(value * FRAME_BYTES, now_ms=now_ms)
            case "probed":
                head.probed(value)
            case "clears":
                head.clears(now_ms=now_ms)
                cleared, starts_ms = head.sent_bytes, 0.0
            case "restarts":
                head.restarts(now_ms=now_ms)
                cleared, starts_ms = head.sent_bytes, 0.0
            case _:
                now_ms += value
        assert cleared <= head.position(now_ms=now_ms) <= head.sent_bytes
        assert head.position(now_ms=head.ends_ms() + 1) == head.sent_bytes
        assert head.lag_ms >= 0


@pytest.mark.parametrize("lag_ms", [0.0, 60.0])
@given(gaps_ms=st.lists(st.integers(0, 500), min_size=1, max_size=30))
def test_without_echoes_the_head_is_the_plainest_simulation(
    lag_ms: float, gaps_ms: list[int]
) -> None:
    """A buffer that plays what it has at eight bytes a millisecond, `lag_ms` late."""
    head = playing(sent_bytes=FRAME_BYTES, from_ms=0.0)
    head.echoes(1, now_ms=50 + lag_ms + 1 / ULAW_BYTES_PER_MS)
    now_ms = 0
    plays = [(0.0, FRAME_BYTES)]
    """When each piece begins to play, and its size."""
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        begun_ms, size = plays[-1]
        end_ms = begun_ms + size / ULAW_BYTES_PER_MS
        plays.append((end_ms if now_ms < end_ms + lag_ms else now_ms, 3 * FRAME_BYTES))
        head.sends(3 * FRAME_BYTES, now_ms=now_ms)
        for look_ms in range(now_ms, now_ms + 100, 7):
            played = sum(
                min(size, max(0.0, look_ms - lag_ms - begun_ms) * ULAW_BYTES_PER_MS)
                for begun_ms, size in plays
            )
            assert head.position(now_ms=look_ms) == pytest.approx(played, abs=8)
