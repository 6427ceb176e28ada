"""One real call, put together: the configuration's agent, its tools, its session, its records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

import attrs
import trio

from actors.call import Limits, Plan
from actors.errors import SessionRefused
from actors.exits import Exit
from actors.messages import HANGUP, CreateResponse
from actors.policy.journal import CallFacts, Observer
from actors.ports import CallStore, Carrier, Recorder, Session, Tools
from actors.toolbox import ToolSchema
from actors.wire.openai import SessionSettings
from gateway.agents import AgentSettings
from gateway.calls import IncomingCall, Offer
from gateway.config import CallSettings, Config
from gateway.flight import FILE_NAME, FileFlight, run_recorded_call
from gateway.realtime import Connect, RealtimeSession, connect_to
from gateway.recording import WavRecorder
from gateway.store import FolderStore, call_folder
from gateway.tap import Flight

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


class Toolset(Tools, Protocol):
    """Tools that can be shown to a model. A `Toolbox` is one."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told."""


class Records(CallStore, Protocol):
    """A store that knows what it holds."""

    def has(self, call_sid: str) -> bool:
        """Whether there are records of this call, finished or not. Does not wait."""


@attrs.frozen(kw_only=True)
class Outside:
    """What a call of this gateway reaches for in the world, beside its two legs."""

    store: Records
    recorder: Callable[[str], Recorder]
    """Makes the recorder of a call, from its CallSid."""
    utc_now: Callable[[], datetime]
    flight: Callable[[str], Flight | None] = lambda _: None
    """Makes the flight log of a call, from its CallSid; `None`: it has none."""

    @classmethod
    def of(cls, config: Config) -> Outside:
        """The disk, and the clock on the wall."""
        root = config.calls.directory
        return cls(
            store=FolderStore(root),
            recorder=lambda call_sid: WavRecorder(call_folder(root, call_sid) / "recording.wav"),
            utc_now=partial(datetime.now, UTC),
            flight=partial(_flight, config.calls),
        )


def _flight(settings: CallSettings, call_sid: str) -> Flight | None:
    if settings.flight == "off":
        return None
    path = call_folder(settings.directory, call_sid) / FILE_NAME
    return FileFlight(path, with_audio=settings.flight == "audio")


def session_settings(agent: AgentSettings, toolbox: Toolset) -> SessionSettings:
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
    config: Config,
    toolbox: Toolset,
    outside: Outside,
    incoming: IncomingCall,
    nursery: trio.Nursery,
    *,
    connect: Connect | None = None,
) -> Session:
    """Begin to connect a session in `nursery`; returns at once. Its flight log begins here.

    Args:
        config: See `gateway.config`.
        toolbox: What the model is told of.
        outside: Where its flight log goes.
        incoming: The call it is for.
        nursery: Keeps its socket.
        connect: How to reach the model's server; by default as the configuration says.

    Raises:
        SessionRefused: There is no key to connect with.

    """
    if config.openai.api_key is None:
        raise SessionRefused("no_api_key", "OPENAI_API_KEY is not set")
    agent = incoming.agent.settings
    session = RealtimeSession(
        connect or connect_to(config.openai, agent.model),
        session_settings(agent, toolbox),
        flight=outside.flight(incoming.call_sid),
    )
    if session.flight is not None:
        nursery.start_soon(session.flight.run, name="session.flight")
    nursery.start_soon(session.run, name="session.socket")
    return session


async def take_call(
    config: Config,
    toolbox: Toolset,
    outside: Outside,
    offer: Offer,
    carrier: Carrier,
    *,
    observer: Observer | None = None,
) -> Exit:
    """Run an announced call on its stream, to its end and its records."""
    incoming, agent = offer.incoming, offer.incoming.agent.settings
    facts = CallFacts(
        call_sid=incoming.call_sid,
        stream_sid=offer.stream_sid or "",
        account_sid=incoming.account_sid,
        from_number=incoming.caller,
        to_number=incoming.called,
        agent=incoming.agent.name,
        model=agent.model,
        voice=agent.voice,
        started_at=outside.utc_now().isoformat(timespec="milliseconds"),
    )
    settings = session_settings(agent, toolbox)
    return await run_recorded_call(
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
        recorder=outside.recorder(incoming.call_sid),
        store=outside.store,
        limits=Limits(call_s=config.calls.max_call_s),
    )
