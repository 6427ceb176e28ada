"""The rules for silence by themselves; whole calls are in `test_call_silence`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import (
    FRAME_BYTES,
    ULAW_SILENCE,
    KeyPressed,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    ToolFinished,
    ToolStarted,
)
from actors.policy.activity import Activity, ActivityFact
from actors.policy.silence import GOODBYE, GOODBYE_BEGINS_MS, NOISE_FACTOR, Silence, Step
from actors.policy.sound import Sound
from actors.wire.g711 import encode_ulaw

MAX_MS = 30_000.0
LIVE = SessionLive("sess_1")


def silence(*facts: ActivityFact) -> Silence:
    one = Silence(MAX_MS)
    one.note(LIVE, now_ms=0)
    for fact in facts:
        one.note(fact, now_ms=0)
    return one


BUSY: list[tuple[ActivityFact, ActivityFact]] = [
    (ResponseStarted("r"), ResponseFinished("r", "completed")),
    (PlayoutStarted("i", "r"), PlayoutIdle(by_mark=True)),
    (ToolStarted("t", "x"), ToolFinished("t", "x", "returned", "")),
    (StreamLeft(), StreamMoved("MZ2")),
    (SessionLost("1006"), SessionMoved("sess_2", "lost")),
]


@pytest.mark.parametrize(("begins", "ends"), BUSY)
def test_whoever_is_busy_is_not_silent_however_long_it_takes(
    begins: ActivityFact, ends: ActivityFact
) -> None:
    one = silence(begins)

    assert one.due_ms(None) is None
    one.note(ends, now_ms=70_000)
    assert one.due_ms(None) == 70_000 + MAX_MS


def test_whoever_spoke_into_a_session_that_was_lost_does_not_speak_for_ever() -> None:
    one = silence(SpeechStarted("i", 0), SessionLost("1006"), SessionMoved("sess_2", "lost"))

    assert one.due_ms(None) == MAX_MS


def test_before_there_is_a_session_nobody_is_silent() -> None:
    assert Silence(MAX_MS).due_ms(None) is None


def test_the_steps_are_to_ask_to_say_goodbye_and_to_end() -> None:
    one = silence()

    assert one.tick(None, now_ms=MAX_MS - 1) is None
    assert one.tick(None, now_ms=MAX_MS) is Step.ASK
    assert one.tick(None, now_ms=2 * MAX_MS) is Step.SAY_GOODBYE
    assert one.due_ms(None) == 2 * MAX_MS + GOODBYE_BEGINS_MS
    assert one.tick(None, now_ms=2 * MAX_MS + GOODBYE_BEGINS_MS) is Step.END


@pytest.mark.parametrize("purpose", [GOODBYE, "retry"])
def test_the_goodbye_is_told_by_its_purpose(purpose: str) -> None:
    """Or is the one that makes up for it."""
    one = silence()
    one.tick(None, now_ms=MAX_MS)
    one.tick(None, now_ms=2 * MAX_MS)

    assert one.note(ResponseStarted("r_0", "tools"), now_ms=2 * MAX_MS + 1) is None
    assert one.note(ResponseStarted("r_1", purpose), now_ms=2 * MAX_MS + 2) == "r_1"
    assert one.due_ms(None) is None


@pytest.mark.parametrize("fact", [SpeechStarted("i", 0), KeyPressed("1")])
def test_a_caller_who_does_something_is_there(fact: ActivityFact) -> None:
    one = silence()
    one.tick(None, now_ms=MAX_MS)
    one.note(fact, now_ms=MAX_MS + 5)
    one.note(SpeechStopped("i", 0), now_ms=MAX_MS + 10)

    assert one.due_ms(None) == 2 * MAX_MS + 10
    assert one.tick(None, now_ms=2 * MAX_MS + 10) is Step.ASK


def test_a_sound_puts_it_off_but_not_for_ever() -> None:
    one = silence()

    assert one.due_ms(10_000) == 10_000 + MAX_MS
    assert one.due_ms(10 * MAX_MS - 5) == NOISE_FACTOR * MAX_MS


def test_speech_without_an_end_is_bounded_too() -> None:
    assert silence(SpeechStarted("i", 0)).due_ms(None) == NOISE_FACTOR * MAX_MS


FACTS: list[ActivityFact] = [
    LIVE,
    SpeechStarted("i", 0),
    SpeechStopped("i", 0),
    KeyPressed("1"),
    ResponseStarted("g", GOODBYE),
    *(fact for pair in BUSY for fact in pair),
]


@given(st.lists(st.tuples(st.floats(0, 60_000), st.sampled_from(FACTS)), max_size=40))
def test_who_is_silent_is_let_go_in_bounded_time_whatever_happened_before(
    steps: list[tuple[float, ActivityFact]],
) -> None:
    one, now_ms = Silence(MAX_MS), 0.0
    for after_ms, fact in steps:
        now_ms += after_ms
        if one.tick(None, now_ms=now_ms) is Step.END:
            return
        one.note(fact, now_ms=now_ms)
    for fact in (LIVE, *(ends for _, ends in BUSY)):
        one.note(fact, now_ms=now_ms)
    began_ms, taken = now_ms, list[Step]()
    while (due_ms := one.due_ms(began_ms)) is not None:
        now_ms = max(now_ms, due_ms)
        step = one.tick(began_ms, now_ms=now_ms)
        assert step is not None
        taken.append(step)

    assert now_ms - began_ms <= MAX_MS * (NOISE_FACTOR + 1) + GOODBYE_BEGINS_MS + 1
    steps_left = [Step.ASK, Step.SAY_GOODBYE, Step.END]
    assert taken == steps_left[len(steps_left) - len(taken) :]


def noise(dbfs: float, frames: int) -> list[bytes]:
    turns = np.arange(frames * FRAME_BYTES) * 2 * np.pi * 440 / 8000
    samples = np.sqrt(2) * 32768 * 10 ** (dbfs / 20) * np.sin(turns)
    ulaw = encode_ulaw(samples.astype(np.int16))
    return [ulaw[at : at + FRAME_BYTES] for at in range(0, len(ulaw), FRAME_BYTES)]


@pytest.mark.parametrize(
    ("frames", "is_sound"),
    [
        (noise(-35, 10), True),
        (noise(-44, 10), True),
        (noise(-55, 50), False),
        ([ULAW_SILENCE * FRAME_BYTES] * 50, False),
        (noise(-20, 2), False),
        ([], False),
    ],
    ids=["a-voice", "hold-music", "comfort-noise", "mute", "a-click", "nothing"],
)
def test_a_sound_is_loud_enough_for_long_enough(frames: list[bytes], is_sound: bool) -> None:
    sound = Sound()
    for number, frame in enumerate(frames):
        sound.hears(frame, now_ms=20.0 * number)

    assert (sound.heard_ms is not None) is is_sound


def test_all_that_began_can_end() -> None:
    one = Activity()
    one.note(LIVE)
    for begins, ends in BUSY:
        one.note(begins)
        assert one.is_busy
        one.note(ends)
        assert one.is_nobodys


def test_whoever_speaks_before_the_goodbye_began_is_not_cut_off_by_it() -> None:
    one = silence()
    for step in (Step.ASK, Step.SAY_GOODBYE):
        due_ms = one.due_ms(None)
        assert due_ms is not None
        assert one.tick(None, now_ms=due_ms) is step
    one.note(SpeechStarted("i", 0), now_ms=2 * MAX_MS + 100)
    one.note(SpeechStopped("i", 0), now_ms=2 * MAX_MS + 900)

    assert one.due_ms(None) == 3 * MAX_MS + 900
    assert one.tick(None, now_ms=2 * MAX_MS + GOODBYE_BEGINS_MS) is None
