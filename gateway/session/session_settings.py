"""What an agent's settings mean to a session of the model. Pure."""

from __future__ import annotations

from typing import Any, Final, Protocol

import attrs

from actors.messages import HANGUP
from actors.toolbox import ToolSchema
from actors.wire.openai_session import SemanticVad, ServerVad, SessionSettings, ToolServer
from gateway.configuration.agents import AgentSettings
from gateway.configuration.models import reasons

HANGUP_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "name": HANGUP,
    "description": (
        "End the phone call. Say goodbye first, in the same response: the line drops as soon as "
        "the caller has heard it. If the caller speaks before that, the call goes on."
    ),
    "parameters": {
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "Why the call is over."}},
        "required": ["reason"],
        "additionalProperties": False,
    },
}

SEMANTIC_PADDING_MS: Final = 300
"""What the server takes for padding when it is not told, as with `semantic_vad`."""


class Schemas(Protocol):
    """Tools that can be shown to a model. A `Toolbox` is one."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told."""


def session_settings(
    agent: AgentSettings,
    toolbox: Schemas,
    instructions: str | None = None,
    servers: tuple[ToolServer, ...] = (),
) -> SessionSettings:
    """What a session is asked to be, for this agent.

    Args:
        agent: All of its settings that concern a session are in what is returned.
        toolbox: What the model is told of, beside `hangup`.
        instructions: The agent's, with what is woven in for this call; `None`: as they stand.
        servers: Those that the session asks by itself.

    """
    functions = tuple(
        {
            "type": "function",
            "name": schema.name,
            "description": schema.description,
            "parameters": schema.parameters,
        }
        for schema in toolbox.schemas()
        if schema.runs_at is None
    )
    return SessionSettings(
        instructions=agent.instructions if instructions is None else instructions,
        voice=agent.voice,
        tools=(*functions, HANGUP_TOOL),
        servers=servers,
        transcription_model=None if agent.transcription == "off" else agent.transcription,
        language=agent.language,
        keywords=agent.keywords,
        turn_detection=_turn_detection(agent),
        noise_reduction=None if agent.noise_reduction == "off" else agent.noise_reduction,
        speed=agent.speed,
        audio=agent.audio,
        max_output_tokens=None if agent.max_output_tokens == "inf" else agent.max_output_tokens,
        reasoning_effort=agent.reasoning_effort,
        parallel_tool_calls=agent.parallel_tool_calls,
        tool_choice=agent.tool_choice,
    )


def suited_to(settings: SessionSettings, model: str) -> SessionSettings:
    """The same for another model, without what that one is known to refuse."""
    if reasons(model) is not False:
        return settings
    return attrs.evolve(settings, reasoning_effort=None, parallel_tool_calls=None)


@attrs.frozen
class Listening:
    """What of a session's way to hear turns matters to the call."""

    silence_ms: int
    """By which the session hears later than the caller stopped, as far as anybody knows."""
    padding_ms: int
    """Audio before the caller's voice that the session counts as theirs."""
    server_interrupts: bool
    """The session cancels its response by itself when the caller speaks."""
    server_answers: bool
    """The session begins a response by itself when the caller stops."""


def listening(settings: SessionSettings) -> Listening:
    """How a session with these settings listens."""
    match settings.turn_detection:
        case None:
            return Listening(0, 0, server_interrupts=False, server_answers=False)
        case ServerVad() as vad:
            return Listening(
                vad.silence_ms,
                vad.prefix_padding_ms,
                server_interrupts=vad.interrupt_response,
                server_answers=vad.create_response,
            )
        case SemanticVad() as vad:
            return Listening(
                0,  # It waits for as long as it sees fit, and does not say how long that was.
                SEMANTIC_PADDING_MS,
                server_interrupts=vad.interrupt_response,
                server_answers=vad.create_response,
            )


def _turn_detection(agent: AgentSettings) -> ServerVad | SemanticVad | None:
    match agent.turn_detection:
        case "server_vad":
            return ServerVad(
                threshold=agent.threshold,
                prefix_padding_ms=agent.prefix_padding_ms,
                silence_ms=agent.silence_duration_ms,
                idle_timeout_ms=agent.idle_timeout_ms,
                create_response=agent.create_response,
                interrupt_response=agent.interrupt_response,
            )
        case "semantic_vad":
            return SemanticVad(agent.eagerness, agent.create_response, agent.interrupt_response)
        case "none":
            return None
