"""What the Realtime API accepts from a client, as closed shapes, and what it makes of a session.

Pure. Source: "Realtime API reference" of OpenAI (GA protocol, late 2026); `openai` SDK 3.51,
`types/realtime`; where those are silent, errors that people reported from the live server.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from gateway.lab.openai.remote_tools import check_servers
from gateway.lab.openai.shapes import (
    Anything,
    ByKind,
    Choice,
    Flag,
    Keys,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Refusal,
    Shape,
    Tagged,
    Text,
)

Json = dict[str, Any]

PERSONA: Final = (
    "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI. Act like a human,"
    " but remember that you aren't a human and that you can't do human things in the real world."
)
"""The server's own instructions. An empty string asks for them again (*observed*, August 2026)."""

VOICES: Final = (
    *("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"),
)
TRANSCRIBERS: Final = (
    *("whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe", "gpt-4o-transcribe-diarize"),
    "gpt-realtime-whisper",
)
LONGEST_ID: Final = 32
LONGEST_EVENT_ID: Final = 512
LARGEST_APPEND_BYTES: Final = 15 * 1024 * 1024

_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh")
_LANGUAGE: Final = Text(pattern="[a-z]{2}")
"""ISO 639-1."""
_TOOL_NAME: Final = Text(64, r"[a-zA-Z0-9_-]+")
_STATUS: Final = Choice(("completed", "incomplete", "in_progress"))

FORMAT: Final = Tagged(
    "type",
    {
        "audio/pcm": Keys({"type": Text(), "rate": Choice((24000,))}, required=("rate",)),
        "audio/pcmu": Keys({"type": Text()}),
        "audio/pcma": Keys({"type": Text()}),
    },
)
_CUSTOM_VOICE: Final = Keys({"id": Text(pattern=r"voice_\w+")}, required=("id",))
_VOICE: Final = ByKind(string=Choice(VOICES), object=_CUSTOM_VOICE)
TURN_DETECTION: Final = Tagged(
    "type",
    {
        "server_vad": Keys(
            {
                "type": Text(),
                "threshold": Number(0.0, 1.0),
                "prefix_padding_ms": Number(0, whole=True),
                "silence_duration_ms": Number(0, whole=True),
                "idle_timeout_ms": Nullable(Number(5000, 30000, whole=True)),
                "create_response": Flag(),
                "interrupt_response": Flag(),
            }
        ),
        "semantic_vad": Keys(
            {
                "type": Text(),
                "eagerness": Choice(("low", "medium", "high", "auto")),
                "create_response": Flag(),
                "interrupt_response": Flag(),
            }
        ),
    },
)
TRANSCRIPTION: Final = Keys(
    {
        "model": Choice(TRANSCRIBERS),
        "language": _LANGUAGE,
        "languages": ListOf(_LANGUAGE),
        "keywords": ListOf(Text()),
        "prompt": Text(),
        "delay": Choice(_EFFORTS),
    },
    required=("model",),
)
AUDIO_INPUT: Final = Keys(
    {
        "format": FORMAT,
        "noise_reduction": Nullable(
            Keys(
                {"type": Choice(("near_field", "far_field")), "strength": Number(0.0)},
                required=("type",),
            )
        ),
        "transcription": Nullable(TRANSCRIPTION),
        "turn_detection": Nullable(TURN_DETECTION),
    }
)
AUDIO_OUTPUT: Final = Keys({"format": FORMAT, "voice": _VOICE, "speed": Number(0.25, 1.5)})
FUNCTION_TOOL: Final = Keys(
    {
        "type": Text(),
        "name": _TOOL_NAME,
        "description": Text(),
        "parameters": MapOf(Anything()),
    },
    required=("name",),
)
_TOOL_FILTER: Final = Keys({"tool_names": ListOf(Text()), "read_only": Flag()})
MCP_TOOL: Final = Keys(
    {
        "type": Text(),
        "server_label": Text(),
        "server_url": Text(),
        "connector_id": Text(),
        "tunnel_id": Text(),
        "authorization": Text(),
        "headers": Nullable(MapOf(Text())),
        "allowed_tools": Nullable(
            ByKind(string=Text(pattern="(?!)"), object=_TOOL_FILTER, other=ListOf(Text()))
        ),
        "require_approval": Nullable(
            ByKind(
                string=Choice(("always", "never")),
                object=Keys({"always": _TOOL_FILTER, "never": _TOOL_FILTER}),
            )
        ),
        "server_description": Text(),
        "defer_loading": Flag(),
        "allowed_callers": Nullable(ListOf(Choice(("direct", "programmatic")))),
    },
    required=("server_label",),
)
_COMMON: Final[dict[str, Shape]] = {
    "output_modalities": ListOf(Choice(("audio", "text")), shortest=1, longest=1),
    "instructions": Text(),
    "tools": ListOf(Tagged("type", {"function": FUNCTION_TOOL, "mcp": MCP_TOOL})),
    "tool_choice": ByKind(
        string=Choice(("none", "auto", "required")),
        object=Tagged(
            "type",
            {
                "function": Keys({"type": Text(), "name": _TOOL_NAME}, required=("name",)),
                "mcp": Keys(
                    {"type": Text(), "server_label": Text(), "name": Nullable(Text())},
                    required=("server_label",),
                ),
            },
        ),
    ),
    "parallel_tool_calls": Flag(),
    "reasoning": Keys({"effort": Choice(_EFFORTS)}),
    "max_output_tokens": ByKind(string=Choice(("inf",)), other=Number(1, 4096, whole=True)),
    "prompt": Nullable(
        Keys(
            {
                "id": Text(),
                "variables": Nullable(MapOf(Anything())),
                "version": Nullable(Text()),
            },
            required=("id",),
        )
    ),
}
"""What a session and a single response have in common."""

