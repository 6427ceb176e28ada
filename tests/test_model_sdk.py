"""The official client holds a conversation with the rehearsal model, and agrees on every key."""

from __future__ import annotations

import asyncio
import typing
from base64 import b64decode, b64encode
from functools import partial
from typing import Any, get_args, get_type_hints

import attrs
import trio
import typing_extensions
from openai import AsyncOpenAI
from openai.types import realtime
from openai.types.realtime import realtime_server_event
from openai.types.realtime.conversation_item_param import ConversationItemParam
from openai.types.realtime.realtime_client_event_param import RealtimeClientEventParam
from openai.types.realtime.realtime_response_create_params_with_references_param import (
    RealtimeResponseCreateParamsWithReferencesParam,
)
from pydantic import TypeAdapter

from gateway.lab.openai.model_server import serve_model
from gateway.lab.openai.session_rules import EVENTS, ITEM, RESPONSE, SESSION
from gateway.lab.openai.shapes import ByKind, Keys, ListOf, MapOf, Nullable, Shape, Tagged
from gateway.lab.rehearsing.scenario import Scenario, Step
from tests.model_client import Json, hum, script, silence, tone, tool_answer

PREAMBLE, ANSWER = "One moment, please.", "On Saturday until one."
SESSION_ASKED: Json = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "You answer the phone of Acme Dental.",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-transcribe", "keywords": ["Acme"]},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
    "tools": [
        {
            "type": "function",
            "name": "opening_hours",
            "description": "When the practice is open.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
        }
    ],
}


UNTYPED = {"id", "object", "expires_at"}
"""In every recorded session, and in no model of the client, which shares one with its requests."""


@attrs.define
class Heard:
    """What the official client made of the conversation."""

    events: list[Any] = attrs.field(factory=list)

    def audio(self) -> bytes:
        deltas = (e.delta for e in self.events if e.type == "response.output_audio.delta")
        return b"".join(b64decode(delta) for delta in deltas)


async def converse(websocket_base_url: str) -> Heard:
    """Speak, have a tool called, answer it, interrupt, look back and close. Runs on asyncio."""
    heard = Heard()
    client = AsyncOpenAI(api_key="sk-rehearsal", websocket_base_url=websocket_base_url)
    async with client, client.realtime.connect(model="gpt-realtime-2.1") as session:

        async def until(kind: str) -> Any:  # noqa: ANN401 (one of 46 models)
            while True:
                event = await asyncio.wait_for(session.recv(), 10)
                heard.events.append(event)
                if event.type == kind:
                    return event

        async def say(ulaw: bytes) -> None:
            for at in range(0, len(ulaw), 160):
                audio = b64encode(ulaw[at : at + 160]).decode()
                await session.input_audio_buffer.append(audio=audio)

        await until("session.created")
        await session.session.update(session=typing.cast("Any", SESSION_ASKED))
        await until("session.updated")
        await say(tone(600) + silence(500))
        call = await until("response.function_call_arguments.done")
        await until("response.done")
        await session.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "{}"}
        )
        await session.response.create(response={"metadata": {"purpose": "tools"}})
        answer = await until("response.output_item.done")
        await until("rate_limits.updated")
        await say(tone(200))
        await until("input_audio_buffer.speech_started")
        await session.conversation.item.truncate(
            item_id=answer.item.id, content_index=0, audio_end_ms=300
        )
        await until("conversation.item.truncated")
        await session.conversation.item.retrieve(item_id=answer.item.id)
        await until("conversation.item.retrieved")
        await session.conversation.item.delete(item_id=answer.item.id)
        await until("conversation.item.deleted")
        await session.input_audio_buffer.clear()
        await until("input_audio_buffer.cleared")
        await session.response.cancel()
        await until("error")
    return heard


