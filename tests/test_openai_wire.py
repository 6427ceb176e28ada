"""The frames in `frames/` have the documented shape of every event that is read."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import openai.types.realtime as sdk
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from actors.errors import ProtocolError
from actors.messages import (
    AddText,
    AppendAudio,
    ApproveRun,
    CallerTranscript,
    CancelResponse,
    ChangeSession,
    CommitAudio,
    CreateResponse,
    DeleteItem,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    RanElsewhere,
    ResponseFinished,
    ResponseStarted,
    ReturnToolOutput,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolOutputAccepted,
    ToolsAsked,
    TruncateItem,
    Usage,
)
from actors.wire.openai import (
    TAGS,
    UNREAD,
    ErrorEvent,
    ErrorInfo,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    Unrecognised,
    decode,
    encode,
    formats_confirmed,
    to_facts,
)
from actors.wire.openai_session import (
    AudioFormat,
    ServerVad,
    SessionSettings,
    ToolServer,
    encode_update,
)
from gateway.lab.openai.remote_tools import needs_leave
from gateway.lab.openai.session_rules import (
    check_event,
    check_response,
    new_session,
    update_session,
)
from gateway.lab.rehearsing.scenario import McpScript

FRAMES = {path.stem: path.read_text() for path in (Path(__file__).parent / "frames").glob("*.json")}
NAMES = sorted(FRAMES)
BILL = Usage(
    input_text_tokens=140,
    input_audio_tokens=61,
    cached_text_tokens=112,
    cached_audio_tokens=16,
    output_text_tokens=18,
    output_audio_tokens=55,
)
FACTS: dict[str, tuple[object, ...]] = {
    "session.created": (),
    "session.updated": (),
    "error": (),
    "rate_limits.updated": (),
    "input_audio_buffer.speech_started": (SpeechStarted("item_U1", 3456),),
    "input_audio_buffer.speech_stopped": (SpeechStopped("item_U1", 5024),),
    "conversation.item.input_audio_transcription.completed": (
        CallerTranscript("item_U1", "Do you have tulips?"),
    ),
    "conversation.item.added.message": (),
    "conversation.item.added.output": (ToolOutputAccepted("call_E2"),),
    "conversation.item.added.approval": (ToolOutputAccepted("mcpr_H1"),),
    "conversation.item.added.listing": (),
    "conversation.item.done.message": (),
    "conversation.item.done.mcp": (
        ToolOutputAccepted("mcpr_H1"),
        RanElsewhere(
            *("mcp_G1", "crm_find", '{"who":"Ada"}', "returned", '{"found":1}', "mcpr_H1")
        ),
    ),
    "response.output_item.done.mcp": (
        ToolOutputAccepted("mcp_G1"),
        RanElsewhere(
            *("mcp_G1", "crm_find", '{"who":"Ada"}', "failed", '{"error":"Bad gateway"}'),
            is_certain=False,
        ),
    ),
    "conversation.item.done.request": (
        ToolsAsked((ToolCall("mcpr_H1", "crm_add", '{"who":"Ada"}', needs_approval=True),)),
    ),
    "mcp_list_tools.failed": (),
    "response.created.ours": (ResponseStarted("resp_B1", "greeting", 3),),
    "response.created.server": (ResponseStarted("resp_B1"),),
    "response.output_audio.delta": (ItemAudio("resp_B1", "item_D1", bytes(range(250))),),
    "response.output_audio.done": (ItemAudioDone("resp_B1", "item_D1"),),
    "response.output_audio_transcript.delta": (ItemTranscript("item_D1", "We have"),),
    "response.done.completed": (
        ResponseFinished(
            "resp_B1",
            "completed",
            tool_calls=(ToolCall("call_E2", "stock", '{"flower":"tulip"}'),),
            usage=BILL,
        ),
    ),
    "response.done.mcp": (
        ResponseFinished(
            "resp_B1",
            "completed",
            tool_calls=(ToolCall("mcpr_H1", "crm_add", '{"who":"Ada"}', needs_approval=True),),
            usage=BILL,
            runs=("mcp_G1",),
        ),
    ),
    "response.done.cancelled": (
        ResponseFinished("resp_B1", "cancelled", "turn_detected", usage=Usage()),
    ),
    "response.done.incomplete": (
        ResponseFinished("resp_B1", "incomplete", "max_output_tokens", usage=BILL),
    ),
    "response.done.failed": (ResponseFinished("resp_B1", "failed", "rate_limit_exceeded"),),
}
ORDERS: list[SessionOrder] = [
    AppendAudio(b64encode(bytes(160)).decode()),
    CreateResponse("greeting", "Say hello."),
    CreateResponse("tools"),
    CancelResponse("resp_B1"),
    TruncateItem("item_D1", 0),
    TruncateItem("item_D1", 1234),
    DeleteItem("item_D1"),
    AddText("user", "[The caller pressed 1.]"),
    CommitAudio(),
    ReturnToolOutput("call_E2", '{"in_stock":12}'),
    ReturnToolOutput("mcpr_H1", '{"error":"no"}', refuses=True),
    ApproveRun("mcpr_H1"),
]
TOOL = {
    "type": "function",
    "name": "stock",
    "description": "How many of a flower there are.",
    "parameters": {"type": "object", "properties": {"flower": {"type": "string"}}},
}
UPDATES = [
    SessionSettings("Sell flowers."),
    SessionSettings("Sell flowers.", transcription_model=None, language="de"),
    SessionSettings(
        "Sell flowers.",
        language="de",
        tools=(TOOL,),
        voice="cedar",
        turn_detection=ServerVad(silence_ms=700),
    ),
    SessionSettings(
        "Sell flowers.",
        tools=(TOOL,),
        servers=(
            ToolServer("crm", "https://crm.example.com/mcp", ("find",), ("add", "drop")),
            ToolServer("docs", "https://docs.example.com/mcp", ("read",), ()),
            ToolServer(
                *("bank", "https://bank.example.com/mcp", (), ("pay",), "Money"),
                authorization="t0ken",
                headers=(("X-Team", "sales"),),
            ),
        ),
    ),
]
SDK_KEYS = {
    "input_audio_buffer.append": sdk.InputAudioBufferAppendEventParam,
    "input_audio_buffer.commit": sdk.InputAudioBufferCommitEventParam,
    "response.create": sdk.ResponseCreateEventParam,
    "response.cancel": sdk.ResponseCancelEventParam,
    "conversation.item.truncate": sdk.ConversationItemTruncateEventParam,
    "conversation.item.delete": sdk.ConversationItemDeleteEventParam,
    "conversation.item.create": sdk.ConversationItemCreateEventParam,
    "session.update": sdk.SessionUpdateEventParam,
}
SIGNED_64 = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | SIGNED_64 | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON document but its root."""
    steps: Any = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, child in steps:
        yield (*path, step)
        yield from places(child, (*path, step))


