"""Every setting of an agent's reaches the session, in the official client's shape, and no other."""

from __future__ import annotations

from typing import Any

import attrs
import openai.types.realtime as sdk
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from actors.messages import ChangeSession
from actors.toolbox import Toolbox
from actors.wire.openai_session import (
    SemanticVad,
    ServerVad,
    SessionSettings,
    changed,
    encode_change,
    encode_update,
)
from gateway.configuration.agents import AgentSettings
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.session_rules import TRANSCRIBERS, VOICES
from gateway.session.session_settings import Listening, listening, session_settings, suited_to
from tests.model_client import hum, script

Json = dict[str, Any]

UPDATE: TypeAdapter[Any] = TypeAdapter(sdk.SessionUpdateEventParam)
WIRE_FORMATS = {
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "pcm16": {"type": "audio/pcm", "rate": 24000},
}
TAKE_KEYWORDS = ("gpt-transcribe", "gpt-live-transcribe")
REASONING_MODELS = ("gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2")
OTHER_MODELS = ("gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-mini", "gpt-realtime-2025-08-28")


def book(day: str) -> str:
    """Book a table."""
    return day


def toolbox() -> Toolbox:
    box = Toolbox()
    box.add(book)
    return box


def possible(agent: AgentSettings) -> AgentSettings:
    """The same without what depends on a model that it does not have: no configuration has it."""
    if agent.transcription not in TAKE_KEYWORDS:
        agent = attrs.evolve(agent, keywords=())
    if agent.model in OTHER_MODELS:
        agent = attrs.evolve(agent, reasoning_effort=None, parallel_tool_calls=None)
    return agent


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
maybe = st.booleans()
agents: st.SearchStrategy[AgentSettings] = st.builds(
    AgentSettings,
    model=st.sampled_from(REASONING_MODELS + OTHER_MODELS),
    voice=st.sampled_from(VOICES) | st.just("voice_4711"),
    speed=st.floats(0.25, 1.5),
    instructions=words,
    language=st.none() | st.sampled_from(["de", "en", "fr"]),
    transcription=st.sampled_from([*TRANSCRIBERS, "off"]),
    keywords=st.lists(words, max_size=3).map(tuple),
    turn_detection=st.sampled_from(["server_vad", "semantic_vad", "none"]),
    threshold=st.floats(0, 1),
    prefix_padding_ms=st.integers(0, 2000),
    silence_duration_ms=st.integers(0, 5000),
    idle_timeout_ms=st.none() | st.integers(5000, 30000),
    eagerness=st.sampled_from(["low", "medium", "high", "auto"]),
    create_response=maybe,
    interrupt_response=maybe,
    noise_reduction=st.sampled_from(["near_field", "far_field", "off"]),
    max_output_tokens=st.just("inf") | st.integers(1, 4096),
    reasoning_effort=st.none() | st.sampled_from(["minimal", "low", "medium", "high", "xhigh"]),
    tool_choice=st.sampled_from(["auto", "none", "required", "book", "hangup"]),
    parallel_tool_calls=st.none() | maybe,
    temperature=st.none() | st.floats(0.6, 1.2),
    audio=st.sampled_from(["g711_ulaw", "g711_alaw", "pcm16"]),
).map(possible)


def update_of(agent: AgentSettings) -> Json:
    event: Json = orjson.loads(encode_update(session_settings(agent, toolbox())))
    return event


def told(event: Json, model: str) -> RehearsalModel:
    """A model that was sent this."""
    one = RehearsalModel(script(), hum, model=model)
    one.connect(0)
    one.receive(orjson.dumps(event), 0)
    return one


def is_of_the_official_clients_shape(event: Json) -> bool:
    """Every key of it, down to the last, is one of the client's types; so is every value.

    Two nulls are documented ("can be set to null to turn off") and missing from those types.
    """
    copy: Json = orjson.loads(orjson.dumps(event))
    heard = copy["session"].get("audio", {}).get("input", {})
    for key in ("transcription", "noise_reduction"):
        if heard.get(key, "") is None:
            del heard[key]
    return bool(UPDATE.dump_python(UPDATE.validate_python(copy)) == copy)


