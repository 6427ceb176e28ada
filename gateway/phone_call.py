"""One real call, put together: the configuration's agent, its tools, its session, its records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import trio

from actors.call import Limits, Plan, run_call
from actors.errors import SessionRefused
from actors.exits import Exit
from actors.messages import HANGUP, CreateResponse
from actors.policy.journal import CallFacts, Observer
from actors.ports import Carrier, Session
from actors.toolbox import Toolbox
from actors.wire.openai import SessionSettings
from gateway.calls import IncomingCall, Offer
from gateway.config import AgentSettings, Config
from gateway.realtime import RealtimeSession, connect_to
from gateway.recording import WavRecorder
from gateway.store import FolderStore, call_folder

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


def session_settings(agent: AgentSettings, toolbox: Toolbox) -> SessionSettings:
    """What a session is asked to be, for this agent."""
    functions = tuple(
        {
            "type": "function",
            "name": schema.name,
            "description": schema.description,
            "parameters": schema.parameters,
        }
        for schema in toolbox.schemas()
    )
    return SessionSettings(
        instructions=agent.instructions,
        voice=agent.voice,
        tools=(*functions, HANGUP_TOOL),
        language=agent.language,
    )


def greeting(agent: AgentSettings) -> CreateResponse | None:
    """The order that makes the agent speak first, if it is to."""
    if not agent.greeting:
        return None
    words = f"{agent.instructions}\n\nThe call has just begun. Say exactly this: {agent.greeting}"
    return CreateResponse("greeting", words)


def open_session(
    config: Config, toolbox: Toolbox, incoming: IncomingCall, nursery: trio.Nursery
) -> Session:
    """Begin to connect a session in `nursery`; returns at once.

    Raises:
        SessionRefused: There is no key to connect with.

    """
    del incoming  # Which agent answers will depend on it.
    if config.openai.api_key is None:
        raise SessionRefused("no_api_key", "OPENAI_API_KEY is not set")
    session = RealtimeSession(
        connect_to(config.openai, config.agent.model), session_settings(config.agent, toolbox)
    )
    nursery.start_soon(session.run, name="session.socket")
    return session


async def take_call(
    config: Config,
    toolbox: Toolbox,
    store: FolderStore,
    offer: Offer,
    carrier: Carrier,
    *,
    observer: Observer | None = None,
) -> Exit:
    """Run an announced call on its stream, to its end and its records."""
    incoming, agent = offer.incoming, config.agent
    facts = CallFacts(
        call_sid=incoming.call_sid,
        stream_sid=offer.stream_sid or "",
        account_sid=incoming.account_sid,
        from_number=incoming.caller,
        to_number=incoming.called,
        agent="default",
        model=agent.model,
        voice=agent.voice,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    settings = session_settings(agent, toolbox)
    return await run_call(
        Plan(
            facts,
            greeting(agent),
            silence_ms=settings.silence_ms,
            padding_ms=settings.prefix_padding_ms,
            observer=observer,
        ),
        carrier,
        offer.session,
        tools=toolbox,
        recorder=WavRecorder(call_folder(store.root, incoming.call_sid) / "recording.wav"),
        store=store,
        limits=Limits(call_s=config.calls.max_call_s),
    )
