"""One real call, put together: the configuration's agent, its tools, its session, its records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import attrs
import trio

from actors.call import Limits, Plan
from actors.errors import SessionRefused
from actors.exits import Exit
from actors.messages import CreateResponse
from actors.policy.journal import CallFacts, Observer
from actors.policy.manners import Manners
from actors.ports import CallStore, Carrier, Recorder, Session, Voice
from actors.wire.openai_session import SessionSettings
from gateway.calls import IncomingCall, Offer
from gateway.configuration.agents import AgentSettings, instructions_for
from gateway.configuration.config import CallSettings, Config, OpenAISettings
from gateway.configuration.tool_rules import decided
from gateway.mcp.model_tools import tool_servers
from gateway.permission import audit_log
from gateway.permission.audit_log import AuditLog, MemoryAudit, SqliteAudit
from gateway.permission.caps import FILE_NAME as FILE_OF_SPENDING
from gateway.permission.caps import FileSpending, MemorySpending, Spending
from gateway.permission.effects import Effects
from gateway.permission.guarding import guarded
from gateway.records.flight import FILE_NAME, FileFlight, run_recorded_call
from gateway.records.recording import WavRecorder
from gateway.records.store import FolderStore, call_folder
from gateway.records.tap import Flight, Sessions
from gateway.session.filler import TONE_WORDS, Lines, tone
from gateway.session.lasting import LastingSession, Which
from gateway.session.realtime import Connect, RealtimeSession, connect_to
from gateway.session.session_settings import listening, session_settings, suited_to
from gateway.session.speaking import Voices
from gateway.tools.means import Means
from gateway.tools.outgoing_task import OPENING, with_task
from gateway.tools.toolset import Toolset, tools_of
from gateway.twilio.outgoing_end import KeepOutgoing, keep_ends_in_folders, keep_no_ends

TOLD_S: Final = 10.0
"""For telling whoever was called that the longest length is reached."""


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
    line: Callable[[AgentSettings], bytes | None] = lambda _: None
    """The audio of an agent's filler, mu-law; `None`: it is not rendered, and tones do instead."""
    prepare: Callable[[AgentSettings, Connect], Awaitable[None]] | None = None
    """Renders it, beside a call of this agent; `None`: nobody does."""
    voice: Callable[[AgentSettings, Connect], Voice] | None = None
    """Makes the gateway's own voice in a call of this agent; `None`: it has none."""
    spending: Spending = attrs.field(factory=MemorySpending)
    """What calls and messages that go out have cost."""
    means: Callable[[Means], Means] = lambda means: means
    """What tools reach the world by, where it is not what the configuration names."""
    keep_outgoing: KeepOutgoing = keep_no_ends
    """Where it is noted how calls ended that were placed."""
    audit: AuditLog = attrs.field(
        default=attrs.Factory(lambda self: MemoryAudit(self.utc_now), takes_self=True)
    )
    """Where decisions about tools are written down; by default only for as long as this lasts."""

    @classmethod
    def of(cls, config: Config) -> Outside:
        """The disk, and the clock on the wall."""
        root = config.calls.directory
        lines = Lines(root / "lines")
        utc_now = partial(datetime.now, UTC)
        return cls(
            store=FolderStore(root),
            recorder=lambda call_sid: WavRecorder(call_folder(root, call_sid) / "recording.wav"),
            utc_now=utc_now,
            flight=partial(_flight, config.calls),
            line=lines.of,
            # A model that is reached without TLS is on this machine: a rehearsal's, and no voice.
            prepare=lines.prepare if config.openai.realtime_url.startswith("wss:") else None,
            voice=Voices().of,
            spending=FileSpending(root / FILE_OF_SPENDING),
            keep_outgoing=keep_ends_in_folders(root),
            audit=SqliteAudit(root / audit_log.FILE_NAME, utc_now),
        )


def _flight(settings: CallSettings, call_sid: str) -> Flight | None:
    if settings.flight == "off":
        return None
    path = call_folder(settings.directory, call_sid) / FILE_NAME
    return FileFlight(path, with_audio=settings.flight == "audio")


