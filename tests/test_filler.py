"""The line that is said without a model: who renders it, what is kept, and what is left.

Rules: the model is the rehearsal's, over a real socket; espeak-ng is a program of the test's own,
but in the one test that has the real one, where it is installed.
"""

from __future__ import annotations

import shutil
import stat
import struct
from pathlib import Path

import attrs
import numpy as np
import pytest
import trio

from actors.wire.g711 import decode_ulaw
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import CallSettings, Config, OpenAISettings, Secret
from gateway.lab.openai.model_server import ModelServer
from gateway.phone_call import Outside
from gateway.session.filler import LONGEST_BYTES, Lines, name_of, say_by_espeak, say_by_model, tone
from gateway.session.realtime import Connect, connect_to
from tests.model_servers import rehearsal_model

WORDS = "One moment, please."
AGENT = AgentSettings(filler=WORDS)
SAYS = f'model: {{answers: [{{items: [{{say: "{WORDS}"}}]}}]}}'
FAILS = "model: {answers: [{fail: {code: server_error}}]}"

REFUSES = "model: {faults: [{at: connect, do: refuse, http_status: 401}]}"
BREAKS = (
    'model: {answers: [{items: [{say: "Never said."}]}], faults: [{at: {at_ms: 60}, do: close}]}'
)


def voice(text: str) -> bytes:
    """Sixty milliseconds per character, each character its own level."""
    return b"".join(bytes([0x80 + ord(letter) % 0x50]) * 480 for letter in text)


def reach(model: ModelServer) -> Connect:
    settings = OpenAISettings(api_key=Secret("sk-test"), realtime_url=model.url)
    return connect_to(settings, AGENT.model)


def program(folder: Path, script: str) -> str:
    """A program that is run in place of espeak-ng."""
    path = folder / "espeak-ng"
    path.write_text(f"#!/bin/sh\ncat > {folder}/words\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def wav(samples: np.ndarray, rate_hz: int = 22_050) -> bytes:
    """As it comes through a pipe: with lengths that mean nothing."""
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16),
        *(b"data", 0xFFFFFFFF),
    )
    return header + samples.astype("<i2").tobytes()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_line_is_said_by_a_session_of_the_agents_own_model() -> None:
    async with rehearsal_model(SAYS, voice) as model:
        assert await say_by_model(AGENT, WORDS, reach(model)) == voice(WORDS)


@pytest.mark.parametrize("yaml", [FAILS, REFUSES, BREAKS])
async def test_a_line_that_was_not_said_to_its_end_is_none(yaml: str) -> None:
    async with rehearsal_model(yaml, voice) as model:
        assert await say_by_model(AGENT, WORDS, reach(model)) is None


