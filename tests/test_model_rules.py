"""The rehearsal model refuses what the real server refuses, and says so in the same way."""

from __future__ import annotations

import copy
from base64 import b64encode
from typing import Any

import pytest

from gateway.lab.openai.session_rules import EVENTS, LARGEST_APPEND_BYTES, PERSONA
from tests.model_client import ULAW, Client, Json, script, silence, tone

PCM = {"type": "audio/pcm", "rate": 24000}


def put(path: str, value: object) -> Json:
    """A session with one thing in it: `put("audio.output.speed", 2)`."""
    *parents, last = path.split(".")
    session: Json = {}
    inner = session
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return session


def error_of(events: list[Json]) -> Json:
    (event,) = events
    assert event["type"] == "error"
    error: Json = event["error"]
    assert set(error) == {"type", "code", "message", "param", "event_id"}
    assert error["type"] == "invalid_request_error"
    return error


VAD = "audio.input.turn_detection"
SCRIBE = "audio.input.transcription"


def server_vad(**more: object) -> Json:
    return put(VAD, {"type": "server_vad", **more})


def tool(**more: object) -> Json:
    return {"tools": [{"type": "function", "name": "f", **more}]}


ACCEPTED: list[Json] = [
    {},
    put("output_modalities", ["text"]),
    put("instructions", "Be kind."),
    put("audio.input.format", {"type": "audio/pcmu"}),
    put("audio.input.format", {"type": "audio/pcma"}),
    put("audio.output.format", PCM),
    put("audio.output.voice", "marin"),
    put("audio.output.voice", {"id": "voice_1"}),
    put("audio.output.speed", 0.25),
    put("audio.output.speed", 1.5),
    put("audio.output.speed", 1),
    put(VAD, None),
    server_vad(threshold=0.0),
    server_vad(threshold=1.0),
    server_vad(prefix_padding_ms=0, silence_duration_ms=0),
    server_vad(idle_timeout_ms=5000),
    server_vad(idle_timeout_ms=30000),
    server_vad(idle_timeout_ms=None),
    server_vad(create_response=False, interrupt_response=False),
    put(VAD, {"type": "semantic_vad", "eagerness": "low"}),
    put("audio.input.noise_reduction", None),
    put("audio.input.noise_reduction", {"type": "far_field", "strength": 0.5}),
    put(SCRIBE, None),
    put(SCRIBE, {"model": "gpt-transcribe", "keywords": ["Acme"], "languages": ["en"]}),
    put(SCRIBE, {"model": "gpt-realtime-whisper", "delay": "low", "language": "en"}),
    put("max_output_tokens", 1),
    put("max_output_tokens", 4096),
    put("max_output_tokens", "inf"),
    put("tools", []),
    tool(description="Does f.", parameters={"type": "object", "properties": {}}),
    tool(name="a" * 64),
    put("tools", [{"type": "mcp", "server_label": "s", "server_url": "https://x.example"}]),
    put("tool_choice", "required"),
    {**tool(), **put("tool_choice", {"type": "function", "name": "f"})},
    put("reasoning", {"effort": "low"}),
    put("parallel_tool_calls", False),
    put("tracing", "auto"),
    put("tracing", {"workflow_name": "calls"}),
    put("truncation", "disabled"),
    put("truncation", {"type": "retention_ratio", "retention_ratio": 0.8}),
    put("include", ["item.input_audio_transcription.logprobs"]),
    put("prompt", None),
    put("model", "gpt-realtime-2.1"),
]

