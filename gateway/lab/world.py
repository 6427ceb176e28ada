"""One whole call in one task tree and one virtual time: phone, network, gateway, network, model.

Everything between the two memory lines is the product as it is served: only the sockets, the
threads and the disk are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actors.call import Limits, Plan
from actors.exits import Exit
from actors.messages import CreateResponse
from actors.policy.journal import CallFacts, Observer
from actors.policy.manners import Manners
from actors.policy.record import CallRecord
from actors.ports import Recorder, Voice
from actors.toolbox import Toolbox
from actors.wire.openai_session import SessionSettings
from gateway.configuration.agents import AgentSettings
from gateway.lab.memory_line import ConnectionClosed, Delay, MemorySocket, memory_line
from gateway.lab.memory_voice import MemoryVoice
from gateway.lab.openai.model import LIFETIME_MS, RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.openai.progress import Progress
from gateway.lab.openai.unfinished import Unfinished
from gateway.lab.rehearsing.scenario import ModelScript, Scenario
from gateway.lab.twilio.line import RehearsalLine
from gateway.lab.twilio.run_line import run_line
from gateway.records.flight import run_recorded_call
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from gateway.records.tap import Flight, Sessions
from gateway.session.lasting import Bounds, LastingSession, Which
from gateway.session.realtime import RealtimeSession, Use
from gateway.session.session_settings import listening, session_settings
from gateway.tools.toolset import Toolset
from gateway.twilio.media import TwilioCarrier
from gateway.web.client_socket import CannotOpen

CALL_SID = "CA00000000000000000000000000000001"
ACCOUNT_SID = "AC00000000000000000000000000000001"
WALL_S = 1_800_000_000
"""Unix time at which trio's clock showed nothing."""
STREAM_SID = "MZ00000000000000000000000000000001"


@attrs.frozen
class Delays:
    """One-way times of both networks, in ms, or something to draw them from."""

    phone_up_ms: Delay = 40
    phone_down_ms: Delay = 40
    model_up_ms: Delay = 20
    model_down_ms: Delay = 20


