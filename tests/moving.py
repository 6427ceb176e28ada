"""A gateway in memory, Twilio's phone and its REST interface: all in one virtual time.

Rules of the tests that use this: a call is run by what the test hands over, so that every fact is
seen; the phone and the REST interface are the rehearsal's own, which refuse what Twilio refuses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

import attrs
import httpx
import trio
from quart_trio import QuartTrio
from structlog.testing import capture_logs

from actors.errors import CarrierRefused, PeerGone
from actors.exits import AgentHungUp, CallerHungUp, Exit, PeerLost
from actors.messages import CallerAudio, CarrierFact, StreamStopped
from actors.ports import Carrier, Session
from gateway.app import create_app
from gateway.calls import Calls, IncomingCall, Offer
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import (
    CallSettings,
    Config,
    Secret,
    ServerSettings,
    TwilioSettings,
)
from gateway.lab.memory_line import MemorySocket, memory_line
from gateway.lab.rehearsing.scenario import Scenario, Step
from gateway.lab.simulator.asgi import AsgiServer, Refused, ServerGone
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.phone import Notices, Phone, StreamSocket, call_fields
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.lab.twilio.webhooks import Webhooks
from gateway.twilio.left_message import LeftMessage
from gateway.web.client_socket import CannotOpen
from tests.doors import SilentSession

ACCOUNT_SID = "AC" + "0" * 31 + "1"
PUBLIC_URL = "https://gw.example.net"
PASSWORD = "twelve345"
WAY_MS = 40

BYE = AgentHungUp("bye", goodbye_heard=True)
STAYS = (Step(wait="call_end"),)

RunCall = Callable[[Offer, Carrier], Awaitable[Exit]]


@attrs.define(eq=False)
class Reader:
    """Reads a carrier as the call does: one task, to the end."""

    carrier: Carrier
    facts: list[CarrierFact] = attrs.field(factory=list)
    """All but audio."""
    audio: list[tuple[float, CallerAudio]] = attrs.field(factory=list)
    ended: trio.Event = attrs.field(factory=trio.Event)
    why: Exit | None = None

    async def run(self) -> Exit:
        try:
            while True:
                fact = await self.carrier.receive()
                if isinstance(fact, CallerAudio):
                    self.audio.append((trio.current_time(), fact))
                    continue
                self.facts.append(fact)
                if isinstance(fact, StreamStopped):
                    self.why = CallerHungUp()
                    return self.why
        except PeerGone as gone:
            self.why = PeerLost("carrier", gone.code, gone.reason)
            return self.why
        finally:
            self.ended.set()

    @property
    def names(self) -> list[str]:
        """What kinds of facts there were."""
        return [type(fact).__name__ for fact in self.facts]


Do = Callable[[Carrier, Reader], Awaitable[None]]


@attrs.define(eq=False)
class Agent:
    """Stands for the call: reads all the time, does what the test wants, hangs up."""

    do: Do
    readers: list[Reader] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    ended_s: list[float] = attrs.field(factory=list)
    exits: list[Exit] = attrs.field(factory=list)

    async def run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        reader = Reader(carrier)
        self.readers.append(reader)
        why: Exit = BYE
        try:
            async with trio.open_nursery() as nursery:

                async def act() -> None:
                    await trio.sleep(0.5)
                    try:
                        await self.do(carrier, reader)
                    except CarrierRefused as refused:
                        self.refusals.append(refused.reason)
                        await trio.sleep(0.5)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(act)
                why = await reader.run()
                nursery.cancel_scope.cancel()
            why = reader.why or BYE
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await carrier.aclose()
            self.exits.append(why)
            self.ended_s.append(trio.current_time())
        return why

    @property
    def reader(self) -> Reader:
        (reader,) = self.readers
        return reader


@attrs.define(eq=False)
class Stage:
    """Everybody. `place` places a call; look at what became of it afterwards."""

    run_call: RunCall
    server: AsgiServer
    app: QuartTrio
    api: TwilioApi
    world: trio.Nursery
    messages: list[LeftMessage]
    sockets: list[MemorySocket] = attrs.field(factory=list)
    """The gateway's ends, in the order in which streams were opened."""
    handlers: int = 0
    """Of streams, that the gateway still runs."""
    refused: int = 0
    refuse_streams: bool = False
    """From now on, no stream reaches the gateway."""
    wants_notices: bool = True
    _ids: count[int] = attrs.field(factory=lambda: count(1))

    @property
    def calls(self) -> Calls:
        calls: Calls = self.app.extensions["calls"]
        return calls

    def phone(self, *steps: Step, callee: Callee | None = None) -> Phone:
        """A phone that has not rung yet."""
        call_sid = f"CA{next(self._ids):032x}"
        return Phone(
            scenario=Scenario("test", caller=steps, callee=callee or Callee()),
            webhooks=Webhooks(
                base_url=PUBLIC_URL,
                public_url=PUBLIC_URL,
                auth_token=PASSWORD,
                http=self,
                new_id=lambda: f"{next(self._ids):032x}",
            ),
            fields=call_fields(
                call_sid, ACCOUNT_SID, from_number="+15550001111", to_number="+15550002222"
            ),
            voice=lambda text: b"\x90" * (480 * len(text)),
            observe=None,
            limit_s=600,
            open_stream=self._open_stream,
            new_id=lambda: f"{next(self._ids):032x}",
            notices=Notices(self.world, f"{PUBLIC_URL}/twilio/status")
            if self.wants_notices
            else None,
            api=self.api,
        )

    async def request(
        self, method: str, url: str, *, data: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """A webhook's way to the gateway."""
        body = httpx.Request(method, url, data=dict(data or {})).read()
        await trio.sleep(2 * WAY_MS / 1000)
        try:
            found = await self.server.request(method, url, list(headers.items()), body)
        except ServerGone:
            raise httpx.ConnectError("nobody listens") from None
        await trio.sleep(WAY_MS / 1000)
        return httpx.Response(found.status, headers=found.headers, content=found.body)

    async def _open_stream(
        self,
        url: str,
        headers: Mapping[str, str],
        use: Callable[[StreamSocket], Awaitable[None]],
    ) -> bool:
        await trio.sleep(3 * WAY_MS / 1000)
        if self.refuse_streams:
            raise CannotOpen("nobody listens")
        client, server = memory_line(up_ms=WAY_MS, down_ms=WAY_MS)
        done = trio.Event()

        def end() -> None:
            self.handlers -= 1
            done.set()

        self.handlers += 1
        try:
            await self.server.open_websocket(url, list(headers.items()), server, end)
        except Refused:
            self.refused += 1
            raise CannotOpen("403", 403) from None
        self.sockets.append(server)
        try:
            await use(client)
            with trio.move_on_after(2):
                await client.aclose()
                await done.wait()
        finally:
            client.abort()
        return done.is_set()


def silent(_: IncomingCall, __: trio.Nursery) -> Session:
    """A session of which nothing is heard."""
    return SilentSession()


@asynccontextmanager
async def stage(
    run_call: RunCall,
    *,
    agent: AgentSettings | None = None,
    rest: bool = True,
    open_session: Callable[[IncomingCall, trio.Nursery], Session] | None = None,
) -> AsyncIterator[Stage]:
    """A gateway that serves, until the end of the block."""

    messages: list[LeftMessage] = []

    async def keep(message: LeftMessage) -> None:
        await trio.lowlevel.checkpoint()
        messages.append(message)

    api = TwilioApi(ACCOUNT_SID, PASSWORD)
    config = Config(
        agent=agent or AgentSettings(),
        server=ServerSettings(public_url=PUBLIC_URL),
        calls=CallSettings(),
        twilio=TwilioSettings(
            account_sid=ACCOUNT_SID if rest else None, auth_token=Secret(PASSWORD)
        ),
    )
    app = create_app(
        config,
        open_session=open_session or silent,
        run_call=run_call,
        twilio_transport=api.transport(),
        keep_message=keep,
    )
    server = AsgiServer(app)
    ready, stop = trio.Event(), trio.Event()
    with capture_logs():
        async with trio.open_nursery() as world:
            world.start_soon(server.run, ready, stop)
            await ready.wait()
            found = Stage(run_call, server, app, api, world, messages)
            yield found
            found.calls.close()
            stop.set()


async def placed(found: Stage, phone: Phone) -> CallReport:
    """A call from its first ring to its end, and everything the gateway has to do after it."""
    with trio.fail_after(900):
        report = await phone.call()
        for _ in range(4000):
            if not len(found.calls) and not found.handlers:
                break
            await trio.sleep(0.01)
    assert not len(found.calls)
    assert not found.handlers
    return report