UNKNOWN, VALUE, MISSING, TYPE = (
    "unknown_parameter",
    "invalid_value",
    "missing_required_parameter",
    "invalid_type",
)
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://x.example"}
REFUSED: list[tuple[Json, str, str]] = [
    # What the beta protocol called things.
    (put("voice", "marin"), UNKNOWN, "voice"),
    (put("modalities", ["audio"]), UNKNOWN, "modalities"),
    (put("input_audio_format", "g711_ulaw"), UNKNOWN, "input_audio_format"),
    (put("turn_detection", None), UNKNOWN, "turn_detection"),
    (put("temperature", 0.8), UNKNOWN, "temperature"),
    (put("max_response_output_tokens", 100), UNKNOWN, "max_response_output_tokens"),
    # Formats: the rate is required where there is a choice, and refused where there is none.
    (put("audio.input.format", {"type": "audio/pcm"}), MISSING, "audio.input.format.rate"),
    (put("audio.output.format", {"type": "audio/pcm"}), MISSING, "audio.output.format.rate"),
    (put("audio.output.format", {**PCM, "rate": 8000}), VALUE, "audio.output.format.rate"),
    (
        put("audio.output.format", {"type": "audio/pcmu", "rate": 8000}),
        UNKNOWN,
        "audio.output.format.rate",
    ),
    (
        put("audio.input.format", {"type": "audio/pcma", "rate": 8000}),
        UNKNOWN,
        "audio.input.format.rate",
    ),
    (put("audio.input.format", {"type": "g711_ulaw"}), VALUE, "audio.input.format.type"),
    (put("audio.input.format", {}), MISSING, "audio.input.format.type"),
    (put("audio.input.format", "audio/pcmu"), TYPE, "audio.input.format"),
    (put("audio.input.voice", "marin"), UNKNOWN, "audio.input.voice"),
    (put("audio.output.voice", "nobody"), VALUE, "audio.output.voice"),
    (put("audio.output.voice", {"id": "marin"}), VALUE, "audio.output.voice.id"),
    (put("audio.output.speed", 0.24), VALUE, "audio.output.speed"),
    (put("audio.output.speed", 1.51), VALUE, "audio.output.speed"),
    (put("audio.output.speed", "1.0"), TYPE, "audio.output.speed"),
    (put("audio.output.speed", True), TYPE, "audio.output.speed"),
    (put("output_modalities", ["audio", "text"]), VALUE, "output_modalities"),
    (put("output_modalities", []), VALUE, "output_modalities"),
    (put("output_modalities", ["video"]), VALUE, "output_modalities[0]"),
    (put("instructions", None), TYPE, "instructions"),
    (server_vad(threshold=-0.01), VALUE, f"{VAD}.threshold"),
    (server_vad(threshold=1.01), VALUE, f"{VAD}.threshold"),
    (server_vad(prefix_padding_ms=-1), VALUE, f"{VAD}.prefix_padding_ms"),
    (server_vad(silence_duration_ms=0.5), TYPE, f"{VAD}.silence_duration_ms"),
    (server_vad(idle_timeout_ms=4999), VALUE, f"{VAD}.idle_timeout_ms"),
    (server_vad(idle_timeout_ms=30001), VALUE, f"{VAD}.idle_timeout_ms"),
    (server_vad(create_response=1), TYPE, f"{VAD}.create_response"),
    (server_vad(eagerness="low"), UNKNOWN, f"{VAD}.eagerness"),
    (put(VAD, {"type": "semantic_vad", "threshold": 0.5}), UNKNOWN, f"{VAD}.threshold"),
    (
        put(VAD, {"type": "semantic_vad", "idle_timeout_ms": 6000}),
        UNKNOWN,
        f"{VAD}.idle_timeout_ms",
    ),
    (put(VAD, {"type": "none"}), VALUE, f"{VAD}.type"),
    (put(VAD, {"threshold": 0.5}), MISSING, f"{VAD}.type"),
    (
        put("audio.input.noise_reduction", {"type": "loud"}),
        VALUE,
        "audio.input.noise_reduction.type",
    ),
    (put(SCRIBE, {"model": "nobody"}), VALUE, f"{SCRIBE}.model"),
    (put(SCRIBE, {"model": "whisper-1", "keywords": ["Acme"]}), VALUE, f"{SCRIBE}.keywords"),
    (put(SCRIBE, {"model": "whisper-1", "language": "german"}), VALUE, f"{SCRIBE}.language"),
    (put(SCRIBE, {"model": "gpt-transcribe", "languages": [""]}), VALUE, f"{SCRIBE}.languages[0]"),
    (put(SCRIBE, {"model": "gpt-transcribe", "delay": "low"}), VALUE, f"{SCRIBE}.delay"),
    (put(SCRIBE, {"model": "gpt-realtime-whisper", "prompt": "x"}), VALUE, f"{SCRIBE}.prompt"),
    (put("max_output_tokens", 0), VALUE, "max_output_tokens"),
    (put("max_output_tokens", 4097), VALUE, "max_output_tokens"),
    (put("max_output_tokens", "many"), VALUE, "max_output_tokens"),
    (put("max_output_tokens", 1.5), TYPE, "max_output_tokens"),
    (put("tools", None), TYPE, "tools"),
    (tool(meta={}), UNKNOWN, "tools[0].meta"),
    (tool(strict=True), UNKNOWN, "tools[0].strict"),
    (tool(function={}), UNKNOWN, "tools[0].function"),
    (tool(name="a" * 65), "string_above_max_length", "tools[0].name"),
    (tool(name="opening hours"), VALUE, "tools[0].name"),
    (tool(name=""), VALUE, "tools[0].name"),
    (tool(parameters="{}"), TYPE, "tools[0].parameters"),
    (put("tools", [{"type": "function"}]), MISSING, "tools[0].name"),
    (put("tools", [{"name": "f"}]), MISSING, "tools[0].type"),
    (put("tools", [{"type": "mcp"}]), MISSING, "tools[0].server_label"),
    (put("tools", [{"type": "mcp", "server_label": "s"}]), MISSING, "tools[0].server_url"),
    (put("tools", [{**MCP, "server_uri": "https://x"}]), UNKNOWN, "tools[0].server_uri"),
    (put("tools", [{**MCP, "require_approval": "ask"}]), VALUE, "tools[0].require_approval"),
    (put("tools", [{**MCP, "tunnel_id": "t"}]), MISSING, "tools[0].server_url"),
    (put("tools", [MCP, MCP]), VALUE, "tools[1].server_label"),
    (
        put("tools", [{"type": "mcp", "server_label": "s", "connector_id": "connector_gmail"}]),
        *(VALUE, "tools[0].connector_id"),
    ),
    (put("tool_choice", "maybe"), VALUE, "tool_choice"),
    (put("tool_choice", {"type": "function"}), MISSING, "tool_choice.name"),
    (put("tool_choice", {"type": "function", "name": "f"}), VALUE, "tool_choice"),
    (put("reasoning", {"effort": "none"}), VALUE, "reasoning.effort"),
    (put("truncation", {"type": "retention_ratio"}), MISSING, "truncation.retention_ratio"),
    (put("model", "gpt-realtime"), VALUE, "model"),
    (put("type", "transcription"), VALUE, "type"),
]