def greeting(
    agent: AgentSettings, instructions: str | None = None, *, placed: bool = False
) -> CreateResponse | None:
    """The order that makes the agent speak first, if it is to.

    Args:
        agent: Who speaks.
        instructions: Theirs for this call; `None`: as the settings have them.
        placed: Whether it is the agent who called. Whoever calls speaks first.

    """
    if placed:
        known = agent.instructions if instructions is None else instructions
        return CreateResponse("greeting", f"{known}\n\n{OPENING}")
    match agent.opening:
        case "line" if agent.greeting:
            task = f"Say exactly this: {agent.greeting}"
        case "model":
            task = "Greet the caller in one short sentence, and ask what you can do for them."
        case _:
            return None
    known = agent.instructions if instructions is None else instructions
    return CreateResponse("greeting", f"{known}\n\nThe call has just begun. {task}")


def instructions_of(outside: Outside, incoming: IncomingCall) -> str:
    """What the agent of this call is told: with today's date and the number at the other end."""
    other = incoming.called if incoming.direction == "outbound" else incoming.caller
    told = instructions_for(incoming.agent.settings, other, outside.utc_now().date())
    if incoming.placed is None:
        return told
    return with_task(told, to=incoming.placed.to, task=incoming.placed.task)


def longest_s(config: Config, incoming: IncomingCall) -> float:
    """How long this call may last."""
    usual_s = incoming.agent.settings.max_call_s or config.calls.max_call_s
    if incoming.placed is None:
        return usual_s
    # The carrier ends it then, in the middle of a word: a little before, we say that it is over.
    carrier_s = incoming.placed.longest_s
    return min(usual_s, max(carrier_s - TOLD_S, carrier_s / 2))


def manners_of(agent: AgentSettings) -> Manners:
    """What is done in a call of this agent about keys, silence, and the limits."""
    return Manners(
        tells_keys=agent.keypad,
        hash_ends_turn=agent.turn_detection == "none",
        language=agent.language,
        key_tones=agent.key_tones,
        tool_filler=agent.tool_filler,
        tool_filler_after_s=agent.tool_filler_after_s,
        greeting_interruptible=agent.greeting_interruptible,
        max_silence_s=agent.max_silence_s,
        wrap_up_s=agent.wrap_up_s,
        max_cost_usd=agent.max_cost_usd,
    )


def _without_tools(agent: AgentSettings) -> Manners:
    """Likewise, where no tool can be slow: nobody need render the line for it."""
    return attrs.evolve(manners_of(agent), tool_filler=None)


def open_session(
    config: Config,
    toolbox: Toolset,
    outside: Outside,
    incoming: IncomingCall,
    nursery: trio.Nursery,
    *,
    connect_for: Callable[[str], Connect] | None = None,
    means: Means | None = None,
) -> LastingSession:
    """Begin to connect a session in `nursery`; returns at once. Its flight log begins here.

    Args:
        config: See `gateway.configuration.config`.
        toolbox: What the model is told of.
        outside: Where its flight log goes.
        incoming: The call it is for.
        nursery: Keeps its sockets.
        connect_for: How to reach a model, by its name; by default as the configuration says.
        means: What its tools reach the world by.

    Raises:
        SessionRefused: There is no key to connect with.

    """
    if config.openai.api_key is None:
        raise SessionRefused("no_api_key", "OPENAI_API_KEY is not set")
    agent, toolbox = incoming.agent.settings, tools_of(incoming.agent, toolbox, means)
    ways = {"first": (agent.model, config.openai), "fallback": _fallback(agent, config.openai)}
    flight = outside.flight(incoming.call_sid)

    def connect(which: Which) -> Connect:
        model, server = ways[which]
        return connect_for(model) if connect_for is not None else connect_to(server, model)

    flights = Sessions(flight)

    def open_one(settings: SessionSettings, which: Which) -> RealtimeSession:
        suited = suited_to(settings, ways[which][0])
        return RealtimeSession(connect(which), suited, flight=flights.next())

    session = LastingSession(
        open_one=open_one,
        settings=session_settings(
            agent,
            toolbox,
            instructions_of(outside, incoming),
            tool_servers(incoming.agent.mcp, toolbox.schemas(), decided(config.policy)),
        ),
        fallback_model=ways["fallback"][0] if ways["fallback"] != ways["first"] else None,
        line=partial(_line, outside, agent),
        wall_s=lambda: outside.utc_now().timestamp(),
        flight=flight,
    )
    if flight is not None:
        nursery.start_soon(flight.run, name="session.flight")
    nursery.start_soon(session.run, name="session")
    if outside.prepare is not None and agent.filler:
        nursery.start_soon(outside.prepare, agent, connect("first"), name="session.filler")
    return session


