"""What an OpenAI Realtime (GA) session is asked to be, and the updates that ask it.

Pure: no trio, no sockets, no clock.
Source: "Realtime API: session.update", OpenAI docs; `openai` 3.51 `types/realtime`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs
import orjson

from actors.messages import ChangeSession

AudioFormat = Literal["g711_ulaw", "g711_alaw", "pcm16"]

FORMATS: Final[dict[AudioFormat, dict[str, Any]]] = {
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "pcm16": {"type": "audio/pcm", "rate": 24000},
}
"""G.711 is 8 kHz by definition, and `rate` must be absent; with PCM it must be there."""

CUSTOM_VOICE: Final = "voice_"
"""How the id of a voice begins that somebody had made; every other voice is a name."""

CHOICES: Final = ("auto", "none", "required")
"""What `tool_choice` may be, when it is not the name of a function."""


@attrs.frozen
class ServerVad:
    """The session hears turns by energy. All of it is sent: the defaults of servers vary."""

    threshold: float = 0.5
    """0.0 to 1.0: how loud a voice has to be."""
    prefix_padding_ms: int = 300
    silence_ms: int = 500
    """The docs say 500 is the default; live sessions showed 200."""
    idle_timeout_ms: int | None = None
    """After this much silence the session makes the model speak again. `None`: never."""
    create_response: bool = True
    interrupt_response: bool = True
    type: Literal["server_vad"] = "server_vad"


@attrs.frozen
class SemanticVad:
    """The session hears turns by their meaning: it waits longer in the middle of a sentence."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True
    type: Literal["semantic_vad"] = "semantic_vad"


HIDDEN: Final = "hidden"
"""In place of what is a secret."""


@attrs.frozen
class ToolServer:
    """A server that speaks MCP, and that the session asks by itself."""

    label: str
    url: str = attrs.field(repr=False)
    """A key may be in it."""
    low: tuple[str, ...]
    """Tools that are run without asking us."""
    high: tuple[str, ...]
    """Those that need our leave each time. There are no others."""
    description: str = ""
    authorization: str | None = attrs.field(default=None, repr=False)
    """A bearer token."""
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class SessionSettings:
    """What a session is asked to be. What has a dangerous default is sent explicitly."""

    instructions: str
    voice: str = "marin"
    """A name, or the id of a custom voice."""
    tools: tuple[dict[str, Any], ...] = ()
    """Flat function tools: `type`, `name`, `description`, `parameters`, and nothing else."""
    servers: tuple[ToolServer, ...] = attrs.field(default=(), kw_only=True)
    transcription_model: str | None = "gpt-transcribe"
    """`None`: no transcript of the caller."""
    language: str | None = None
    """ISO-639-1, for the transcription."""
    keywords: tuple[str, ...] = ()
    """For the transcription; only `gpt-transcribe` and `gpt-live-transcribe` take them."""
    turn_detection: ServerVad | SemanticVad | None = attrs.field(factory=ServerVad)
    """`None`: a turn of the caller ends with `CommitAudio`, and is answered when that is asked."""
    noise_reduction: Literal["near_field", "far_field"] | None = None
    speed: float = 1.0
    """0.25 to 1.5."""
    audio: AudioFormat = "g711_ulaw"
    """Both ways."""
    max_output_tokens: int | None = None
    """1 to 4096, of one response. `None`: as many as it wants."""
    reasoning_effort: str | None = None
    """Only models that reason take it; `None` says nothing of it. The same is true of the next."""
    parallel_tool_calls: bool | None = None
    tool_choice: str = "auto"
    """One of `CHOICES`, or the name of the function that has to be called."""


def encode_update(settings: SessionSettings) -> str:
    """Write the `session.update` that makes a session ours, both formats always included.

    A format left out of an update that touches `audio` falls back to 24 kHz PCM: noise on a phone
    (openai-agents-js#1366).
    """
    audio_format = FORMATS[settings.audio]
    noise = settings.noise_reduction
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": settings.instructions,
        "audio": {
            "input": {
                "format": audio_format,
                "noise_reduction": None if noise is None else {"type": noise},
                "transcription": _transcription(settings),
                "turn_detection": _turn_detection(settings.turn_detection),
            },
            "output": {
                "format": audio_format,
                "voice": _voice(settings.voice),
                "speed": settings.speed,
            },
        },
        "tools": [*settings.tools, *(_server(server) for server in settings.servers)],
        "tool_choice": _tool_choice(settings.tool_choice),
        "max_output_tokens": settings.max_output_tokens or "inf",
    }
    # A model that does not reason refuses the whole update for either of these.
    if settings.reasoning_effort is not None:
        session["reasoning"] = {"effort": settings.reasoning_effort}
    if settings.parallel_tool_calls is not None:
        session["parallel_tool_calls"] = settings.parallel_tool_calls
    return _update(session)