@pytest.mark.parametrize("session", ACCEPTED, ids=str)
def test_what_the_server_takes_is_taken_and_comes_back(session: Json) -> None:
    updated, *_ = Client.connected(script()).configure(**session)

    assert updated["type"] == "session.updated"
    assert_contains(updated["session"], session)


def assert_contains(whole: Any, part: Any) -> None:  # noqa: ANN401 (JSON)
    if isinstance(part, dict):
        for key, value in part.items():
            assert_contains(whole[key], value)
    else:
        assert whole == part


@pytest.mark.parametrize(("session", "code", "param"), REFUSED, ids=str)
def test_one_bad_part_voids_the_whole_update(session: Json, code: str, param: str) -> None:
    """Good parts beside it are not applied either."""
    client = Client.connected(script())
    before = copy.deepcopy(client.model.session)
    error = error_of(client.configure(**{"instructions": "Be kind.", **session}))

    assert (error["code"], error["param"]) == (code, f"session.{param}")
    assert client.model.session == before


def test_an_update_without_a_type_is_refused() -> None:
    client = Client.connected(script())
    error = error_of(client.send("session.update", session={"instructions": "Be kind."}))

    assert (error["code"], error["param"]) == (MISSING, "session.type")


def test_the_session_begins_with_the_defaults_of_the_real_one() -> None:
    client = Client.connected(script(), started_at_s=1000)
    session = client.one("session.created")["session"]

    assert session["audio"]["input"]["format"] == PCM == session["audio"]["output"]["format"]
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert session["audio"]["output"]["voice"] == "alloy"
    assert session["expires_at"] == 1000 + 3600
    assert session["id"].startswith("sess_")


def test_a_partial_update_keeps_the_rest() -> None:
    client = Client.connected(script())
    client.configure(audio={"input": ULAW, "output": {**ULAW, "voice": "cedar"}})
    client.configure(audio={"output": {"speed": 1.2}})
    audio = client.model.session["audio"]

    assert audio["input"]["format"] == audio["output"]["format"] == {"type": "audio/pcmu"}
    assert (audio["output"]["voice"], audio["output"]["speed"]) == ("cedar", 1.2)
    assert audio["input"]["turn_detection"]["type"] == "server_vad"