def turn_detection(agent: AgentSettings) -> Json | None:
    both = {
        "create_response": agent.create_response,
        "interrupt_response": agent.interrupt_response,
    }
    match agent.turn_detection:
        case "none":
            return None
        case "semantic_vad":
            return {"type": "semantic_vad", "eagerness": agent.eagerness, **both}
        case "server_vad":
            return {
                "type": "server_vad",
                "threshold": agent.threshold,
                "prefix_padding_ms": agent.prefix_padding_ms,
                "silence_duration_ms": agent.silence_duration_ms,
                "idle_timeout_ms": agent.idle_timeout_ms,
                **both,
            }


def expected(agent: AgentSettings) -> Json:
    """The session that this agent asks for, written down once more and without the tools."""
    transcription: Json | None = None
    if agent.transcription != "off":
        transcription = {"model": agent.transcription}
        if agent.language:
            transcription["language"] = agent.language
        if agent.keywords:
            transcription["keywords"] = list(agent.keywords)
    choice: Any = agent.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "name": choice}
    noise = agent.noise_reduction
    custom = agent.voice.startswith("voice_")
    session: Json = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": agent.instructions,
        "audio": {
            "input": {
                "format": WIRE_FORMATS[agent.audio],
                "noise_reduction": None if noise == "off" else {"type": noise},
                "transcription": transcription,
                "turn_detection": turn_detection(agent),
            },
            "output": {
                "format": WIRE_FORMATS[agent.audio],
                "voice": {"id": agent.voice} if custom else agent.voice,
                "speed": agent.speed,
            },
        },
        "tool_choice": choice,
        "max_output_tokens": agent.max_output_tokens,
    }
    if agent.reasoning_effort is not None:
        session["reasoning"] = {"effort": agent.reasoning_effort}
    if agent.parallel_tool_calls is not None:
        session["parallel_tool_calls"] = agent.parallel_tool_calls
    return session


@given(agents)
def test_every_setting_is_in_the_update_that_the_model_received_and_nothing_else(
    agent: AgentSettings,
) -> None:
    model = told(update_of(agent), agent.model)
    (received,) = model.received
    session = dict(received["session"])
    tools = session.pop("tools")

    assert session == expected(agent)
    assert [tool["name"] for tool in tools] == ["book", "hangup"]
    assert (model.errors, model.violations) == ([], [])
    assert is_of_the_official_clients_shape(received)


@given(agents)
def test_every_setting_is_in_force_once_the_model_took_it(agent: AgentSettings) -> None:
    event = update_of(agent)
    effective = told(event, agent.model).session

    for key, value in event["session"].items():
        if key != "audio":
            assert effective[key] == value
    assert effective["audio"] == event["session"]["audio"]


def test_a_key_that_the_official_client_does_not_know_would_be_noticed() -> None:
    """At any depth: the test above would be worth nothing otherwise."""
    event = update_of(AgentSettings())
    assert is_of_the_official_clients_shape(event)

    for path in ((), ("audio",), ("audio", "input", "format"), ("audio", "output")):
        spoilt = orjson.loads(orjson.dumps(event))
        inner = spoilt["session"]
        for key in path:
            inner = inner[key]
        inner["temperature"] = 0.8
        assert not is_of_the_official_clients_shape(spoilt), path


@given(agents, st.none() | words, st.none() | st.sampled_from(["de", "en"]))
def test_a_change_says_what_changes_and_resets_nothing(
    agent: AgentSettings, instructions: str | None, language: str | None
) -> None:
    settings = session_settings(agent, toolbox())
    order = ChangeSession(instructions, language)
    after = changed(settings, order)
    event: Json = orjson.loads(encode_change(after, order))
    model = told(orjson.loads(encode_update(settings)), agent.model)
    model.receive(orjson.dumps(event), 0)

    assert (model.errors, model.violations) == ([], [])
    assert is_of_the_official_clients_shape(event)
    # A session that begins with the new settings is what this one has become.
    begun = told(orjson.loads(encode_update(after)), agent.model)
    assert without_its_own(model.session) == without_its_own(begun.session)


def without_its_own(session: Json) -> Json:
    """The part of a session that two of them may have in common."""
    return {key: value for key, value in session.items() if key not in ("id", "expires_at")}