def decoded(text: str) -> ServerEvent | None:
    """What comes of a text; `None` for what its reader refuses. Anything else is a bug."""
    refusal: ProtocolError | None = None
    try:
        event = decode(text)
    except ProtocolError as error:
        refusal = error
    else:
        to_facts(event)
        return event
    assert refusal.peer == "session"
    assert re.fullmatch(r"(an event|[a-z_.]+) of \d+ characters cannot be read", refusal.what)
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_the_fact_it_stands_for(name: str) -> None:
    assert to_facts(decode(FRAMES[name])) == FACTS[name]


def test_every_event_that_is_read_has_its_frame() -> None:
    kinds = {orjson.loads(frame)["type"] for frame in FRAMES.values()}

    assert kinds - UNREAD == set(TAGS.values()) - {""}
    assert set(TAGS) == set(get_args(ServerEvent))
    assert not UNREAD & set(TAGS.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_frames_and_the_official_client_agree(name: str) -> None:
    """Its types are the other description of the same events."""
    server_event: TypeAdapter[Any] = TypeAdapter(sdk.RealtimeServerEvent)
    event = server_event.validate_json(FRAMES[name])

    assert event.type == orjson.loads(FRAMES[name])["type"]


@pytest.mark.parametrize("name", NAMES)
def test_fields_nobody_knows_are_ignored(name: str) -> None:
    frame = orjson.loads(FRAMES[name])
    for place in [(), *places(frame)]:
        target = frame
        for step in place:
            target = target[step]
        if isinstance(target, dict) and "metadata" not in place:
            target["brand_new"] = {"deep": [1, None]}

    assert to_facts(decode(orjson.dumps(frame))) == FACTS[name]


def test_a_bill_of_less_than_nothing_takes_nothing_off_what_a_call_cost() -> None:
    frame = orjson.loads(FRAMES["response.done.completed"])
    frame["response"]["usage"]["output_token_details"] = {"text_tokens": -5, "audio_tokens": "7"}
    (fact,) = to_facts(decode(orjson.dumps(frame)))

    assert isinstance(fact, ResponseFinished)
    assert fact.usage == attrs.evolve(BILL, output_text_tokens=0, output_audio_tokens=0)


def test_an_event_nobody_knows_is_a_value_too() -> None:
    assert decode('{"type":"response.sung","note":"c"}') == Unrecognised("response.sung")


def test_what_the_connection_needs_is_read() -> None:
    created, updated, error = (
        decode(FRAMES[name]) for name in ("session.created", "session.updated", "error")
    )

    assert isinstance(created, SessionCreated)
    assert isinstance(updated, SessionUpdated)
    assert (created.session.id, updated.session.expires_at) == ("sess_A1", 1790000000)
    assert (formats_confirmed(created.session), formats_confirmed(updated.session)) == (False, True)
    assert error == ErrorEvent(
        ErrorInfo(
            "invalid_request_error",
            "Cancellation failed: no active response found",
            "response_cancel_not_active",
        )
    )


@pytest.mark.parametrize(
    "audio",
    [
        None,
        {},
        {"input": {"format": {"type": "audio/pcmu"}}},
        {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": "audio/pcmu"}},
        {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": None}},
        {"input": [], "output": {"format": {"type": "audio/pcmu"}}},
    ],
)
def test_formats_are_confirmed_by_both_or_not_at_all(audio: object) -> None:
    frame = orjson.dumps({"type": "session.updated", "session": {"audio": audio}})
    event = decode(frame)

    assert isinstance(event, SessionUpdated)
    assert not formats_confirmed(event.session)


ULAW, ALAW = {"type": "audio/pcmu"}, {"type": "audio/pcma"}
PCM = {"type": "audio/pcm", "rate": 24000}


@pytest.mark.parametrize(
    ("asked", "echoed", "confirmed"),
    [
        ("g711_ulaw", ULAW, True),
        ("g711_ulaw", {**ULAW, "rate": None}, True),
        ("g711_ulaw", ALAW, False),
        ("g711_ulaw", PCM, False),
        ("g711_alaw", ALAW, True),
        ("g711_alaw", ULAW, False),
        ("pcm16", PCM, True),
        ("pcm16", {"type": "audio/pcm"}, False),
        ("pcm16", {**PCM, "rate": 16000}, False),
        ("pcm16", ULAW, False),
    ],
)
def test_the_format_that_is_confirmed_is_the_one_that_was_asked_for(
    asked: AudioFormat, echoed: object, confirmed: bool
) -> None:
    audio = {way: {"format": echoed} for way in ("input", "output")}
    event = decode(orjson.dumps({"type": "session.updated", "session": {"audio": audio}}))

    assert isinstance(event, SessionUpdated)
    assert formats_confirmed(event.session, asked) is confirmed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "null",
        "3",
        "[]",
        '"type"',
        "{}",
        '{"type":null}',
        '{"type":[]}',
        '{"type":{}}',
        '{"type":1}',
        '{"type":"error"}',
        '{"type":"error","error":"secret"}',
        '{"type":"session.created","session":{"expires_at":"secret"}}',
        '{"type":"input_audio_buffer.speech_started","item_id":"secret","audio_start_ms":1.5}',
        '{"type":"input_audio_buffer.speech_started","item_id":"secret","audio_start_ms":true}',
        '{"type":"input_audio_buffer.speech_started","item_id":"secret","audio_start_ms":'
        + "9" * 400
        + "}",
        '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"secret!"}',
        '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"AAA"}',
        '{"type":"response.created","response":{"id":"r","metadata":["secret"]}}',
        '{"type":"response.done","response":{"id":"r","output":["secret"]}}',
        '{"type":"response.done","response":' + '{"output":[' * 2000,
        '{"type":"response.done","response":' + "[" * 900 + "]" * 900 + "}",
        '{"type":"error","error":{"type":"\ud800 secret"}}',
    ],
)
def test_nonsense_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        decode(text)

    assert "secret" not in str(refusal.value)
    assert decoded(text) is None


@settings(max_examples=200, deadline=None)
@given(text=st.text() | json_values.map(lambda value: orjson.dumps(value).decode()))
def test_any_text_is_an_event_or_refused(text: str) -> None:
    decoded(text)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_frame_damaged_anywhere_is_an_event_or_refused(data: st.DataObject, name: str) -> None:
    frame = orjson.loads(FRAMES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(places(frame))))
        target = frame
        for step in way:
            target = target[step]
        if data.draw(st.booleans()):
            del target[last]
        else:
            target[last] = data.draw(json_values)
        if not list(places(frame)):
            break

    decoded(orjson.dumps(frame).decode())