def _fallback(agent: AgentSettings, first: OpenAISettings) -> tuple[str, OpenAISettings]:
    """The model that answers when an agent's own cannot be had, and where it is."""
    url = agent.fallback_url or first.realtime_url
    key = agent.fallback_api_key or first.api_key
    server = attrs.evolve(first, realtime_url=url, api_key=key)
    return agent.fallback_model or agent.model, server


def _line(outside: Outside, agent: AgentSettings) -> tuple[bytes, str] | None:
    """What is said while a lost session is replaced, and its words; `None`: nothing."""
    if agent.filler is None:
        return None
    ulaw = outside.line(agent)
    return (tone(), TONE_WORDS) if ulaw is None else (ulaw, agent.filler)


def _observer(session: Session, observer: Observer | None) -> Observer | None:
    """Whoever is told what happens in a call: a session that lasts has to know, too."""
    if not isinstance(session, LastingSession):
        return observer
    return _both(session.memory.note, observer)


def _both(memory: Observer, observer: Observer | None) -> Observer:
    """An observer that tells two. What the second raises is not the first one's affair."""
    if observer is None:
        return memory

    def tell(at_ms: int, message: object) -> None:
        nonlocal observer
        memory(at_ms, message)
        if observer is not None:
            try:
                observer(at_ms, message)
            except Exception:  # noqa: BLE001 - somebody looks on; that must not hurt the call.
                observer = None

    return tell


async def take_call(
    config: Config,
    toolbox: Toolset,
    outside: Outside,
    offer: Offer,
    carrier: Carrier,
    *,
    observer: Observer | None = None,
    means: Means | None = None,
    effects: Effects | None = None,
) -> Exit:
    """Run an announced call on its stream, to its end and its records.

    Its tools reach the world by `means`; what they do is done in `effects`, or in the call itself
    if there are none.
    """
    incoming, agent = offer.incoming, offer.incoming.agent.settings
    toolbox = tools_of(incoming.agent, toolbox, means)
    facts = CallFacts(
        call_sid=incoming.call_sid,
        stream_sid=offer.stream_sid or "",
        account_sid=incoming.account_sid,
        from_number=incoming.caller,
        to_number=incoming.called,
        agent=incoming.agent.name,
        agent_version=incoming.agent.version,
        direction=incoming.direction,
        task=None if incoming.placed is None else incoming.placed.task,
        placed_by=None if incoming.placed is None else incoming.placed.placed_by,
        model=agent.model,
        voice=agent.voice,
        started_at=outside.utc_now().isoformat(timespec="milliseconds"),
    )
    hears = listening(session_settings(agent, toolbox))
    voice = None
    if outside.voice is not None:
        voice = outside.voice(agent, connect_to(config.openai, agent.model))
    guard = guarded(toolbox, config, incoming, outside.audit, outside.utc_now, effects=effects)
    return await run_recorded_call(
        Plan(
            facts,
            greeting(agent, instructions_of(outside, incoming), placed=incoming.placed is not None),
            silence_ms=hears.silence_ms,
            padding_ms=hears.padding_ms,
            server_interrupts=hears.server_interrupts,
            server_answers=hears.server_answers,
            observer=_observer(offer.session, observer),
            manners=manners_of(agent) if toolbox.schemas() else _without_tools(agent),
        ),
        carrier,
        offer.session,
        tools=guard,
        recorder=outside.recorder(incoming.call_sid),
        store=outside.store,
        limits=Limits(call_s=longest_s(config, incoming)),
        voice=voice,
        ran_unasked=guard.ran_unasked,
    )
