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
from actors.policy.record import CallRecord
from actors.ports import Recorder
from actors.toolbox import Toolbox
from gateway.config import AgentSettings
from gateway.flight import run_recorded_call
from gateway.lab.line import RehearsalLine
from gateway.lab.memory_line import ConnectionClosed, Delay, MemorySocket, memory_line
from gateway.lab.model import RehearsalModel
from gateway.lab.model_line import serve_session
from gateway.lab.run_line import run_line
from gateway.lab.scenario import Scenario
from gateway.media import TwilioCarrier
from gateway.phone_call import session_settings
from gateway.realtime import RealtimeSession, Use
from gateway.recording import MemoryRecorder
from gateway.store import MemoryStore
from gateway.tap import Flight

CALL_SID = "CA00000000000000000000000000000001"
ACCOUNT_SID = "AC00000000000000000000000000000001"
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

    """

    scenario: Scenario
    voice: Callable[[str], bytes]
    toolbox: Toolbox = attrs.field(factory=Toolbox)
    greet: bool = True
    delays: Delays = attrs.field(factory=Delays)
    limits: Limits = attrs.field(factory=Limits)
    seed: int = 0
    recorder: Recorder = attrs.field(factory=MemoryRecorder)
    observer: Observer | None = None
    flight: Flight | None = None
    """The call's flight log; one with a `run` of its own has to be run by whoever gives it."""

    line: RehearsalLine = attrs.field(init=False)
    model: RehearsalModel = attrs.field(init=False)
    session: RealtimeSession = attrs.field(init=False)
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
        self.model = RehearsalModel(
            self.scenario.model,
            voice=self.voice,
            seed=self.seed,
            caller_lines=self.scenario.caller_lines(),
        )
        settings = session_settings(AgentSettings(), self.toolbox)
        self.session = RealtimeSession(self._connect, settings, flight=self.flight)

    @property
    def record(self) -> CallRecord:
        """The one end record."""
        (record,) = self.store.records
        return record

    async def run(self) -> Exit:
        """Place the call and see it through. Cancellable; nothing keeps running."""
        self.phone_end, self.carrier_end = memory_line(
            up_ms=self.delays.phone_up_ms, down_ms=self.delays.phone_down_ms
        )
        async with trio.open_nursery() as world:
            self._world = world
            world.start_soon(self._phone)
            async with trio.open_nursery() as call:
                call.start_soon(self.session.run)
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
        self.began = True
        self._returned = await run_recorded_call(
            Plan(facts, greeting, observer=self.observer),
            carrier,
            self.session,
            tools=self.toolbox,
            recorder=self.recorder,
            store=self.store,
            limits=self.limits,
        )

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
        self.model_end = server
        self.connections += 1
        self.open_sockets += 1
        self._world.start_soon(serve_session, self.model, server)
        try:
            await use(client)
        finally:
            client.abort()
            self.open_sockets -= 1


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
