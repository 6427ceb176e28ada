"""OpenAI Realtime (GA) events to values and back.

Pure: no trio, no sockets, no clock. Unknown events are values too, and unknown fields of known
events are ignored: both appear without notice.
Source: "Realtime API: client events / server events", OpenAI docs; `openai` 3.51 `types/realtime`.
"""

from __future__ import annotations

import base64
from typing import Any, Final, cast

import attrs
import cattrs
import orjson
from cattrs.strategies import configure_tagged_union

from actors import messages as call
from actors.errors import ProtocolError
from actors.wire.openai_items import ItemInfo, approval, run_of, tool_calls, unspoken_runs
from actors.wire.openai_session import FORMATS, AudioFormat, SessionSettings

# Where a session's events are, its items and its settings are looked for.
__all__ = ["ItemInfo", "SessionSettings"]

NUMBER_DIGITS: Final = 10
"""Longer than any number of ours."""


@attrs.frozen
class SessionInfo:
    """The part of a session that we look at."""

    id: str = ""
    expires_at: float | None = None
    audio: dict[str, Any] | None = None


@attrs.frozen
class SessionCreated:
    """`session.created`: the first frame of every healthy session."""

    session: SessionInfo


@attrs.frozen
class SessionUpdated:
    """`session.updated`: the whole configuration now in force."""

    session: SessionInfo


@attrs.frozen
class ErrorInfo:
    """What was wrong. `message` may quote what was sent."""

    type: str
    message: str = ""
    code: str | None = None
    param: str | None = None


@attrs.frozen
class ErrorEvent:
    """`error`. Nearly all of them leave the session open."""

    error: ErrorInfo


@attrs.frozen
class SpeechStarted:
    """`input_audio_buffer.speech_started`."""

    audio_start_ms: int
    item_id: str


@attrs.frozen
class SpeechStopped:
    """`input_audio_buffer.speech_stopped`."""

    audio_end_ms: int
    item_id: str


@attrs.frozen
class InputTranscribed:
    """`conversation.item.input_audio_transcription.completed`."""

    item_id: str
    transcript: str


@attrs.frozen
class ItemAdded:
    """`conversation.item.added`: the item is part of the conversation."""

    item: ItemInfo


@attrs.frozen
class ItemDone:
    """`conversation.item.done`: nothing of the item changes any more."""

    item: ItemInfo


@attrs.frozen
class OutputDone:
    """`response.output_item.done`: likewise, of an item that a response made."""

    item: ItemInfo


@attrs.frozen
class ListingFailed:
    """`mcp_list_tools.failed`: a server of tools did not say what it can do."""

    item_id: str


@attrs.frozen
class StatusError:
    """Why a response failed."""

    type: str | None = None
    code: str | None = None


@attrs.frozen
class StatusDetails:
    """Why a response was not completed."""

    reason: str | None = None
    error: StatusError | None = None


@attrs.frozen
class ResponseInfo:
    """A response, as far as we look at it."""

    id: str
    status: str | None = None
    status_details: StatusDetails | None = None
    metadata: dict[str, str] | None = None
    output: list[ItemInfo] | None = None
    usage: Any = None
    """Read field by field: no odd number in it is worth the response."""


@attrs.frozen
class ResponseCreated:
    """`response.created`."""

    response: ResponseInfo


@attrs.frozen
class ResponseDone:
    """`response.done`: exactly once per response, also for those that failed."""

    response: ResponseInfo


@attrs.frozen
class AudioDelta:
    """`response.output_audio.delta`."""

    response_id: str
    item_id: str
    delta: bytes
    """Base64 on the wire. In the session's format, unless that was translated already."""


@attrs.frozen
class AudioDone:
    """`response.output_audio.done`."""

    response_id: str
    item_id: str


@attrs.frozen
class TranscriptDelta:
    """`response.output_audio_transcript.delta`."""

    item_id: str
    delta: str


@attrs.frozen
class Unrecognised:
    """An event that says nothing to this version. Ignored; counted unless it is in `UNREAD`."""

    type: str


UNREAD: Final = frozenset(
    {
        "conversation.created",
        "conversation.item.created",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.truncated",
        "input_audio_buffer.committed",
        "input_audio_buffer.timeout_triggered",
        "mcp_list_tools.completed",
        "mcp_list_tools.in_progress",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_audio_transcript.done",
        "response.output_item.added",
    }
)
"""Events we know and have no use for. `Unrecognised`, but not worth counting."""

