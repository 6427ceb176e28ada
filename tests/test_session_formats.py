"""Whole calls whose session speaks something else than the phone, and sessions that change.

All of it in virtual time against the rehearsal model, which speaks these formats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import trio

from actors.exits import CallerHungUp
from actors.messages import (
    ChangeSession,
    CommitAudio,
    CreateResponse,
    SpeechStarted,
    SpeechStopped,
)
from actors.wire.g711 import decode_ulaw, encode_ulaw
from actors.wire.openai_session import SemanticVad
from gateway.configuration.agents import AgentSettings, AudioFormat
from gateway.lab.openai.formats import BYTES_PER_MS, Ear
from gateway.lab.rehearsing.scenario import parse
from gateway.lab.replaying.replay import replay
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.twilio.line_facts import Cut
from gateway.lab.world import World
from gateway.records.flight import MemoryFlight
from tests.worlds import at, play

FORMATS: list[AudioFormat] = ["g711_ulaw", "g711_alaw", "pcm16"]
WIRE = {"g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma", "pcm16": "audio/pcm"}

INTERRUPTED = """
model:
  answers:
    - items: [{say: "A long greeting that nobody is going to hear to its very end, not today."}]
    - items: [{say: "Sorry. What is it?"}]
caller:
  - {wait: agent_speaking, after_ms: 1500, say: "Stop it."}
  - {wait: agent_quiet, hang_up: true}
"""
TALK = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "First of two items."}, {say: "And this is the second of them."}]
    - items: [{say: "Goodbye."}]
caller:
  - {wait: agent_quiet, say: "Tell me more."}
  - {wait: agent_quiet, say: "Thank you."}
  - {wait: agent_quiet, hang_up: true}
"""

Samples = npt.NDArray[np.int16]


def chirp(text: str) -> bytes:
    """Sixty milliseconds per character of a tone that rises from 400 Hz to 3 kHz.

    Unlike a steady tone it is itself in one place only.
    """
    seconds = 0.06 * len(text)
    t = np.arange(int(8000 * seconds) + 3) / 8000
    phase = 2 * np.pi * (400 * t + (3000 - 400) / (2 * seconds) * t * t)
    return encode_ulaw(np.round(8000 * np.sin(phase)).astype(np.int16))


def world(yaml: str, **settings: Any) -> World:  # noqa: ANN401 - whatever an agent has.
    return World(parse(f"name: test\n{yaml}"), chirp, agent=AgentSettings(**settings))


def likeness(said: bytes, got: bytes) -> float:
    """1.0: the same samples at the same places, however loud."""
    ours, theirs = decode_ulaw(said).astype(float), decode_ulaw(got).astype(float)
    assert len(ours) == len(theirs)
    return float(ours @ theirs / np.sqrt((ours @ ours) * (theirs @ theirs)))


def events(one: World, kind: str) -> list[dict[str, Any]]:
    """What the model was sent of one kind."""
    return [event for event in one.model.received if event["type"] == kind]