async def test_the_official_client_holds_a_conversation() -> None:
    scenario = Scenario(
        "test",
        model=script(tool_answer(PREAMBLE), ANSWER),
        caller=(Step(say="Are you open on Saturday?"),),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_model, scenario, voice=hum))
        base_url = server.url.removesuffix("/realtime")
        heard: Heard = await trio.to_thread.run_sync(asyncio.run, converse(base_url))
        nursery.cancel_scope.cancel()
    server_event: TypeAdapter[Any] = TypeAdapter(realtime_server_event.RealtimeServerEvent)
    for event in heard.events:
        assert type(server_event.validate_python(event.to_dict())) is type(event)
        assert_known(event)
    assert heard.audio() == hum(PREAMBLE) + hum(ANSWER)
    done = [event.response for event in heard.events if event.type == "response.done"]
    assert [response.status for response in done] == ["completed", "completed"]
    assert [item.type for item in done[0].output] == ["message", "function_call"]
    assert done[1].metadata == {"purpose": "tools"}
    assert done[1].usage.output_token_details.audio_tokens > 0
    heard_words = [e for e in heard.events if e.type.endswith("transcription.completed")]
    assert [event.transcript for event in heard_words] == ["Are you open on Saturday?"]
    (model,) = server.sessions
    assert (model.violations, model.unanswered) == ([], [])
    assert model.errors == ["response_cancel_not_active"]


def assert_known(value: Any) -> None:  # noqa: ANN401 (any of the client's models)
    """No field anywhere that the client's models do not know."""
    if isinstance(value, list):
        for element in value:
            assert_known(element)
    if hasattr(value, "model_fields_set"):
        extra = set(value.__pydantic_extra__ or {}) - UNTYPED
        assert not extra, f"{type(value).__name__} does not know {extra}"
        for name in type(value).model_fields:
            assert_known(getattr(value, name))


def typed_dicts(hint: Any) -> list[Any]:  # noqa: ANN401 (an annotation)
    """Every TypedDict that an annotation allows, itself or in a list."""
    if typing_extensions.is_typeddict(hint):
        return [hint]
    return [found for part in get_args(hint) for found in typed_dicts(part)]


def key_sets(shape: Shape) -> list[Keys]:
    """Every closed object that a shape allows, itself or in a list."""
    match shape:
        case Keys():
            return [shape]
        case Nullable(inner) | ListOf(inner) | MapOf(inner):
            return key_sets(inner)
        case Tagged(_, shapes):
            return [found for inner in shapes.values() for found in key_sets(inner)]
        case ByKind(string, object_, other):
            inner_shapes = [inner for inner in (string, object_, other) if inner is not None]
            return [found for inner in inner_shapes for found in key_sets(inner)]
        case _:
            return []


def compare(shape: Shape, hint: Any, path: str) -> None:  # noqa: ANN401 (an annotation)
    """What we take at `path` is what the client can send there, key by key, to the bottom."""
    ours, theirs = key_sets(shape), typed_dicts(hint)
    hints = [get_type_hints(typed_dict) for typed_dict in theirs]
    by_keys = {frozenset(keys): keys for keys in hints}
    assert {frozenset(keys.keys) for keys in ours} == set(by_keys), path
    for keys in ours:
        for name, inner in keys.keys.items():
            if key_sets(inner):
                compare(inner, by_keys[frozenset(keys.keys)][name], f"{path}.{name}")


def test_a_session_has_the_keys_that_the_official_client_knows() -> None:
    compare(SESSION, realtime.RealtimeSessionCreateRequestParam, "session")


def test_a_response_has_the_keys_that_the_official_client_knows() -> None:
    theirs = get_type_hints(RealtimeResponseCreateParamsWithReferencesParam)
    assert set(RESPONSE.keys) == set(theirs)

    for name in set(theirs) - {"input"}:  # Items: see below.
        if key_sets(RESPONSE.keys[name]):
            compare(RESPONSE.keys[name], theirs[name], name)


def test_every_client_event_has_the_keys_that_the_official_client_knows() -> None:
    """And no event of the official client is missing."""
    theirs = [get_type_hints(event) for event in typed_dicts(RealtimeClientEventParam)]

    assert {kind: set(shape.keys) for kind, shape in EVENTS.items()} == {
        get_args(hints["type"])[0]: set(hints) for hints in theirs
    }


def test_an_item_has_no_key_that_the_official_client_does_not_know() -> None:
    """It knows more: its items of one role may hold content of another kind."""
    theirs = [set(get_type_hints(item)) for item in typed_dicts(ConversationItemParam)]

    for keys in key_sets(ITEM):
        assert any(set(keys.keys) <= known for known in theirs)