def test_turn_detection_is_replaced_and_not_merged() -> None:
    client = Client.connected(script())
    client.configure(**server_vad(silence_duration_ms=700))
    client.configure(**server_vad(threshold=0.7))
    detection = client.model.session["audio"]["input"]["turn_detection"]

    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 200)


def test_empty_instructions_bring_back_the_servers_own() -> None:
    client = Client.connected(script())
    client.configure(instructions="Be kind.")
    client.configure(instructions="")

    assert client.model.session["instructions"] == PERSONA


@pytest.mark.parametrize("key", ["reasoning", "parallel_tool_calls"])
@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2025-08-28"])
def test_reasoning_is_for_models_that_reason(model: str, key: str) -> None:
    asked = {"reasoning": {"effort": "low"}, "parallel_tool_calls": True}
    client = Client.connected(script(), model=model)
    error = error_of(client.configure(**{key: asked[key]}))

    assert (error["code"], error["param"]) == (VALUE, f"session.{key}")


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    client = Client.on_the_phone(script("Hello there."))
    client.configure(audio={"output": {"voice": "marin"}})
    client.send("response.create")
    client.run(2000)
    changed = client.configure(audio={"output": {"voice": "cedar"}})
    kept = client.configure(audio={"output": {"voice": "marin"}})

    assert error_of(changed)["code"] == "cannot_update_voice"
    assert kept[0]["type"] == "session.updated"


def test_the_speed_changes_between_responses_only() -> None:
    client = Client.on_the_phone(script("Hello there."))
    client.send("response.create")
    client.run(100)
    during = client.configure(audio={"output": {**ULAW, "speed": 1.2}})
    client.run(5000)
    client.configure(audio={"input": ULAW, "output": {**ULAW, "speed": 1.2}})

    assert error_of([e for e in during if e["type"] == "error"])["param"].endswith("output.speed")
    assert client.model.session["audio"]["output"]["speed"] == 1.2


def test_an_update_that_is_static_on_a_phone_is_taken_and_noted() -> None:
    """The server takes it, and the caller hears noise from then on."""
    client = Client.on_the_phone(script("Hello there."))
    client.configure(instructions="Be kind.")
    client.configure(audio={"input": ULAW, "output": ULAW})
    assert client.model.violations == []

    client.send("response.create")
    client.run(5000)
    client.configure(audio={"input": {"transcription": None}})
    client.configure(audio={"input": {"format": PCM}, "output": {**ULAW, "voice": "alloy"}})

    assert client.model.violations == [
        "an update of `audio` without its input format",
        "an update of `audio` without its output format",
        "the input format was changed in the middle of a conversation",
        "the voice was sent again once it had been heard",
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"x"', b"\xff", '{"type": "response.create"', "\ud800"]
)
def test_what_is_no_json_object_is_refused_and_nothing_else_happens(text: str | bytes) -> None:
    client = Client.connected(script())
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

    assert error_of(client.send_text(raw))["code"] == "invalid_event"
    assert client.closed is None


@pytest.mark.parametrize("kind", ["response.begin", "", None, 5, ["session.update"]])
def test_an_unknown_type_is_refused(kind: Any) -> None:  # noqa: ANN401 (JSON)
    error = error_of(Client.connected(script()).send(kind))

    assert (error["code"], error["param"]) == ("invalid_event", "type")


def test_an_event_without_a_type_is_refused() -> None:
    assert error_of(Client.connected(script()).send_text("{}"))["code"] == MISSING


def test_an_event_nested_without_end_is_refused() -> None:
    """Reading it would be fine; writing it back into `session.updated` would not."""
    client = Client.connected(script())
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    event = b'{"type":"session.update","session":{"type":"realtime","tools":[{"type":"function",'
    text = event + b'"name":"f","parameters":' + deep + b"}]}}"

    assert error_of(client.send_text(text))["code"] == "invalid_event"


@pytest.mark.parametrize("kind", EVENTS)
def test_every_client_event_has_a_closed_set_of_keys(kind: str) -> None:
    error = error_of(Client.connected(script()).send(kind, surprise=1))

    assert (error["code"], error["param"]) == (UNKNOWN, "surprise")


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, keys in EVENTS.items() for key in keys.required]
)
def test_every_required_key_is_asked_for(kind: str, key: str) -> None:
    examples: Json = {
        "session": {"type": "realtime"},
        "audio": "",
        "item": {"type": "function_call_output", "call_id": "c", "output": ""},
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 1,
    }
    given = {name: examples[name] for name in EVENTS[kind].required if name != key}
    error = error_of(Client.connected(script()).send(kind, **given))

    assert (error["code"], error["param"]) == (MISSING, key)