ServerEvent = (
    SessionCreated
    | SessionUpdated
    | ErrorEvent
    | SpeechStarted
    | SpeechStopped
    | InputTranscribed
    | ItemAdded
    | ItemDone
    | OutputDone
    | ListingFailed
    | ResponseCreated
    | ResponseDone
    | AudioDelta
    | AudioDone
    | TranscriptDelta
    | Unrecognised
)

TAGS: Final[dict[type, str]] = {
    SessionCreated: "session.created",
    SessionUpdated: "session.updated",
    ErrorEvent: "error",
    SpeechStarted: "input_audio_buffer.speech_started",
    SpeechStopped: "input_audio_buffer.speech_stopped",
    InputTranscribed: "conversation.item.input_audio_transcription.completed",
    ItemAdded: "conversation.item.added",
    ItemDone: "conversation.item.done",
    OutputDone: "response.output_item.done",
    ListingFailed: "mcp_list_tools.failed",
    ResponseCreated: "response.created",
    ResponseDone: "response.done",
    AudioDelta: "response.output_audio.delta",
    AudioDone: "response.output_audio.done",
    TranscriptDelta: "response.output_audio_transcript.delta",
    Unrecognised: "",
}


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)

    def text(value: object, _: object) -> str:
        if not isinstance(value, str):
            raise TypeError("not a string")
        return value

    def whole(value: object, _: object) -> int:
        if isinstance(value, float) and value.is_integer():
            return int(value)  # Times may be written as 1234.0.
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError("not an integer")
        return value

    converter.register_structure_hook(str, text)
    converter.register_structure_hook(int, whole)
    converter.register_structure_hook(
        bytes, lambda value, _: base64.b64decode(text(value, _), validate=True)
    )
    configure_tagged_union(
        ServerEvent, converter, TAGS.__getitem__, tag_name="type", default=Unrecognised
    )
    return converter


_converter: Final = _make_converter()


def decode(text: str | bytes) -> ServerEvent:
    """Read one server event.

    Raises:
        ProtocolError: Not JSON, or an event we know without the fields we need.

    """
    union: Any = ServerEvent  # A union is not a `type` to type checkers; cattrs takes it.
    kind = "?"
    try:
        raw = orjson.loads(text)
        kind = raw["type"]
        return cast("ServerEvent", _converter.structure(raw, union))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # Not the text itself: it may be what somebody said on the phone.
        known = kind if kind in TAGS.values() else "an event"
        what = f"{known} of {len(text)} characters cannot be read"
        raise ProtocolError("session", what) from error


def to_facts(event: ServerEvent) -> tuple[call.SessionFact, ...]:
    """What an event means for the call; nothing for those that concern the connection alone."""
    match event:
        case SpeechStarted(audio_start_ms, item_id):
            return (call.SpeechStarted(item_id, audio_start_ms),)
        case SpeechStopped(audio_end_ms, item_id):
            return (call.SpeechStopped(item_id, audio_end_ms),)
        case InputTranscribed(item_id, transcript):
            return (call.CallerTranscript(item_id, transcript),)
        case ItemAdded() | ItemDone() | OutputDone():
            return _of_item(event)
        case ResponseCreated(response):
            purpose = (response.metadata or {}).get("purpose")
            return (call.ResponseStarted(response.id, purpose, _number(response)),)
        case ResponseDone(response):
            return (_finished(response),)
        case AudioDelta(response_id, item_id, delta):
            return (call.ItemAudio(response_id, item_id, delta),)
        case AudioDone(response_id, item_id):
            return (call.ItemAudioDone(response_id, item_id),)
        case TranscriptDelta(item_id, delta):
            return (call.ItemTranscript(item_id, delta),)
        case SessionCreated() | SessionUpdated() | ErrorEvent() | ListingFailed() | Unrecognised():
            return ()


def _of_item(event: ItemAdded | ItemDone | OutputDone) -> tuple[call.SessionFact, ...]:
    match event:
        case ItemAdded(ItemInfo(type="function_call_output", call_id=str(call_id))):
            return (call.ToolOutputAccepted(call_id),)
        case ItemAdded(ItemInfo("mcp_approval_response", approval_request_id=str(request_id))):
            # With leave, there is no output yet.
            return () if event.item.approve else (call.ToolOutputAccepted(request_id),)
        case ItemAdded():
            return ()
        case ItemDone(ItemInfo(type="mcp_approval_request") as item):
            # Here already: nobody says that the end of the response will tell of it again.
            asked = tool_calls([item])
            return (call.ToolsAsked(asked),) if asked else ()
        case ItemDone(item) | OutputDone(item):
            ran = run_of(item)
            if ran is None:
                return ()
            return (call.ToolOutputAccepted(ran.tool_call_id or ran.run_id), ran)


