"""Phone menus and scripted callers: what is done when, over one stream and over the next."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from actors.messages import FRAME_BYTES, ULAW_SILENCE
from actors.wire.g711 import encode_ulaw
from gateway.lab.rehearsing.spoken import Spoken
from gateway.lab.twilio.far_end import Noise, Room, Step
from gateway.lab.twilio.key_ear import HIGH_HZ, KEYPAD, LOW_HZ, KeyEar
from gateway.lab.twilio.noise import babble, noise_of
from gateway.lab.twilio.phone_menu import REACTS_MS, PhoneMenu
from gateway.lab.twilio.playout_buffer import PlayoutBuffer
from gateway.lab.twilio.scripted_caller import FarEnd, ScriptedCaller

MAIN = Room(
    "main", say="Press one.", keys={"1": "desk", "2": "empty"}, repeat_after_ms=2000, repeats=1
)
DESK = Room("desk", hold_ms=5000, then=(Step(say="Hello?"), Step(wait="call_end")))
EMPTY = Room("empty")


def acts(far_end: FarEnd, *, lasts_ms: int = 1000, until_ms: float = 20_000) -> list[object]:
    """Everything that is done by itself, in order, with when."""
    done: list[object] = []
    while (due_ms := far_end.due_ms()) is not None and due_ms <= until_ms:
        step = far_end.take_step()
        what = step.say or step.noise or ("hangs up" if step.hang_up else None)
        if what is not None:
            done.append((due_ms, what))
        if step.hang_up:
            break
        far_end.begin_step(due_ms + (lasts_ms if what is not None else 0))
    return done


def a_menu() -> PhoneMenu:
    menu = PhoneMenu((MAIN, DESK, EMPTY))
    menu.connect(PlayoutBuffer(), 0)
    return menu


def test_a_prompt_is_repeated_and_then_the_menu_hangs_up() -> None:
    assert acts(a_menu()) == [(0, "Press one."), (3000, "Press one."), (6000, "hangs up")]


def test_a_key_leads_on_through_hold_music_to_a_person() -> None:
    menu = a_menu()
    acts(menu, until_ms=500)
    menu.heard_key("1")
    menu.connect(PlayoutBuffer(), 0)

    assert acts(menu) == [(REACTS_MS, Noise(5000)), (REACTS_MS + 1000, "Hello?")]
    assert menu.steps_left == 0


def test_another_key_is_refused_and_the_prompt_comes_again() -> None:
    menu = a_menu()
    acts(menu, until_ms=500)
    menu.heard_key("7")
    menu.connect(PlayoutBuffer(), 0)

    first, second, *_ = acts(menu)
    assert first == (REACTS_MS, "That is not a valid option.")
    assert second == (REACTS_MS + 1000, "Press one.")


def test_in_a_room_without_a_word_nothing_happens() -> None:
    menu = a_menu()
    acts(menu, until_ms=500)
    menu.heard_key("2")
    menu.connect(PlayoutBuffer(), 0)

    assert acts(menu) == []


def test_a_menu_whose_person_was_not_reached_has_steps_left() -> None:
    assert a_menu().steps_left == 2


def tones(key: str, ms: int, dbfs: float = -10.0) -> bytes:
    low = next(n for n, row in enumerate(KEYPAD) if key in row)
    at_s = np.arange(ms * 8) / 8000
    both = (LOW_HZ[low], HIGH_HZ[KEYPAD[low].index(key)])
    sound = sum(np.sin(2 * np.pi * hz * at_s) for hz in both)
    return encode_ulaw(np.round(sound * 32767 / 2 * 10 ** (dbfs / 20)).astype(np.int16))


@pytest.mark.parametrize("key", "".join(KEYPAD))
@pytest.mark.parametrize("chunk", [160, 333, 4000])
def test_a_key_is_heard_once_by_its_tones(key: str, chunk: int) -> None:
    ear = KeyEar()
    audio = b"".join([ULAW_SILENCE * 800, tones(key, 100), ULAW_SILENCE * 800] * 2)

    pieces = [audio[at : at + chunk] for at in range(0, len(audio), chunk)]
    assert "".join(ear.hear(piece) for piece in pieces) == key * 2


def test_speech_noise_and_half_a_key_are_no_keys() -> None:
    ear = KeyEar()
    words = b"".join(babble(f"{number} is a number, and so is {number + 1}") for number in range(9))

    assert ear.hear(words + noise_of(Noise(5000, -20))) == ""
    assert ear.hear(tones("5", 20) + ULAW_SILENCE * FRAME_BYTES) == ""
    assert ear.hear(tones("5", 200, -45.0)) == ""


def test_a_menu_obeys_tones_once_they_were_played() -> None:
    menu = a_menu()
    acts(menu, until_ms=500)
    menu.hears(tones("1", 100), 1800)

    assert acts(menu)[0] == (1800 + REACTS_MS, Noise(5000))


def test_a_caller_waits_for_the_key_that_it_is_waiting_for() -> None:
    caller = ScriptedCaller(deque([Step(wait="key", key="5", say="Five."), Step(hang_up=True)]))
    caller.connect(PlayoutBuffer(), 0)
    caller.heard_key("4")
    assert caller.due_ms() is None

    caller.heard_key("5")
    caller.connect(PlayoutBuffer(), 700)

    assert acts(caller) == [(700, "Five."), (1700, "hangs up")]


def test_steps_go_on_where_they_were_on_the_next_stream() -> None:
    caller = ScriptedCaller(deque([Step(say="One."), Step(wait_ms=500, say="Two.")]))
    caller.connect(PlayoutBuffer(), 0)
    assert caller.take_step().say == "One."
    caller.connect(PlayoutBuffer(), 0)

    assert acts(caller) == [(500, "Two.")]


def test_what_was_said_without_a_pause_is_one_turn() -> None:
    spoken = Spoken()
    spoken.says("That is wrong.")
    spoken.says("Press one.")
    assert len(spoken) == 1
    assert spoken[0] == "That is wrong. Press one."

    assert spoken[1] == ""
    spoken.says("Hello?")
    assert (spoken[0], spoken[2]) == ("That is wrong. Press one.", "Hello?")