def test_an_error_names_the_event_it_is_about() -> None:
    error = error_of(Client.connected(script()).send("response.cancel", event_id="mine"))

    assert error["event_id"] == "mine"


@pytest.mark.parametrize(("length", "accepted"), [(512, True), (513, False)])
def test_an_event_id_is_at_most_512_characters(length: int, accepted: bool) -> None:
    events = Client.connected(script()).send("input_audio_buffer.clear", event_id="e" * length)

    assert (events[0]["type"] == "input_audio_buffer.cleared") is accepted


@pytest.mark.parametrize("audio", ["*", "AAA", "AAAA\n", "AA AA", "ÄÄÄÄ", 5, None])
def test_audio_is_strict_base64(audio: object) -> None:
    client = Client.connected(script())
    error = error_of(client.send("input_audio_buffer.append", audio=audio))

    assert error["param"] == "audio"
    assert client.model.appends == 0


def test_one_append_carries_at_most_15_mib() -> None:
    client = Client.connected(script())
    client.configure(audio={"input": {**ULAW, "turn_detection": None}})
    full = b64encode(b"\xff" * LARGEST_APPEND_BYTES).decode()
    over = b64encode(b"\xff" * (LARGEST_APPEND_BYTES + 1)).decode()

    assert client.send("input_audio_buffer.append", audio=full) == []
    assert error_of(client.send("input_audio_buffer.append", audio=over))["code"] == VALUE
    assert client.model.audio_bytes == LARGEST_APPEND_BYTES


@pytest.mark.parametrize(("held_ms", "accepted"), [(0, False), (99, False), (100, True)])
def test_a_commit_needs_100_ms(held_ms: int, accepted: bool) -> None:
    client = Client.connected(script())
    client.configure(audio={"input": {**ULAW, "turn_detection": None}})
    client.append(silence(held_ms))
    events = client.send("input_audio_buffer.commit")

    if accepted:
        assert events[0]["type"] == "input_audio_buffer.committed"
    else:
        assert error_of(events)["code"] == "input_audio_buffer_commit_empty"


def test_cleared_audio_cannot_be_committed() -> None:
    client = Client.connected(script())
    client.configure(audio={"input": {**ULAW, "turn_detection": None}})
    client.append(tone(500))
    client.send("input_audio_buffer.clear")

    error = error_of(client.send("input_audio_buffer.commit"))
    assert error["code"] == "input_audio_buffer_commit_empty"


def message(role: str, *parts: Json, **more: object) -> Json:
    return {"type": "message", "role": role, "content": list(parts), **more}


TEXT = {"type": "input_text", "text": "Hello."}


@pytest.mark.parametrize(
    "item",
    [
        message("user", TEXT),
        message("system", TEXT, id="i" * 32),
        message("assistant", {"type": "output_text", "text": "Hello."}),
        message("user", {"type": "input_audio", "audio": "AAAA"}),
        {"type": "function_call", "call_id": "c_1", "name": "f", "arguments": "{}"},
    ],
    ids=str,
)
def test_an_item_is_added_and_done(item: Json) -> None:
    client = Client.connected(script())
    events = client.send("conversation.item.create", item=item)

    assert [event["type"] for event in events] == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert events[0]["item"]["status"] == "completed"


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        (message("user", TEXT, id="i" * 33), "string_above_max_length", "item.id"),
        (message("user", TEXT, name="x"), UNKNOWN, "item.name"),
        (message("nobody", TEXT), VALUE, "item.role"),
        (message("system", {"type": "output_text", "text": "x"}), VALUE, "item.content[0].type"),
        (message("user", {"type": "input_text"}), MISSING, "item.content[0].text"),
        (
            message("assistant", {"type": "output_audio", "audio": "AAAA"}),
            MISSING,
            "item.content[0].text",
        ),
        ({"type": "message", "role": "user"}, MISSING, "item.content"),
        ({"type": "item_reference", "id": "x"}, VALUE, "item.type"),
        ({"type": "function_call", "name": "f"}, MISSING, "item.arguments"),
        (
            {"type": "function_call_output", "call_id": "c_9", "output": ""},
            VALUE,
            "item.call_id",
        ),
        ({"type": "function_call_output", "call_id": "c_1", "output": {}}, TYPE, "item.output"),
        (
            {"type": "function_call_output", "call_id": "c" * 33, "output": ""},
            "string_above_max_length",
            "item.call_id",
        ),
    ],
    ids=str,
)
def test_a_bad_item_is_refused(item: Json, code: str, param: str) -> None:
    client = Client.connected(script())
    error = error_of(client.send("conversation.item.create", item=item))

    assert (error["code"], error["param"]) == (code, param)
    assert client.model.conversation.items() == []