SESSION: Final = Keys(
    {
        **_COMMON,
        "type": Choice(("realtime",)),
        "model": Text(),
        "audio": Keys({"input": AUDIO_INPUT, "output": AUDIO_OUTPUT}),
        "include": Nullable(ListOf(Choice(("item.input_audio_transcription.logprobs",)))),
        "tracing": Nullable(
            ByKind(
                string=Choice(("auto",)),
                object=Keys({"workflow_name": Text(), "group_id": Text(), "metadata": Anything()}),
            )
        ),
        "truncation": ByKind(
            string=Choice(("auto", "disabled")),
            object=Tagged(
                "type",
                {
                    "retention_ratio": Keys(
                        {
                            "type": Text(),
                            "retention_ratio": Number(0.0, 1.0),
                            "token_limits": Keys({"post_instructions": Number(0, whole=True)}),
                        },
                        required=("retention_ratio",),
                    )
                },
            ),
        ),
    },
    required=("type",),
)

_ITEM: Final[dict[str, Shape]] = {
    "type": Text(),
    "id": Text(LONGEST_ID),
    "object": Choice(("realtime.item",)),
    "status": _STATUS,
}


def _message(**parts: Keys) -> Keys:
    content = ListOf(Tagged("type", parts))
    return Keys({**_ITEM, "role": Text(), "content": content}, required=("content",))