def without_secrets(settings: SessionSettings) -> SessionSettings:
    """The same, as it may be written down."""
    return attrs.evolve(settings, servers=tuple(_hidden(server) for server in settings.servers))


def secrets_of(settings: SessionSettings) -> tuple[str, ...]:
    """What nobody but the session's server may see."""
    return tuple(
        secret
        for server in settings.servers
        for secret in (server.url, server.authorization, *(value for _, value in server.headers))
        if secret
    )


def changed(settings: SessionSettings, order: ChangeSession) -> SessionSettings:
    """What a session is, once it was told to change."""
    instructions, language = order.instructions, order.language
    return attrs.evolve(
        settings,
        instructions=settings.instructions if instructions is None else instructions,
        language=settings.language if language is None else language,
    )


def encode_change(settings: SessionSettings, order: ChangeSession) -> str:
    """Write the `session.update` for an order to change.

    Nothing is in it that need not be. Whoever touches `audio` has to say both formats, and the
    objects in it whole; the voice is left out: once it was heard, no session takes it again.

    Args:
        settings: Of the session, with the change in it: see `changed`.
        order: What is to change.

    """
    session: dict[str, Any] = {"type": "realtime"}
    if order.instructions is not None:
        session["instructions"] = order.instructions
    # Without a recogniser there is nobody to tell the language to.
    if order.language is not None and settings.transcription_model is not None:
        audio_format = FORMATS[settings.audio]
        transcription = _transcription(settings)
        session["audio"] = {
            "input": {"format": audio_format, "transcription": transcription},
            "output": {"format": audio_format},
        }
    return _update(session)


def _server(server: ToolServer) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "type": "mcp",
        "server_label": server.label,
        "server_url": server.url,
        "allowed_tools": [*server.low, *server.high],
        "require_approval": "always",
    }
    if server.description:
        tool["server_description"] = server.description
    if server.authorization is not None:
        tool["authorization"] = server.authorization
    if server.headers:
        tool["headers"] = dict(server.headers)
    if server.low:
        tool["require_approval"] = {"never": {"tool_names": list(server.low)}}
        if server.high:
            tool["require_approval"]["always"] = {"tool_names": list(server.high)}
    return tool


def _hidden(server: ToolServer) -> ToolServer:
    return attrs.evolve(
        server,
        url=HIDDEN,
        authorization=None if server.authorization is None else HIDDEN,
        headers=tuple((name, HIDDEN) for name, _ in server.headers),
    )


def _update(session: dict[str, Any]) -> str:
    return orjson.dumps({"type": "session.update", "session": session}).decode()


def _transcription(settings: SessionSettings) -> dict[str, Any] | None:
    if settings.transcription_model is None:
        return None
    transcription: dict[str, Any] = {"model": settings.transcription_model}
    if settings.language is not None:
        transcription["language"] = settings.language
    if settings.keywords:
        transcription["keywords"] = list(settings.keywords)
    return transcription


def _turn_detection(detection: ServerVad | SemanticVad | None) -> dict[str, Any] | None:
    match detection:
        case None:
            return None
        case ServerVad():
            return {
                "type": detection.type,
                "threshold": detection.threshold,
                "prefix_padding_ms": detection.prefix_padding_ms,
                "silence_duration_ms": detection.silence_ms,
                "idle_timeout_ms": detection.idle_timeout_ms,
                "create_response": detection.create_response,
                "interrupt_response": detection.interrupt_response,
            }
        case SemanticVad():
            return {
                "type": detection.type,
                "eagerness": detection.eagerness,
                "create_response": detection.create_response,
                "interrupt_response": detection.interrupt_response,
            }


def _voice(voice: str) -> str | dict[str, str]:
    return {"id": voice} if voice.startswith(CUSTOM_VOICE) else voice


def _tool_choice(choice: str) -> str | dict[str, str]:
    return choice if choice in CHOICES else {"type": "function", "name": choice}