@attrs.define(eq=False)
class World:
    """Everybody on one call. Make one, `run` it once, then look at what became of everybody.

    Args:
        scenario: What the model and the caller do.
        voice: Words to mu-law, for both of them.
        toolbox: The agent's functions.
        greet: Whether the agent speaks first.
        delays: See `Delays`.
        limits: The call's bounds.
        seed: For everything the model draws.
        agent: What the session is asked to be.
        manners: What is done about keys, silence, and the limits.

    """

    scenario: Scenario
    voice: Callable[[str], bytes]
    toolbox: Toolset = attrs.field(factory=Toolbox)
    greet: bool = True
    delays: Delays = attrs.field(factory=Delays)
    limits: Limits = attrs.field(factory=Limits)
    seed: int = 0
    speaks: Voice | None = attrs.field(
        default=attrs.Factory(lambda world: MemoryVoice(world.voice), takes_self=True)
    )
    """The gateway's own voice."""
    recorder: Recorder = attrs.field(factory=MemoryRecorder)
    observer: Observer | None = None
    flight: Flight | None = None
    """The call's flight log; one with a `run` of its own has to be run by whoever gives it."""
    agent: AgentSettings = attrs.field(factory=AgentSettings)
    manners: Manners = attrs.field(factory=Manners)
    server_confirms: bool = True
    """See `Plan`."""
    bounds: Bounds | None = None
    dead: frozenset[int] = frozenset()
    dies_after: int | None = None
    dies_always: bool = False
    falls_silent: bool = False

    line: RehearsalLine = attrs.field(init=False)
    model: RehearsalModel = attrs.field(init=False)
    """The first that was connected to."""
    models: list[RehearsalModel] = attrs.field(factory=list[RehearsalModel], init=False)
    """All that were."""
    session: RealtimeSession = attrs.field(init=False)
    lasting: LastingSession | None = attrs.field(default=None, init=False)
    """What the call has in place of `session`, with `bounds`."""
    store: MemoryStore = attrs.field(factory=MemoryStore)
    phone_end: MemorySocket = attrs.field(init=False)
    """The phone's end of its line; closing it is a phone network that broke."""
    carrier_end: MemorySocket = attrs.field(init=False)
    model_end: MemorySocket | None = attrs.field(default=None, init=False)
    """The model's end of its line, once connected."""
    connections: int = attrs.field(default=0, init=False)
    open_sockets: int = attrs.field(default=0, init=False)
    """Sockets to the model that the gateway holds at this moment."""
    call_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    began: bool = attrs.field(default=False, init=False)
    """The stream was introduced, and the call runs."""
    ended_s: float | None = attrs.field(default=None, init=False)
    """On trio's clock: when the call was over and nothing of it was left."""

    swallows_frames: bool = attrs.field(default=False, init=False)
    """While true, nothing of what the phone sends arrives."""
    loses_marks: bool = attrs.field(default=False, init=False)
    """While true, no mark reaches the phone, and none is echoed."""
    mortals: list[_Mortal] = attrs.field(factory=list["_Mortal"], init=False)
    """The models' ends of all lines that there were."""
    opened: list[Which] = attrs.field(factory=list[Which], init=False)
    """Which of the agent's models was asked for, each time."""
    _progress: Progress = attrs.field(init=False)
    _script: ModelScript = attrs.field(init=False)
    _flights: Sessions = attrs.field(init=False)
    _began_s: float = attrs.field(default=0.0, init=False)
    _world: trio.Nursery = attrs.field(init=False)
    _returned: Exit | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.line = RehearsalLine(
            steps=self.scenario.caller,
            call_sid=CALL_SID,
            account_sid=ACCOUNT_SID,
            stream_sid=STREAM_SID,
            voice=self.voice,
        )
        self._progress, self._script = Progress(), self.scenario.model
        self.model = self._new_model()
        settings = session_settings(self.agent, self.toolbox)
        self.session = RealtimeSession(self._connect, settings, flight=self.flight)
        self._flights = Sessions(self.flight)
        if self.bounds is None:
            return
        words = self.agent.filler
        self.lasting = LastingSession(
            open_one=self._open_one,
            settings=settings,
            fallback_model=self.agent.fallback_model,
            line=lambda: None if words is None else (self.voice(words), words),
            wall_s=self._wall_s,
            bounds=self.bounds,
            flight=self.flight,
        )

    def _open_one(self, settings: SessionSettings, which: Which) -> RealtimeSession:
        self.opened.append(which)
        return RealtimeSession(self._connect, settings, flight=self._flights.next())

    def _wall_s(self) -> float:
        return WALL_S + trio.current_time() - self._began_s

    def _new_model(self, at_s: float = WALL_S) -> RehearsalModel:
        number, session_s = len(self.models), self._script.session_s
        if self.mortals:
            self._script = self.mortals[-1].unfinished.rest_of(self._script)
        model = RehearsalModel(
            self._script,
            voice=self.voice,
            seed=self.seed + number,
            caller_lines=self.scenario.caller_lines(),
            progress=self._progress,
            started_at_s=int(at_s),
            lifetime_ms=LIFETIME_MS if session_s is None else int(session_s * 1000),
        )
        self.models.append(model)
        return model

    @property
    def record(self) -> CallRecord:
        """The one end record."""
        (record,) = self.store.records
        return record

    async def run(self) -> Exit:
        """Place the call and see it through. Cancellable; nothing keeps running."""
        self._began_s = trio.current_time()
        self.phone_end, self.carrier_end = memory_line(
            up_ms=self.delays.phone_up_ms, down_ms=self.delays.phone_down_ms
        )
        async with trio.open_nursery() as world:
            self._world = world
            world.start_soon(self._phone)
            async with trio.open_nursery() as call:
                call.start_soon((self.lasting or self.session).run)
                with self.call_scope:
                    await self._call()
            self.ended_s = trio.current_time()
            await self.carrier_end.aclose()
            await trio.sleep(1)  # The phone learns of it, and its last messages arrive nowhere.
            world.cancel_scope.cancel()
        # A call that was cancelled returns nothing, and yet has an ending.
        return self._returned or self.record.ending

    async def _call(self) -> None:
        """The gateway's part, from the opened stream to the end record."""
        carrier = TwilioCarrier(
            lambda: _asgi_receive(self.carrier_end),
            lambda message: _asgi_send(self.carrier_end, message),
        )
        start = await carrier.introduce()
        facts = CallFacts(
            call_sid=start.call_sid,
            stream_sid=start.stream_sid,
            account_sid=start.account_sid,
            from_number="+15550001111",
            to_number="+15550002222",
            agent="rehearsal",
            model=self.model.model,
            voice="marin",
            started_at="2026-01-01T00:00:00.000+00:00",
        )
        greeting = CreateResponse("greeting") if self.greet else None
        hears = listening(session_settings(self.agent, self.toolbox))
        self.began = True
        self._returned = await run_recorded_call(
            Plan(
                facts,
                greeting,
                silence_ms=hears.silence_ms,
                padding_ms=hears.padding_ms,
                server_interrupts=hears.server_interrupts,
                server_answers=hears.server_answers,
                server_confirms=self.server_confirms,
                observer=self._observe,
                manners=self.manners,
            ),
            carrier,
            self.lasting or self.session,
            tools=self.toolbox,
            recorder=self.recorder,
            store=self.store,
            limits=self.limits,
            voice=self.speaks,
        )

    def _observe(self, at_ms: int, message: object) -> None:
        if self.lasting is not None:
            self.lasting.memory.note(at_ms, message)
        if self.observer is not None:
            self.observer(at_ms, message)

    async def _phone(self) -> None:
        async def receive() -> str | bytes:
            try:
                while True:
                    frame = await self.phone_end.get_message()
                    if not (self.loses_marks and '"event":"mark"' in str(frame)):
                        return frame
            except ConnectionClosed:
                raise trio.EndOfChannel from None

        async def send(text: str) -> None:
            if self.swallows_frames:
                await trio.lowlevel.checkpoint()
                return
            try:
                await self.phone_end.send_message(text)
            except ConnectionClosed:
                raise trio.BrokenResourceError from None

        await run_line(self.line, send, receive)
        await self.phone_end.aclose()

    async def _connect(self, use: Use) -> None:
        """The gateway's way to the model: a line of memory with a model at its other end."""
        client, server = memory_line(
            up_ms=self.delays.model_up_ms, down_ms=self.delays.model_down_ms
        )
        self.connections += 1
        if self.connections in self.dead:
            raise CannotOpen("nobody answers", None)
        self.model_end = server
        self.open_sockets += 1
        is_first = self.bounds is None or self.connections == 1
        model = self.model if is_first else self._new_model(self._wall_s())
        dies_after = self.dies_after if self.connections == 1 or self.dies_always else None
        mortal = _Mortal(server, Unfinished(self._progress), dies_after, self.falls_silent)
        self.mortals.append(mortal)
        self._world.start_soon(serve_session, model, mortal)
        try:
            await use(client if self.bounds is None else _Near(client, mortal))
        finally:
            client.abort()
            self.open_sockets -= 1


