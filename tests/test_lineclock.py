from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import FRAME_BYTES, FRAME_MS, ULAW_BYTES_PER_MS, ULAW_SILENCE, CallerAudio
from actors.policy.lineclock import FILL_MAX_MS, SHIFTS, WINDOW_MS, LineClock

SOUND = b"\x17" * FRAME_BYTES


def frame(line_ms: int, ulaw: bytes = SOUND) -> CallerAudio:
    return CallerAudio(base64.b64encode(ulaw).decode(), ulaw, line_ms)


def silence(ms: int) -> bytes:
    return ULAW_SILENCE * (ms * ULAW_BYTES_PER_MS)


def test_frames_that_follow_on_need_nothing_between_them() -> None:
    line = LineClock()

    assert [line.sends(frame(at_ms)) for at_ms in (5_000, 5_020, 5_040)] == [b"", b"", b""]
    assert (line.filled_ms, line.skipped_ms, line.late_frames) == (0, 0, 0)


@pytest.mark.parametrize(
    ("hole_ms", "filled_ms", "skipped_ms"),
    [
        (1, 1, 0),
        (FRAME_MS, FRAME_MS, 0),
        (FILL_MAX_MS - 1, FILL_MAX_MS - 1, 0),
        (FILL_MAX_MS, FILL_MAX_MS, 0),
        (FILL_MAX_MS + 1, FILL_MAX_MS, 1),
        (3_600_000, FILL_MAX_MS, 3_600_000 - FILL_MAX_MS),
    ],
)
def test_a_hole_is_filled_as_far_as_a_turn_needs_it(
    hole_ms: int, filled_ms: int, skipped_ms: int
) -> None:
    line = LineClock()
    line.sends(frame(0))

    assert line.sends(frame(FRAME_MS + hole_ms)) == silence(filled_ms)
    assert (line.filled_ms, line.skipped_ms) == (filled_ms, skipped_ms)


@pytest.mark.parametrize("late_ms", [FRAME_MS, FRAME_MS + 1, 1_000])
def test_a_frame_of_what_was_already_sent_is_left_out(late_ms: int) -> None:
    line = LineClock()
    line.sends(frame(1_000))

    assert line.sends(frame(1_020 - late_ms)) is None
    assert line.late_frames == 1
    assert line.sends(frame(1_020)) == b""


def test_a_line_whose_clock_starts_anew_is_followed() -> None:
    """Or its caller would not be heard again in this call."""
    line = LineClock()
    for at_ms in (60_000, 60_020):
        line.arrived(frame(at_ms), now_ms=at_ms - 60_000 + FRAME_MS)
        line.sends(frame(at_ms))
    line.arrived(frame(0), now_ms=40 + FRAME_MS)

    assert line.sends(frame(0)) == b""
    assert line.sends(frame(20)) == b""
    assert (line.restarts, line.late_frames, line.filled_ms) == (1, 0, 0)
    assert line.call_ms(40) == 40


def test_the_line_began_when_the_latest_frames_say() -> None:
    """Two clocks drift apart: a frame that was fast long ago proves nothing about now."""
    line = LineClock()
    line.arrived(frame(0), now_ms=FRAME_MS)
    for number in range(1, 4):
        at_ms = number * (WINDOW_MS + 1)
        line.arrived(frame(at_ms), now_ms=at_ms + FRAME_MS + 30)

    assert line.call_ms(0) == 30


def test_a_frame_that_overlaps_by_less_than_its_length_is_sent() -> None:
    """Timestamps are rounded; a syllable is not to be lost to that."""
    line = LineClock()
    line.sends(frame(1_000))

    assert line.sends(frame(1_001)) == b""
    assert line.late_frames == 0


def test_a_position_comes_back_to_where_it_was_on_the_call() -> None:
    """The line began at 60 000 on its own clock, and 100 ms into the call."""
    line = LineClock()
    for at_ms in range(60_000, 60_100, FRAME_MS):
        line.arrived(frame(at_ms), now_ms=at_ms - 60_000 + 120)
        line.sends(frame(at_ms))

    assert [line.call_ms(ms) for ms in (0, 40, 99)] == [100, 140, 199]


def test_positions_on_both_sides_of_a_long_hole_come_back_right() -> None:
    line = LineClock()
    line.arrived(frame(0), now_ms=FRAME_MS)
    for at_ms in (0, 20, 10_000, 10_020):
        line.sends(frame(at_ms))
    session_ms = 40 + FILL_MAX_MS  # Where the sound after the hole lies for the session.

    assert line.call_ms(39) == 39
    assert line.call_ms(session_ms) == 10_000
    assert line.call_ms(session_ms + 30) == 10_030


def test_before_there_is_any_audio_positions_stay_as_they_are() -> None:
    assert LineClock().call_ms(1_234) == 1_234


def test_the_fastest_frame_tells_when_the_line_began() -> None:
    """Jitter only ever delays."""
    line = LineClock()

    assert line.arrived(frame(0), now_ms=150) == 130
    assert line.arrived(frame(20), now_ms=140) == 120
    assert line.arrived(frame(40), now_ms=260) == 140


def test_nothing_was_heard_before_the_call_began() -> None:
    """The stream may be older than the call."""
    line = LineClock()

    assert line.arrived(frame(0), now_ms=0) == 0


@pytest.mark.parametrize(("holes", "known"), [(SHIFTS - 1, True), (SHIFTS, False)])
def test_the_latest_holes_are_remembered(holes: int, known: bool) -> None:
    line = LineClock()
    line.arrived(frame(0), now_ms=FRAME_MS)
    line.sends(frame(0))
    for number in range(1, holes + 1):
        line.sends(frame(number * 10_000))
    newest_ms = holes * (FRAME_MS + FILL_MAX_MS)

    assert (line.call_ms(0) == 0) == known
    assert line.call_ms(newest_ms) == holes * 10_000


@given(
    first_ms=st.integers(0, 10**6),
    steps=st.lists(
        st.sampled_from([FRAME_MS] * 6 + [0, 1, -40, 40, 41, 1_000, FILL_MAX_MS + FRAME_MS, 9_000]),
        max_size=60,
    ),
)
def test_the_session_hears_a_line_without_holes(first_ms: int, steps: list[int]) -> None:
    """Every sample that is sent stands where the clocks say; what is left out is counted."""
    line = LineClock()
    at_ms = first_ms
    line.arrived(frame(at_ms), now_ms=FRAME_MS)
    sent = bytearray()
    late = 0
    where: list[tuple[int, int]] = []
    for step in [0, *steps]:
        at_ms = max(0, at_ms + step)
        before = line.sends(frame(at_ms))
        if before is None:
            late += 1
            continue
        assert set(before) <= set(ULAW_SILENCE)
        assert len(before) <= FILL_MAX_MS * ULAW_BYTES_PER_MS
        sent += before
        where.append((len(sent) // ULAW_BYTES_PER_MS, at_ms))
        sent += SOUND

    assert line.late_frames == late
    assert len(sent) == len(where) * FRAME_BYTES + line.filled_ms * ULAW_BYTES_PER_MS
    for session_ms, line_ms in where:
        assert line.call_ms(session_ms) == line_ms - first_ms