_TYPED_TEXT: Final = Keys({"type": Text(), "text": Text()}, required=("text",))
ITEM: Final = Tagged(
    "type",
    {
        "message": Tagged(
            "role",
            {
                "system": _message(input_text=_TYPED_TEXT),
                "user": _message(
                    input_text=_TYPED_TEXT,
                    input_audio=Keys(
                        {"type": Text(), "audio": Text(), "transcript": Nullable(Text())},
                        required=("audio",),
                    ),
                    input_image=Keys(
                        {
                            "type": Text(),
                            "image_url": Text(),
                            "detail": Choice(("auto", "low", "high")),
                        },
                        required=("image_url",),
                    ),
                ),
                # Assistant audio cannot be created: the server asks for a text in its place.
                "assistant": _message(
                    output_text=_TYPED_TEXT,
                    output_audio=Keys(
                        {"type": Text(), "text": Text(), "audio": Text(), "transcript": Text()},
                        required=("text",),
                    ),
                ),
            },
        ),
        "function_call": Keys(
            {**_ITEM, "name": _TOOL_NAME, "arguments": Text(), "call_id": Text(LONGEST_ID)},
            required=("name", "arguments"),
        ),
        "mcp_approval_response": Keys(
            {
                "type": Text(),
                "id": Text(LONGEST_ID),
                "approval_request_id": Text(),
                "approve": Flag(),
                "reason": Nullable(Text()),
            },
            required=("approval_request_id", "approve"),
        ),
        "function_call_output": Keys(
            {**_ITEM, "call_id": Text(LONGEST_ID), "output": Text()}, required=("call_id", "output")
        ),
    },
)
RESPONSE: Final = Keys(
    {
        **_COMMON,
        "audio": Keys({"output": Keys({"format": FORMAT, "voice": _VOICE})}),
        "conversation": Choice(("auto", "none")),
        "metadata": Nullable(MapOf(Text(512), most=16, longest_key=64)),
        "input": ListOf(
            Tagged(
                "type",
                {
                    **ITEM.shapes,
                    "item_reference": Keys({"type": Text(), "id": Text()}, required=("id",)),
                },
            )
        ),
    }
)


def _event(required: tuple[str, ...] = (), **keys: Shape) -> Keys:
    base: dict[str, Shape] = {"type": Text(), "event_id": Text(LONGEST_EVENT_ID)}
    return Keys({**base, **keys}, required=required)


EVENTS: Final[dict[str, Keys]] = {
    "session.update": _event(("session",), session=SESSION),
    "input_audio_buffer.append": _event(("audio",), audio=Text()),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "output_audio_buffer.clear": _event(),
    "conversation.item.create": _event(("item",), item=ITEM, previous_item_id=Nullable(Text())),
    "conversation.item.retrieve": _event(("item_id",), item_id=Text()),
    "conversation.item.delete": _event(("item_id",), item_id=Text()),
    "conversation.item.truncate": _event(
        ("item_id", "content_index", "audio_end_ms"),
        item_id=Text(),
        content_index=Number(0, whole=True),
        audio_end_ms=Number(0, whole=True),
    ),
    "response.create": _event(response=RESPONSE),
    "response.cancel": _event(response_id=Text()),
}

_SERVER_VAD: Final = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    # 500 in the reference, 200 in recorded traffic.
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Final = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_PCM: Final = {"type": "audio/pcm", "rate": 24000}
_DEPTH: Final = 64