@pytest.mark.parametrize("audio", FORMATS)
async def test_the_caller_hears_what_the_model_said(
    audio: AudioFormat, autojump_clock: trio.abc.Clock
) -> None:
    """All of it, each item in one piece, to the sample in its place."""
    one = world(TALK, audio=audio)
    why = await play(one)

    assert why == CallerHungUp()
    lines = ["Hello there.", "First of two items.", "And this is the second of them.", "Goodbye."]
    assert [said.text for said in one.record.transcript if said.who == "agent"] == lines
    heard = b"".join(piece.ulaw for piece in one.line.heard())
    at_byte = 0
    for line in lines:
        said = chirp(line)
        got = heard[at_byte : at_byte + len(said)]
        assert likeness(said, got) > 0.995, line
        at_byte += -(-len(said) // 160) * 160  # The last frame of an item is filled up.
    assert (one.model.errors, one.model.violations) == ([], [])


@pytest.mark.parametrize("audio", FORMATS)
async def test_the_model_hears_what_the_caller_said(
    audio: AudioFormat, autojump_clock: trio.abc.Clock
) -> None:
    one = world(TALK, audio=audio)
    await play(one)

    (first, second) = [
        entry for entry in one.model.conversation._entries if entry.item.get("role") == "user"
    ]
    for entry, line in ((first, "Tell me more."), (second, "Thank you.")):
        said = decode_ulaw(chirp(line)).astype(float)
        # The turn may begin with any of three samples at 24 kHz.
        turns = [Ear().hear(WIRE[audio], entry.audio[2 * first :]) for first in range(3)]
        found = [place_of(said, turn.astype(float)) for turn in turns]
        alike, at_ms = max(found)
        # The rehearsal model's ear averages three samples, and is a little deaf to high tones.
        assert alike > 0.97, line
        assert 200 <= at_ms <= 360  # About the padding: what is kept of silence is kept whole.


def place_of(said: npt.NDArray[np.float64], heard: npt.NDArray[np.float64]) -> tuple[float, float]:
    """How much alike it is where it is most alike, and after how many ms that is."""
    best = int(np.argmax(np.correlate(heard, said)))
    there = heard[best : best + len(said)]
    return float(there @ said / np.sqrt((there @ there) * (said @ said))), best / 8


async def test_turns_are_at_the_same_place_in_every_format(autojump_clock: trio.abc.Clock) -> None:
    """What a resampler holds back is late, and not elsewhere: positions need no correction."""
    heard: dict[str, list[int]] = {}
    for audio in FORMATS:
        places: list[int] = []

        def note(_: int, fact: object, places: list[int] = places) -> None:
            match fact:
                case SpeechStarted(_, audio_start_ms):
                    places.append(audio_start_ms)
                case SpeechStopped(_, audio_end_ms):
                    places.append(audio_end_ms)
                case _:
                    pass

        one = world(INTERRUPTED, audio=audio)
        one.observer = note
        await play(one)
        heard[audio] = places

    assert len(heard["g711_ulaw"]) == 2
    for audio in FORMATS:
        assert heard[audio] == pytest.approx(heard["g711_ulaw"], abs=20), audio


@pytest.mark.parametrize("audio", FORMATS)
async def test_a_barge_in_is_exact_in_every_format(
    audio: AudioFormat, autojump_clock: trio.abc.Clock
) -> None:
    one = world(INTERRUPTED, audio=audio)
    await play(one)

    (truncate,) = events(one, "conversation.item.truncate")
    (cut,) = [fact for fact in one.line.facts if isinstance(fact, Cut)]
    before_cut = [heard for heard in one.line.heard() if heard.at_ms < cut.at_ms]
    heard_ms = sum(len(heard.ulaw) // 8 for heard in before_cut)
    assert abs(truncate["audio_end_ms"] - heard_ms) <= 20
    assert (one.model.truncates, one.model.overlong_truncates) == (1, 0)
    assert (one.model.errors, one.model.violations) == ([], [])


@pytest.mark.parametrize("audio", FORMATS)
async def test_an_item_that_was_heard_whole_is_as_long_as_the_model_sent_it(
    audio: AudioFormat, autojump_clock: trio.abc.Clock
) -> None:
    """Cut at the last moment, it is truncated to no more than there is at the server."""
    for after_ms in (4200, 4280, 4300, 4320):
        one = world(INTERRUPTED.replace("1500", str(after_ms)), audio=audio)
        await play(one)

        assert one.model.overlong_truncates == 0
        assert one.model.errors == []


@pytest.mark.parametrize("audio", FORMATS)
async def test_a_change_in_the_middle_of_a_call_resets_nothing(
    audio: AudioFormat, autojump_clock: trio.abc.Clock
) -> None:
    """Formats and voice stay, and the conversation goes on: with speech on the line, even."""
    one = world(TALK, audio=audio, voice="cedar", noise_reduction="near_field", speed=1.1)

    async def change(one: World) -> None:
        await one.session.send(ChangeSession("You sell flowers.", "fr"))

    async def say_it_again(one: World) -> None:
        await one.session.send(ChangeSession("You sell bread."))

    before = one.session.settings
    why = await play(one, at(1.0, change), at(3.0, say_it_again))

    session = one.model.session
    assert why == CallerHungUp()
    assert session["instructions"] == "You sell bread."
    assert session["audio"]["input"]["transcription"]["language"] == "fr"
    assert session["audio"]["output"]["voice"] == before.voice == "cedar"
    assert session["audio"]["output"]["speed"] == 1.1
    assert session["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert {session["audio"][way]["format"]["type"] for way in ("input", "output")} == {WIRE[audio]}
    assert (one.model.errors, one.model.violations) == ([], [])
    words = [said.text for said in one.record.transcript]
    assert words[-3:] == ["And this is the second of them.", "Thank you.", "Goodbye."]
    assert one.session.settings.instructions == "You sell bread."
    assert one.session.settings.language == "fr"


async def test_without_turn_detection_the_model_waits_for_commit_and_order(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        'model: {answers: [{items: [{say: "Yes."}]}]}\n'
        'caller: [{wait_ms: 500, say: "Are you there?"}, {wait: call_end}]',
        turn_detection="none",
    )
    one.greet = False
    answered: list[int] = []

    async def finish_the_turn(one: World) -> None:
        answered.append(one.model.sent["response.created"])
        await one.session.send(CommitAudio())
        await one.session.send(CreateResponse("turn"))

    async def leave(one: World) -> None:
        await one.phone_end.aclose()

    await play(one, at(5.0, finish_the_turn), at(10.0, leave))

    assert answered == [0]
    assert one.model.sent["input_audio_buffer.speech_started"] == 0
    assert one.model.sent["response.created"] == 1
    assert one.model.errors == []
    assert one.line.heard_ms() >= len(chirp("Yes.")) // 8


async def test_pcm_reaches_the_model_whole_and_in_time(autojump_clock: trio.abc.Clock) -> None:
    """Six bytes for each of the caller's, less what is held back at the end."""
    one = world(TALK, audio="pcm16")
    await play(one)

    # Of the first frame on: the call begins before it, and hears of its end later.
    sent_ms = one.model.audio_bytes / BYTES_PER_MS["audio/pcm"]
    assert one.record.duration_ms - 200 <= sent_ms <= one.record.duration_ms


@pytest.mark.parametrize("audio", FORMATS)
@pytest.mark.parametrize("with_audio", [False, True])
def test_a_call_in_any_format_is_decided_the_same_way_again(
    audio: AudioFormat, with_audio: bool
) -> None:
    """Its flight log has the session's settings, and its audio as the session sent it."""
    flight = MemoryFlight(with_audio)

    async def main() -> None:
        one = world(INTERRUPTED, audio=audio, turn_detection="semantic_vad")
        one.flight = one.session.flight = flight
        await play(one)

    run_seeded(main, seed=1)
    log = flight.read()
    played = replay(log)

    assert log.header.session.audio == audio
    assert log.header.session.turn_detection == SemanticVad()
    assert played.differences == ()
    assert not played.went_on


async def test_a_caller_who_says_nothing_is_asked_by_the_session_itself(
    autojump_clock: trio.abc.Clock,
) -> None:
    """With `idle_timeout_ms`: an answer that nobody ordered is an answer like any other."""
    one = world(
        'model: {answers: [{items: [{say: "Hello."}]}, {items: [{say: "Are you there?"}]}]}\n'
        "caller: [{wait: agent_quiet}, {wait: agent_speaking}, {wait: agent_quiet, hang_up: true}]",
        idle_timeout_ms=5000,
    )
    await play(one)

    words = [said.text for said in one.record.transcript if said.who == "agent"]
    assert words == ["Hello.", "Are you there?"]
    assert one.model.sent["input_audio_buffer.timeout_triggered"] == 1
    assert one.model.errors == []