def test_items_go_where_they_are_put() -> None:
    client = Client.connected(script())

    def create(item_id: str, **where: object) -> Json:
        item = message("user", TEXT, id=item_id)
        return client.send("conversation.item.create", item=item, **where)[0]

    create("a")
    create("c", previous_item_id=None)
    middle = create("b", previous_item_id="a")
    first = create("_", previous_item_id="root")

    assert [item["id"] for item in client.model.conversation.items()] == ["_", "a", "b", "c"]
    assert (middle["previous_item_id"], first["previous_item_id"]) == ("a", None)
    assert error_of([create("d", previous_item_id="z")])["param"] == "previous_item_id"
    assert error_of([create("a")])["param"] == "item.id"


@pytest.mark.parametrize("verb", ["truncate", "delete", "retrieve"])
def test_an_unknown_item_is_refused_by_its_own_code(verb: str) -> None:
    client = Client.connected(script())
    more = {"content_index": 0, "audio_end_ms": 5} if verb == "truncate" else {}
    error = error_of(client.send(f"conversation.item.{verb}", item_id="nobody", **more))

    assert error["code"] == f"item_{verb}_invalid_item_id"


def test_a_deleted_item_is_gone() -> None:
    client = Client.connected(script())
    client.send("conversation.item.create", item=message("user", TEXT, id="a"))
    (deleted,) = client.send("conversation.item.delete", item_id="a")

    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "a")
    assert client.model.conversation.items() == []


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        ({"turn_detection": None}, UNKNOWN, "response.turn_detection"),
        ({"temperature": 0.8}, UNKNOWN, "response.temperature"),
        ({"type": "realtime"}, UNKNOWN, "response.type"),
        ({"audio": {"output": {"speed": 1.0}}}, UNKNOWN, "response.audio.output.speed"),
        ({"audio": {"input": {}}}, UNKNOWN, "response.audio.input"),
        ({"conversation": "other"}, VALUE, "response.conversation"),
        ({"metadata": {"a": 1}}, TYPE, "response.metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "string_above_max_length", "response.metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, VALUE, "response.metadata"),
        ({"max_output_tokens": 0}, VALUE, "response.max_output_tokens"),
        ({"input": [{"type": "item_reference", "id": "nobody"}]}, VALUE, "response.input"),
    ],
    ids=str,
)
def test_a_bad_response_is_not_begun(response: Json, code: str, param: str) -> None:
    client = Client.connected(script("Hello."))
    error = error_of(client.send("response.create", response=response))

    assert (error["code"], error["param"]) == (code, param)
    assert client.model.active_response is None


def test_an_output_audio_buffer_is_for_other_transports() -> None:
    error = error_of(Client.connected(script()).send("output_audio_buffer.clear"))

    assert error["code"] == "invalid_event"


def test_what_was_received_can_be_read_without_its_audio() -> None:
    client = Client.connected(script())
    client.append(tone(20))
    part = {"type": "input_audio", "audio": "AAAA"}
    client.send("conversation.item.create", item=message("user", part))

    assert client.model.appends == 1
    assert client.model.audio_bytes == 160
    assert client.model.received == [
        {
            "type": "conversation.item.create",
            "item": message("user", {"type": "input_audio"}),
        }
    ]