def new_session(session_id: str, *, model: str, expires_at_s: int) -> Json:
    """The session as it is before any update. Source: recorded `session.created`, August 2026."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": PERSONA,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at_s,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": dict(_PCM), "voice": "alloy", "speed": 1.0},
        },
        "include": None,
    }


def check_event(event: Json) -> None:
    """Accept a client event by its shape alone.

    Raises:
        Refusal: It is of no known type, or one part of it does not fit.

    """
    if "type" not in event:
        raise Refusal("missing_required_parameter", "Missing required parameter: 'type'.", "type")
    shape = EVENTS.get(event["type"]) if isinstance(event["type"], str) else None
    if shape is None:
        supported = ", ".join(f"'{name}'" for name in EVENTS)
        raise Refusal(
            "invalid_event", f"Invalid value for 'type': supported values are: {supported}.", "type"
        )
    if _depth_exceeds(event, _DEPTH):
        raise Refusal("invalid_event", f"The event is nested more than {_DEPTH} levels deep.")
    shape.check(event, "")


def update_session(
    current: Json, update: Json, *, voice_used: bool, responding: bool = False
) -> Json:
    """Make the session that `update`, whose shape was checked, asks for. Changes neither.

    Args:
        current: The session as it is.
        update: What it is asked to be.
        voice_used: Whether it has spoken.
        responding: Whether a response is in progress.

    Raises:
        Refusal: One part cannot be had; then none is.

    """
    _check_model_features(update, current["model"], "session")
    if update.get("model", current["model"]) != current["model"]:
        raise Refusal("invalid_value", "The model of a session cannot be changed.", "session.model")
    audio: Json = update.get("audio", {})
    audio_input: Json = audio.get("input", {})
    audio_output: Json = audio.get("output", {})
    _check_transcription(audio_input.get("transcription"))
    voice = current["audio"]["output"]["voice"]
    if voice_used and audio_output.get("voice", voice) != voice:
        raise Refusal(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
            "session.audio.output.voice",
        )
    speed = current["audio"]["output"]["speed"]
    if responding and audio_output.get("speed", speed) != speed:
        # Source: "Realtime API: session.update", OpenAI docs: only between the model's turns.
        raise Refusal(
            "invalid_value",
            "The speed cannot be changed while a response is in progress.",
            "session.audio.output.speed",
        )
    if (
        current["tracing"] is not None
        and update.get("tracing", current["tracing"]) != (current["tracing"])
    ):
        raise Refusal("invalid_value", "Tracing cannot be changed.", "session.tracing")
    session = copy.deepcopy(current)
    session.update({key: value for key, value in update.items() if key != "audio"})
    session["instructions"] = session["instructions"] or PERSONA
    session["audio"]["input"].update(audio_input)
    session["audio"]["output"].update(audio_output)
    detection = audio_input.get("turn_detection")
    if detection is not None:
        defaults = _SERVER_VAD if detection["type"] == "server_vad" else _SEMANTIC_VAD
        session["audio"]["input"]["turn_detection"] = {**defaults, **detection}
    _check_tool_choice(session["tool_choice"], session["tools"])
    check_servers(session["tools"])
    return session


def careless(current: Json, update: Json, *, voice_used: bool) -> list[str]:
    """What is dangerous about an update that was accepted.

    A format that is left out of an update that touches `audio`, or that changes once there was
    audio, is static on a phone. A voice that is sent again has been refused, the same one too.
    """
    audio: Json | None = update.get("audio")
    if audio is None:
        return []
    found = []
    for way in ("input", "output"):
        asked = audio.get(way, {}).get("format")
        if asked is None:
            found.append(f"an update of `audio` without its {way} format")
        elif voice_used and asked != current["audio"][way]["format"]:
            found.append(f"the {way} format was changed in the middle of a conversation")
    if voice_used and "voice" in audio.get("output", {}):
        found.append("the voice was sent again once it had been heard")
    return found


def check_response(params: Json, *, model: str) -> None:
    """Accept what `response.create` asks for, whose shape was checked, on this model.

    Raises:
        Refusal: The model cannot do it.

    """
    _check_model_features(params, model, "response")


def _check_model_features(asked: Json, model: str, path: str) -> None:
    if model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-2025"):
        return
    for key in ("reasoning", "parallel_tool_calls"):
        if key in asked:
            raise Refusal("invalid_value", f"'{key}' is not supported by {model}.", f"{path}.{key}")


def _check_tool_choice(choice: object, tools: list[Json]) -> None:
    if not isinstance(choice, dict) or choice["type"] != "function":
        return
    if choice["name"] not in {tool.get("name") for tool in tools}:
        message = f"Tool choice '{choice['name']}' not found in 'tools' parameter."
        raise Refusal("invalid_value", message, "session.tool_choice")


def _check_transcription(asked: Json | None) -> None:
    path = "session.audio.input.transcription"
    only = {
        "languages": ("gpt-transcribe", "gpt-live-transcribe"),
        "keywords": ("gpt-transcribe", "gpt-live-transcribe"),
        "delay": ("gpt-realtime-whisper",),
    }
    never = {"prompt": ("gpt-4o-transcribe-diarize", "gpt-realtime-whisper")}
    for key in asked or {}:
        model = (asked or {})["model"]
        if model not in only.get(key, (model,)) or model in never.get(key, ()):
            raise Refusal("invalid_value", f"'{key}' is not supported by {model}.", f"{path}.{key}")


def _depth_exceeds(value: object, depth: int) -> bool:
    """Whether JSON is nested deeper than `depth`. By hand, not recursive: the peer chose it."""
    level: list[object] = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