def test_new_instructions_travel_alone() -> None:
    settings = SessionSettings("Be kind.", language="de")
    order = ChangeSession("Be brief.")
    event = orjson.loads(encode_change(changed(settings, order), order))

    assert event["session"] == {"type": "realtime", "instructions": "Be brief."}


def test_a_new_language_travels_with_both_formats_and_without_the_voice() -> None:
    settings = SessionSettings("Be kind.", keywords=("Acme",), audio="g711_alaw")
    order = ChangeSession(language="fr")
    event = orjson.loads(encode_change(changed(settings, order), order))

    assert event["session"] == {
        "type": "realtime",
        "audio": {
            "input": {
                "format": {"type": "audio/pcma"},
                "transcription": {
                    "model": "gpt-transcribe",
                    "language": "fr",
                    "keywords": ["Acme"],
                },
            },
            "output": {"format": {"type": "audio/pcma"}},
        },
    }


@pytest.mark.parametrize("model", OTHER_MODELS)
@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (AgentSettings(reasoning_effort="low"), "session.reasoning"),
        (AgentSettings(parallel_tool_calls=True), "session.parallel_tool_calls"),
    ],
    ids=["effort", "parallel"],
)
def test_what_takes_a_model_that_reasons_is_refused_by_others(
    model: str, asked: AgentSettings, param: str
) -> None:
    """And can be left out of the settings for one of them, and for no other."""
    settings = session_settings(asked, toolbox())
    refusal = told(orjson.loads(encode_update(settings)), model)
    suited = told(orjson.loads(encode_update(suited_to(settings, model))), model)

    assert refusal.errors == ["invalid_value"]
    assert [orjson.loads(frame.text)["error"]["param"] for frame in errors(refusal)] == [param]
    assert suited.errors == []
    for reasons in REASONING_MODELS:
        assert suited_to(settings, reasons) == settings


def test_a_model_of_another_name_is_sent_what_was_written_for_it() -> None:
    """A deployment is called as its owner likes, and what it takes is not known."""
    settings = session_settings(
        AgentSettings(reasoning_effort="low", parallel_tool_calls=False), toolbox()
    )

    assert suited_to(settings, "front-desk") == settings


def errors(model: RehearsalModel) -> list[Any]:
    """Its frames that are errors."""
    return [frame for frame in model.take() if '"type":"error"' in getattr(frame, "text", "")]


@pytest.mark.parametrize("scribe", [name for name in TRANSCRIBERS if name not in TAKE_KEYWORDS])
def test_keywords_are_refused_by_recognisers_that_take_none(scribe: str) -> None:
    agent = AgentSettings(transcription=scribe, keywords=("Acme",))

    assert told(update_of(agent), agent.model).errors == ["invalid_value"]


def test_instructions_with_something_woven_in_take_the_place_of_the_agents_own() -> None:
    agent = AgentSettings(instructions="It is {date}.")

    assert session_settings(agent, toolbox()).instructions == "It is {date}."
    assert session_settings(agent, toolbox(), "It is Monday.").instructions == "It is Monday."


def test_the_call_knows_how_its_session_listens() -> None:
    deaf = ServerVad(
        silence_ms=700, prefix_padding_ms=1, create_response=False, interrupt_response=False
    )
    known: list[tuple[ServerVad | SemanticVad | None, Listening]] = [
        (ServerVad(), Listening(500, 300, True, True)),
        (deaf, Listening(700, 1, False, False)),
        (ServerVad(interrupt_response=False), Listening(500, 300, False, True)),
        (SemanticVad(), Listening(0, 300, True, True)),
        (SemanticVad(create_response=False), Listening(0, 300, True, False)),
        (None, Listening(0, 0, False, False)),
    ]

    for detection, hears in known:
        assert listening(SessionSettings("Hello.", turn_detection=detection)) == hears


def test_a_session_that_starts_in_another_language_is_the_same_agent() -> None:
    """What a session has become is what another one is opened with."""
    settings = SessionSettings("Be kind.", voice="cedar", language="de", audio="pcm16")

    assert changed(settings, ChangeSession()) == settings
    assert changed(settings, ChangeSession("Be brief.", "en")) == attrs.evolve(
        settings, instructions="Be brief.", language="en"
    )
