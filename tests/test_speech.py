"""Speech is heard: shipped for the shipped lines, synthesised where possible, never silence."""

from __future__ import annotations

import shutil
import stat
import time
from pathlib import Path

import pytest

from actors.wire.g711 import level_dbfs
from gateway.lab.rehearsing import speech
from gateway.lab.rehearsing.speech import (
    MS_PER_CHARACTER,
    NOT_RENDERED,
    CannotSpeak,
    Voice,
    prepare,
    prompt_path,
    render,
    shipped_lines,
    speak,
)

LINES = sorted(shipped_lines())


@pytest.fixture
def no_synthesiser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without espeak-ng."""
    monkeypatch.setenv("PATH", str(tmp_path))
    speak.cache_clear()


@pytest.fixture
def broken_synthesiser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose espeak-ng fails."""
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    speak.cache_clear()


@pytest.mark.parametrize(("text", "voice"), LINES)
def test_every_shipped_line_is_shipped_as_audible_speech_of_plausible_length(
    text: str, voice: Voice
) -> None:
    """So that a machine without a synthesiser hears the call."""
    ulaw = prompt_path(text, voice).read_bytes()
    ms_per_character = len(ulaw) / 8 / len(text)

    assert -24 < level_dbfs(ulaw) < -18
    assert 35 < ms_per_character < 100
    assert len(ulaw) < 150_000


@pytest.mark.parametrize(("text", "voice"), LINES)
def test_a_shipped_line_begins_and_ends_at_once(text: str, voice: Voice) -> None:
    """Latency is measured to the first audio, so the audio must begin with the voice."""
    ulaw = prompt_path(text, voice).read_bytes()

    assert level_dbfs(ulaw[: 100 * 8]) > -60
    assert level_dbfs(ulaw[-100 * 8 :]) > -60


def test_no_prompt_is_shipped_that_no_line_needs() -> None:
    assert set(speech.PROMPTS.iterdir()) == {prompt_path(text, voice) for text, voice in LINES}


@pytest.mark.usefixtures("no_synthesiser")
def test_a_shipped_line_is_spoken_without_a_synthesiser() -> None:
    text, voice = LINES[0]

    assert speak(text, voice) == prompt_path(text, voice).read_bytes()


@pytest.mark.usefixtures("no_synthesiser")
@pytest.mark.parametrize("text", ["Never shipped.", "Never shipped, and rather longer. " * 9, "x"])
def test_any_other_line_is_a_spoken_excuse_of_its_length_without_a_synthesiser(text: str) -> None:
    ulaw = speak(text, "caller")

    assert len(ulaw) == len(text) * MS_PER_CHARACTER * 8
    assert ulaw[:400] == prompt_path(NOT_RENDERED, "caller").read_bytes()[:400]


@pytest.mark.usefixtures("broken_synthesiser")
def test_a_failing_synthesiser_is_as_good_as_none() -> None:
    assert len(speak("Never shipped.")) == len("Never shipped.") * MS_PER_CHARACTER * 8
    with pytest.raises(CannotSpeak, match="failed"):
        render("Never shipped.", "agent")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_a_new_line_is_synthesised_in_two_voices_at_the_level_of_the_shipped_ones() -> None:
    speak.cache_clear()
    agent, caller = (speak("Is it Tuesday or Wednesday?", voice) for voice in ("agent", "caller"))

    assert agent != caller
    assert -24 < level_dbfs(agent) < -18
    assert -24 < level_dbfs(caller) < -18
    assert 1000 < len(agent) / 8 < 3000


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
@pytest.mark.parametrize("text", ["", "   "])
def test_a_line_without_words_cannot_be_rendered(text: str) -> None:
    with pytest.raises(CannotSpeak):
        render(text, "agent")


@pytest.mark.usefixtures("no_synthesiser")
async def test_a_prepared_line_is_spoken_at_once() -> None:
    await prepare(["One.", "Two."], "agent")
    began = time.perf_counter()
    speak("One.", "agent")

    assert time.perf_counter() - began < 0.01
    assert speak.cache_info().hits >= 1