async def test_what_is_longer_than_a_sentence_is_not_the_line() -> None:
    def drawl(text: str) -> bytes:
        return voice(text) * (1 + LONGEST_BYTES // len(voice(text)))

    async with rehearsal_model(SAYS, drawl) as model:
        assert await say_by_model(AGENT, WORDS, reach(model)) is None


async def test_a_line_is_rendered_once_and_then_read_from_disk(tmp_path: Path) -> None:
    async with rehearsal_model(SAYS, voice) as model:
        first = Lines(tmp_path / "lines", espeak=None)
        assert first.of(AGENT) is None
        await first.prepare(AGENT, reach(model))
        await first.prepare(AGENT, reach(model))
        again = Lines(tmp_path / "lines", espeak=None)
        await again.prepare(AGENT, reach(model))

        assert model.connections == 1
    assert first.of(AGENT) == again.of(AGENT) == voice(WORDS)
    (kept,) = files(tmp_path / "lines")
    assert kept.name == f"{name_of(AGENT)}.ulaw"
    assert kept.read_bytes() == voice(WORDS)


async def test_two_calls_at_once_render_their_line_once(tmp_path: Path) -> None:
    async with rehearsal_model(SAYS, voice) as model:
        lines = Lines(tmp_path, espeak=None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines.prepare, AGENT, reach(model))
            nursery.start_soon(lines.prepare, AGENT, reach(model))

        assert model.connections == 1


async def test_a_line_that_could_not_be_rendered_is_tried_again_by_the_next_call(
    tmp_path: Path,
) -> None:
    lines = Lines(tmp_path, espeak=None)
    async with rehearsal_model(FAILS, voice) as model:
        await lines.prepare(AGENT, reach(model))
    assert lines.of(AGENT) is None
    assert files(tmp_path) == []
    async with rehearsal_model(SAYS, voice) as model:
        await lines.prepare(AGENT, reach(model))
    assert lines.of(AGENT) == voice(WORDS)


async def test_a_disk_that_will_not_have_the_line_does_not_cost_it(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("a file")
    lines = Lines(tmp_path / "lines", espeak=None)
    async with rehearsal_model(SAYS, voice) as model:
        await lines.prepare(AGENT, reach(model))

    assert lines.of(AGENT) == voice(WORDS)


async def test_an_agent_without_a_line_has_none_and_asks_nobody(tmp_path: Path) -> None:
    silent = attrs.evolve(AGENT, filler=None)
    async with rehearsal_model(SAYS, voice) as model:
        lines = Lines(tmp_path)
        await lines.prepare(silent, reach(model))

        assert model.connections == 0
    assert lines.of(silent) is None


async def test_without_a_model_espeak_says_the_line_and_it_is_not_kept(tmp_path: Path) -> None:
    samples = 8000 * np.sin(np.arange(22_050) * 2 * np.pi * 440 / 22_050)
    (tmp_path / "sound.wav").write_bytes(wav(samples))
    lines = Lines(tmp_path / "lines", program(tmp_path, f"cat {tmp_path}/sound.wav"))
    async with rehearsal_model(REFUSES, voice) as model:
        await lines.prepare(AGENT, reach(model))

    said = lines.of(AGENT)
    assert said is not None
    assert len(said) == pytest.approx(8_000, abs=8)
    assert np.abs(decode_ulaw(said)).max() == pytest.approx(4_000, rel=0.1)
    assert (tmp_path / "words").read_text() == WORDS
    assert not (tmp_path / "lines").exists()


@pytest.mark.parametrize("script", ["exit 1", "echo no sound", "kill -9 $$"])
async def test_an_espeak_that_fails_says_nothing(tmp_path: Path, script: str) -> None:
    assert await say_by_espeak(WORDS, program(tmp_path, script)) is None


async def test_an_espeak_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert await say_by_espeak(WORDS, str(tmp_path / "espeak-ng")) is None


async def test_an_espeak_that_hangs_is_ended_with_whoever_waits_for_it(tmp_path: Path) -> None:
    with trio.move_on_after(0.3) as patience:
        await say_by_espeak(WORDS, program(tmp_path, "exec sleep 60"))

    assert patience.cancelled_caught


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="it is not installed")
async def test_the_real_espeak_says_a_sentence_that_is_heard() -> None:
    said = await say_by_espeak(WORDS, shutil.which("espeak-ng") or "")

    assert said is not None
    assert 4_000 < len(said) < 24_000
    assert np.abs(decode_ulaw(said)).max() > 1_000


def test_the_tones_are_short_soft_and_begin_and_end_in_silence() -> None:
    samples = decode_ulaw(tone()).astype(np.int32)

    assert len(samples) == 3_200
    assert 1_000 < np.abs(samples).max() < 2_100
    assert np.abs(samples[[0, -1]]).max() < 50
    assert np.abs(np.diff(samples)).max() < 1_100


def test_whatever_a_line_sounds_like_is_in_the_name_of_its_file() -> None:
    others = [
        attrs.evolve(AGENT, filler="Just a second."),
        attrs.evolve(AGENT, voice="cedar"),
        attrs.evolve(AGENT, speed=1.2),
        attrs.evolve(AGENT, model="gpt-realtime-mini"),
    ]

    assert len({name_of(agent) for agent in (AGENT, *others)}) == 5
    assert name_of(attrs.evolve(AGENT, instructions="Be brief.")) == name_of(AGENT)


@pytest.mark.parametrize(("url", "renders"), [("ws://127.0.0.1:1", False), ("wss://a.b", True)])
def test_only_a_model_beyond_this_machine_is_asked_to_say_the_line(
    url: str, renders: bool, tmp_path: Path
) -> None:
    config = Config(
        openai=OpenAISettings(api_key=Secret("sk-test"), realtime_url=url),
        calls=CallSettings(directory=tmp_path),
    )

    assert (Outside.of(config).prepare is not None) is renders
