"""Whatever a client sends, in whatever order, the core answers in kind and keeps its books."""

from __future__ import annotations

import string
from base64 import b64encode
from collections import Counter
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.openai.session_rules import EVENTS
from gateway.lab.rehearsing.scenario import Answer, Failure
from tests.model_client import Client, Json, script, silence, tone, tool_answer

SCRIPT = script(
    "Hello, how can I help you?",
    tool_answer("One moment."),
    Answer(fail=Failure("server_error")),
    "We are open from nine in the morning until six in the evening.",
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(string.printable, max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = sorted({key for shape in EVENTS.values() for key in shape.keys})

AUDIO = [b64encode(ulaw).decode() for ulaw in (tone(200), silence(200), tone(20), b"\xff", b"")]
ITEMS: list[Json] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hm."}]},
    {"type": "function_call", "call_id": "c_1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c_1", "output": "{}"},
]
SESSIONS: list[Json] = [
    {"audio": {"input": {"turn_detection": None}}},
    {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}}},
    {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "interrupt_response": False}}}},
    {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}},
    {"audio": {"output": {"format": {"type": "audio/pcma"}, "voice": "marin"}}},
    {"output_modalities": ["text"], "max_output_tokens": 15},
]
RESPONSES: list[Json] = [
    {},
    {"conversation": "none", "metadata": {"a": "b"}},
    {"max_output_tokens": 1},
    {"output_modalities": ["text"]},
]

SOUND_STEPS = st.one_of(
    st.sampled_from(AUDIO).map(lambda a: ("input_audio_buffer.append", {"audio": a})),
    st.sampled_from(SESSIONS).map(
        lambda s: ("session.update", {"session": {"type": "realtime", **s}})
    ),
    st.sampled_from(ITEMS).map(lambda i: ("conversation.item.create", {"item": i})),
    st.sampled_from(RESPONSES).map(lambda r: ("response.create", {"response": r})),
    st.sampled_from(
        ["input_audio_buffer.commit", "input_audio_buffer.clear", "response.cancel"]
    ).map(lambda kind: (kind, {})),
    st.sampled_from(["truncate", "delete", "retrieve"]).map(
        lambda verb: (f"conversation.item.{verb}", {"item_id": "an agent's"})
    ),
)
WILD_STEPS = st.tuples(
    st.sampled_from(sorted(EVENTS)), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3)
)
WAITS = st.integers(0, 3000).map(lambda ms: ("wait", {"ms": ms}))
STEPS = st.lists(SOUND_STEPS | SOUND_STEPS | WAITS | WILD_STEPS, max_size=40)


def take_step(client: Client, kind: str, fields: dict[str, Any]) -> None:
    if kind == "wait":
        client.run(fields["ms"])
        return
    if fields.get("item_id") == "an agent's":
        known = [item["id"] for item in client.model.conversation.items()]
        fields = {"item_id": known[-1] if known else "nobody"}
        if kind.endswith("truncate"):
            fields |= {"content_index": 0, "audio_end_ms": 300}
    client.send(kind, **fields)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 3))
def test_any_sequence_of_client_events_is_answered_and_every_response_is_done_once(
    steps: list[tuple[str, dict[str, Any]]], seed: int
) -> None:
    client = Client.on_the_phone(SCRIPT, seed=seed, caller_lines=["Hello?"])
    for kind, fields in steps:
        take_step(client, kind, fields)
    client.run(20_000)  # Longer than the longest answer is delivered, audio still owed or not.

    created = [event["response"]["id"] for event in client.all("response.created")]
    done = [event["response"]["id"] for event in client.all("response.done")]
    unfinished = [client.model.active_response] if client.model.active_response else []
    assert Counter(created) == Counter(done + unfinished)
    assert len(set(created)) == len(created)
    assert len({event["event_id"] for event in client.events}) == len(client.events)
    assert client.closed is None
    assert_balanced(client.events)


def assert_balanced(events: list[Json]) -> None:
    """Within an item: added first, done last, and nothing of a response after its done."""
    open_items: set[str] = set()
    finished: set[str] = set()
    for event in events:
        assert event.get("response_id") not in finished
        match event["type"]:
            case "response.output_item.added":
                open_items.add(event["item"]["id"])
            case "response.output_item.done":
                open_items.remove(event["item"]["id"])
            case "response.output_audio.delta" | "response.output_audio_transcript.delta":
                assert event["item_id"] in open_items
            case "response.done":
                finished.add(event["response"]["id"])
            case _:
                pass


@given(text=st.binary(max_size=200) | JSON.map(orjson.dumps))
def test_any_bytes_at_all_are_answered_with_one_error(text: bytes) -> None:
    client = Client.connected(SCRIPT)

    assert [event["type"] for event in client.send_text(text)] == ["error"]
