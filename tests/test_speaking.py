"""The gateway's own voice says exactly its words, or nothing.

Rules: the model is the rehearsal's, over a real socket; what it says instead of its words is
decided by a script of the test's own, and espeak-ng is a program of the test's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.errors import Unspoken
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import OpenAISettings, Secret
from gateway.lab.openai.model_server import ModelServer
from gateway.session.filler import Rendering
from gateway.session.realtime import Connect, connect_to
from gateway.session.speaking import WORDS_MAX, Voices, are_said_by
from tests.model_servers import rehearsal_model
from tests.test_filler import program, voice, wav

AGENT = AgentSettings(language="de")
WORDS = "I am about to book a table for four. To confirm, press 1 or say yes."
SILENT = 'model: {answers: [{items: [{say: "Never said."}]}]}'
FAILS = "model: {answers: [{fail: {code: server_error}}]}"


def reach(model: ModelServer) -> Connect:
    settings = OpenAISettings(api_key=Secret("sk-test"), realtime_url=model.url)
    return connect_to(settings, AGENT.model)


async def test_the_words_are_said_by_a_session_of_their_own_and_use_up_no_answer() -> None:
    async with rehearsal_model(SILENT, voice) as model:
        speaker = Voices(espeak=None).of(AGENT, reach(model))

        assert await speaker.speech(WORDS) == voice(WORDS)
        assert await speaker.speech("Another line.") == voice("Another line.")
        assert model.connections == 2
        assert [session.violations for session in model.sessions] == [[], []]


async def test_what_was_said_lately_is_there_at_once_and_memory_is_bounded() -> None:
    async with rehearsal_model(SILENT, voice) as model:
        voices = Voices(espeak=None, kept_max_bytes=len(voice("One.")) * 2)
        speaker = voices.of(AGENT, reach(model))
        for words in ("One.", "Two.", "One.", "Six.", "One."):
            await speaker.speech(words)
        assert model.connections == 3

        await speaker.speech("Two.")
        assert model.connections == 4


async def test_a_voice_is_not_lent_to_another_agent() -> None:
    async with rehearsal_model(SILENT, voice) as model:
        voices = Voices(espeak=None)
        await voices.of(AGENT, reach(model)).speech("One.")
        await voices.of(AgentSettings(voice="cedar"), reach(model)).speech("One.")

        assert model.connections == 2


async def test_where_the_model_cannot_espeak_speaks_in_the_agents_language(tmp_path: Path) -> None:

    (tmp_path / "sound").write_bytes(wav(np.zeros(22_050)))
    espeak = program(tmp_path, f'echo "$@" > {tmp_path}/how; cat {tmp_path}/sound')
    async with rehearsal_model(FAILS, voice) as model:
        ulaw = await Voices(espeak).of(AGENT, reach(model)).speech(WORDS)

    assert len(ulaw) == 8_000
    assert (tmp_path / "words").read_text() == WORDS
    assert (tmp_path / "how").read_text().startswith("-v de ")


async def test_where_nobody_says_the_words_they_are_unspoken() -> None:
    async with rehearsal_model(FAILS, voice) as model:
        with pytest.raises(Unspoken, match="nobody said"):
            await Voices(espeak=None).of(AGENT, reach(model)).speech(WORDS)


@pytest.mark.parametrize("words", ["", " \n", "...!", "a" * (WORDS_MAX + 1)])
async def test_what_is_no_sentence_is_unspoken_and_no_session_is_asked(words: str) -> None:
    async with rehearsal_model(SILENT, voice) as model:
        with pytest.raises(Unspoken):
            await Voices(espeak=None).of(AGENT, reach(model)).speech(words)

        assert model.connections == 0


def test_words_are_the_same_whatever_their_case_and_punctuation() -> None:
    said = Rendering(b"", "i am about to book a table for four - to confirm press 1, or say YES")

    assert are_said_by(said, WORDS)


@pytest.mark.parametrize(
    "said",
    [
        "I am about to book a table for five. To confirm, press 1 or say yes.",
        "I am about to book a table for four.",
        "Sure! I am about to book a table for four. To confirm, press 1 or say yes.",
        "I am about to book a table for four. To confirm, press 2 or say yes.",
        "",
    ],
)
def test_other_words_are_not_the_same(said: str) -> None:
    assert not are_said_by(Rendering(b"", said), WORDS)