_STATUSES: Final[dict[str, call.ResponseStatus]] = {
    "completed": "completed",
    "cancelled": "cancelled",
    "incomplete": "incomplete",
}
"""Whatever else a response may be, nobody will hear it."""


def _finished(response: ResponseInfo) -> call.ResponseFinished:
    details = response.status_details or StatusDetails()
    reason = details.reason
    if details.error is not None:
        reason = details.error.code or details.error.type
    return call.ResponseFinished(
        response.id,
        _STATUSES.get(response.status or "", "failed"),
        reason,
        tool_calls(response.output or ()),
        _usage(response.usage),
        _number(response),
        unspoken_runs(response.output or ()),
    )


def _number(response: ResponseInfo) -> int | None:
    """Which of our orders this response obeys, by what we wrote into its metadata."""
    number = (response.metadata or {}).get("number", "")
    return int(number) if number.isdecimal() and len(number) < NUMBER_DIGITS else None


def _usage(usage: object) -> call.Usage | None:
    if not isinstance(usage, dict):
        return None
    return call.Usage(
        input_text_tokens=_tokens(usage, "input_token_details", "text_tokens"),
        input_audio_tokens=_tokens(usage, "input_token_details", "audio_tokens"),
        cached_text_tokens=_tokens(
            usage, "input_token_details", "cached_tokens_details", "text_tokens"
        ),
        cached_audio_tokens=_tokens(
            usage, "input_token_details", "cached_tokens_details", "audio_tokens"
        ),
        output_text_tokens=_tokens(usage, "output_token_details", "text_tokens"),
        output_audio_tokens=_tokens(usage, "output_token_details", "audio_tokens"),
    )


def _tokens(usage: object, *path: str) -> int:
    """A count somewhere in `usage`, every part of which may be absent, or nonsense; then 0."""
    for key in path:
        usage = usage.get(key) if isinstance(usage, dict) else None
    return max(0, usage) if isinstance(usage, int) else 0


def encode(order: call.SessionOrder) -> str:
    """Write one client event."""
    return orjson.dumps(_event(order)).decode()


def _event(order: call.SessionOrder) -> dict[str, Any]:
    match order:
        case call.AppendAudio(payload):
            return {"type": "input_audio_buffer.append", "audio": payload}
        case call.CreateResponse(purpose, instructions, number):
            metadata = {"purpose": purpose, "number": str(number)}
            response: dict[str, Any] = {"metadata": metadata}
            if instructions is not None:
                response["instructions"] = instructions
            return {"type": "response.create", "response": response}
        case call.CancelResponse(response_id):
            return {"type": "response.cancel", "response_id": response_id}
        case call.TruncateItem(item_id, audio_end_ms):
            return {
                "type": "conversation.item.truncate",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": audio_end_ms,
            }
        case call.DeleteItem(item_id):
            return {"type": "conversation.item.delete", "item_id": item_id}
        case call.ReturnToolOutput(tool_call_id, output, refuses=True):
            item = approval(tool_call_id, approve=False, reason=output)
            return {"type": "conversation.item.create", "item": item}
        case call.ApproveRun(tool_call_id):
            item = approval(tool_call_id, approve=True)
            return {"type": "conversation.item.create", "item": item}
        case call.ReturnToolOutput(tool_call_id, output):
            item = {"type": "function_call_output", "call_id": tool_call_id, "output": output}
            return {"type": "conversation.item.create", "item": item}
        case call.AddText(role, text):
            content = [{"type": "input_text", "text": text}]
            message = {"type": "message", "role": role, "content": content}
            return {"type": "conversation.item.create", "item": message}
        case call.CommitAudio():
            return {"type": "input_audio_buffer.commit"}
        case call.ChangeSession():
            raise AssertionError("written by `encode_change`, which knows the rest of the session")


def formats_confirmed(session: SessionInfo, asked: AudioFormat = "g711_ulaw") -> bool:
    """Whether the session echoed what it was asked to speak, both ways. Else there is static."""
    audio = session.audio or {}
    try:
        return all(
            audio[way]["format"].get(key) == value
            for way in ("input", "output")
            for key, value in FORMATS[asked].items()
        )
    except (AttributeError, KeyError, TypeError):
        return False