@attrs.define(eq=False)
class _Near:
    """The gateway's end of a line to a model: no ping is answered where everything is swallowed."""

    socket: MemorySocket
    mortal: _Mortal

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        await self.socket.send_message(message)

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        return await self.socket.get_message()

    async def ping(self) -> None:
        """See `MemorySocket`."""
        if self.mortal.swallows:
            await trio.sleep_forever()
        await self.socket.ping()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        await self.socket.aclose(code, reason)


@attrs.define(eq=False)
class _Mortal:
    """The model's end of its line, which breaks behind one of its frames."""

    socket: MemorySocket
    unfinished: Unfinished
    dies_after: int | None = None
    falls_silent: bool = False
    swallows: bool = False
    """Nothing arrives in either direction from here on, and no ping is answered."""
    frames: int = 0
    """Sent so far."""
    died_s: float | None = None
    """On trio's clock."""

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        if self.swallows or (self.falls_silent and self.died_s is not None):
            await trio.lowlevel.checkpoint()
            return
        self.unfinished.speaks(message)
        await self.socket.send_message(message)
        self.frames += 1
        if self.frames == self.dies_after:
            self.died_s = trio.current_time()
            if not self.falls_silent:
                self.socket.abort()

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        message = await self.socket.get_message()
        while self.swallows:
            message = await self.socket.get_message()
        return message

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        await self.socket.aclose(code, reason)


async def _asgi_receive(socket: MemorySocket) -> dict[str, Any]:
    """What a server of ASGI makes of a WebSocket's next message."""
    try:
        frame = await socket.get_message()
    except ConnectionClosed as closed:
        code = closed.reason.code if closed.reason is not None else 1006
        return {"type": "websocket.disconnect", "code": code}
    key = "text" if isinstance(frame, str) else "bytes"
    return {"type": "websocket.receive", key: frame}


async def _asgi_send(socket: MemorySocket, message: dict[str, Any]) -> None:
    """What it makes of a message to be sent; to a peer that left, nothing."""
    try:
        if message["type"] == "websocket.close":
            await socket.aclose(message["code"])
        else:
            await socket.send_message(message["text"])
    except ConnectionClosed:
        return