@given(cut=st.integers(0, 2000), name=st.sampled_from(NAMES))
def test_a_frame_cut_short_is_refused(cut: int, name: str) -> None:
    compact = orjson.dumps(orjson.loads(FRAMES[name]))

    assert decoded(compact[: cut % len(compact)].decode()) is None


@pytest.mark.parametrize(
    ("status", "details", "expected", "reason"),
    [
        ("completed", None, "completed", None),
        ("cancelled", {"reason": "client_cancelled"}, "cancelled", "client_cancelled"),
        ("incomplete", {"reason": "content_filter"}, "incomplete", "content_filter"),
        ("failed", {"error": {"type": "server_error", "code": None}}, "failed", "server_error"),
        ("failed", {"error": {"type": "t", "code": "quota"}}, "failed", "quota"),
        ("failed", {"error": {}}, "failed", None),
        ("failed", None, "failed", None),
        ("in_progress", None, "failed", None),
        ("postponed", None, "failed", None),
        (None, None, "failed", None),
    ],
)
def test_whatever_ends_a_response_is_one_of_four(
    status: str | None, details: object, expected: str, reason: str | None
) -> None:
    response = {"id": "r", "status": status, "status_details": details}
    (fact,) = to_facts(decode(orjson.dumps({"type": "response.done", "response": response})))

    assert isinstance(fact, ResponseFinished)
    assert (fact.status, fact.reason) == (expected, reason)


def test_tool_calls_without_a_name_or_an_id_cannot_be_run() -> None:
    good = {"type": "function_call", "call_id": "c", "name": "n", "arguments": None}
    output = [good, {**good, "call_id": None}, {**good, "name": None}, {"type": "mcp_call"}]
    response = {"id": "r", "status": "completed", "output": output}
    (fact,) = to_facts(decode(orjson.dumps({"type": "response.done", "response": response})))

    assert isinstance(fact, ResponseFinished)
    assert fact.tool_calls == (ToolCall("c", "n", ""),)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_every_order_is_what_a_strict_server_accepts(order: SessionOrder) -> None:
    event = orjson.loads(encode(order))
    check_event(event)
    if event["type"] == "response.create":
        check_response(event["response"], model="gpt-realtime")

    assert set(event) <= set(get_type_hints(SDK_KEYS[event["type"]]))
    assert sdk_reads(event)


def test_every_kind_of_order_is_among_them() -> None:
    """A change is part of the whole session, and written by whoever knows that."""
    assert {type(order) for order in ORDERS} | {ChangeSession} == set(get_args(SessionOrder))


@pytest.mark.parametrize("settings_", UPDATES)
def test_every_update_is_what_a_strict_server_accepts(settings_: SessionSettings) -> None:
    event = orjson.loads(encode_update(settings_))
    check_event(event)
    session = new_session("sess_A1", model="gpt-realtime", expires_at_s=0)
    updated = update_session(session, event["session"], voice_used=False)
    echo = decode(orjson.dumps({"type": "session.updated", "session": updated}))

    assert isinstance(echo, SessionUpdated)
    assert formats_confirmed(echo.session)
    assert sdk_reads(event)
    assert set(event) <= set(get_type_hints(SDK_KEYS[event["type"]]))
    assert updated["audio"]["output"]["voice"] == settings_.voice
    detection = updated["audio"]["input"]["turn_detection"]
    assert isinstance(settings_.turn_detection, ServerVad)
    assert detection["silence_duration_ms"] == settings_.turn_detection.silence_ms
    functions = [tool for tool in updated["tools"] if tool["type"] == "function"]
    assert functions == list(settings_.tools)
    for tool, server in zip(updated["tools"][len(functions) :], settings_.servers, strict=True):
        wanted = tool["require_approval"]
        assert tool["allowed_tools"] == [*server.low, *server.high]
        assert all(
            needs_leave([tool], McpScript(server.label, one)) == (one not in server.low)
            for one in (*server.low, *server.high, "another")
        ), wanted


def sdk_reads(event: dict[str, Any]) -> bool:
    """Whether the official client's type of this event takes every key and every value."""
    adapter: TypeAdapter[Any] = TypeAdapter(SDK_KEYS[event["type"]])
    audio = event.get("session", {}).get("audio")
    for key in ("transcription", "noise_reduction"):
        if audio and audio["input"][key] is None:
            del audio["input"][key]  # Documented, and missing from the client's types.
    return bool(at_once(adapter.validate_python(event)) == event)


def at_once(value: object) -> object:
    """The same without iterators, which is what the client's types make of some lists."""
    if isinstance(value, dict):
        return {key: at_once(child) for key, child in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [at_once(child) for child in value]
    return value


@given(
    order=st.builds(AppendAudio, st.text())
    | st.builds(CreateResponse, st.text(), st.none() | st.text())
    | st.builds(TruncateItem, st.text(), st.integers(0, 10**9))
    | st.builds(ReturnToolOutput, st.text(), st.text())
)
def test_any_order_survives_json(order: SessionOrder) -> None:
    """Whatever is put into it: quotes, line ends, zero bytes."""
    values = set(map(str, attrs_values(order)))

    assert values <= set(leaves(orjson.loads(encode(order))))


def attrs_values(order: SessionOrder) -> Iterator[object]:
    """What an order carries."""
    for name in type(order).__match_args__:
        value = getattr(order, name)
        if value is not None:
            yield value


def leaves(value: object) -> Iterator[str]:
    """Every text and number of a JSON document, as text."""
    if isinstance(value, dict):
        for child in value.values():
            yield from leaves(child)
    else:
        yield str(value)
