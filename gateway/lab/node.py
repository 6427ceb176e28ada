"""A whole gateway in one task tree and one virtual time, with everybody it has to do with.

The application is the product's own, from its webhooks and its media door to its calls and their
records. Only sockets, threads, the disk, the wall clock and the operating system's randomness are
left out: everything that is drawn comes from one seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from random import Random
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

import attrs
import httpx
import trio
from quart_trio import QuartTrio

from actors.exits import Exit
from actors.ports import Carrier, Session
from actors.toolbox import Toolbox
from gateway.app import create_app
from gateway.calls import Calls, IncomingCall, Offer
from gateway.client_socket import CannotOpen
from gateway.config import (
    AgentSettings,
    CallSettings,
    Config,
    OpenAISettings,
    Secret,
    ServerSettings,
    TwilioSettings,
)
from gateway.lab.asgi import AsgiServer, Refused, Response, ServerGone
from gateway.lab.captured_logs import captured_logs
from gateway.lab.evidence import (
    CallSeen,
    NodeReport,
    SessionSeen,
    StreamSeen,
    Trace,
    WatchedSocket,
)
from gateway.lab.fault_plan import Fault, Striker
from gateway.lab.faulty_line import faulty_line
from gateway.lab.faulty_ports import (
    FaultyRecorder,
    FaultyStore,
    FaultyTools,
    before_connecting,
)
from gateway.lab.intruders import Intruders
from gateway.lab.invariants import judge_call
from gateway.lab.memory_line import MemorySocket
from gateway.lab.model import RehearsalModel
from gateway.lab.model_line import serve_session
from gateway.lab.phone import Notices, Phone, StreamSocket, call_fields
from gateway.lab.tagged_voice import TaggedVoice
from gateway.lab.twiml_reader import ConnectStream, TwimlFault, read_twiml
from gateway.lab.webhooks import Webhooks
from gateway.lab.workload import SimulatedCall
from gateway.phone_call import Outside, open_session, take_call
from gateway.realtime import Use

__all__ = ["NodeReport", "run_node"]

PUBLIC_URL: Final = "https://gw.example.net"
TO_NUMBER: Final = "+15005550001"
DAWN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What the wall clock shows when a simulation begins."""

LONGEST_CALL_S: Final = 40.0
"""That the gateway allows, unless something else is wanted: nobody here has more to say."""
CALL_S: Final = 300.0
"""How long a caller stays on the line, at the longest, unless something else is asked for."""
CLOSE_S: Final = 2.0
"""How long Twilio waits for the answer to its close."""
SETTLE_S: Final = 40.0
"""From the end of the last phone to the end of the last call, at the latest: longer than every
bound that a call's own end has."""
LOOK_EVERY_S: Final = 0.02

AFTER_STREAM_S: Final = 1.5
"""From the end of the calls to the end of the server when the gateway is told to stop."""
STOP_S: Final = 8.0
"""From a first signal to the end, whatever is still running. Both: `gateway.__main__`."""


class Clock(Protocol):
    """A clock of trio's that can be told to jump: trio's `MockClock` is one."""

    def jump(self, seconds: float) -> None:
        """Let time pass at once."""


async def run_node(
    calls: Sequence[SimulatedCall],
    striker: Striker,
    *,
    seed: int,
    toolbox: Toolbox | None = None,
    agent: AgentSettings | None = None,
    clock: Clock | None = None,
    trace: Trace | None = None,
    limit_s: float = inf,
    call_s: float = CALL_S,
    max_call_s: float = LONGEST_CALL_S,
    is_up: Callable[[Calls], None] = lambda _: None,
) -> NodeReport:
    """Run a gateway, place these calls, and report when all is over.

    In virtual time: inside `determinism.run_seeded`. Cancellable. One at a time in a process,
    because it keeps what the process logs.

    Args:
        calls: Numbered from 0; they begin at their own times.
        striker: What goes wrong.
        seed: Of everything that is drawn: ids, tokens, delays.
        toolbox: The agent's functions; all of them `async`, since there are no threads.
        agent: Who answers.
        clock: Trio's, for faults that let it jump; without one, they do not strike.
        trace: Given one line for every frame on every line and every event logged.
        max_call_s: The longest that the gateway lets a call be.
        is_up: Given the gateway's calls before the first phone rings.
        limit_s: Virtual time after which everything is given up; that it was, is a violation.
        call_s: After so long on the line every caller hangs up.

    """
    node = _Node(
        calls=calls,
        striker=striker,
        seed=seed,
        toolbox=toolbox or Toolbox(),
        agent=agent or AgentSettings(),
        clock=clock,
        trace=trace,
        limit_s=limit_s,
        call_s=call_s,
        max_call_s=max_call_s,
        is_up=is_up,
    )
    return await node.run()


@attrs.define(eq=False, kw_only=True)
class _Node:
    calls: Sequence[SimulatedCall]
    striker: Striker
    seed: int
    toolbox: Toolbox
    agent: AgentSettings
    clock: Clock | None
    trace: Trace | None
    limit_s: float
    call_s: float
    max_call_s: float
    is_up: Callable[[Calls], None]

    seen: dict[int, CallSeen] = attrs.field(factory=dict[int, CallSeen], init=False)
    violations: list[str] = attrs.field(factory=list[str], init=False)
    _config: Config = attrs.field(init=False)
    _outside: Outside = attrs.field(init=False)
    _store: FaultyStore = attrs.field(init=False)
    _by_sid: dict[str, CallSeen] = attrs.field(factory=dict[str, CallSeen], init=False)
    _app: QuartTrio = attrs.field(init=False)
    _server: AsgiServer = attrs.field(init=False)
    _gateway: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """The gateway's process."""
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Its server is to stop."""
    _told_to_stop: bool = attrs.field(default=False, init=False)
    _world: trio.Nursery = attrs.field(init=False)
    """Everybody else: phones, models, faults."""
    _began_s: float = attrs.field(factory=trio.current_time, init=False)
    _wall_offset: timedelta = attrs.field(factory=timedelta, init=False)
    _intruders: Intruders = attrs.field(init=False)
    _gateway_is_over: bool = attrs.field(default=False, init=False)
    _is_over: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        secrets = Random(f"{self.seed}/secrets")
        self._config = Config(
            agent=self.agent,
            server=ServerSettings(public_url=PUBLIC_URL),
            calls=CallSettings(
                max_concurrent=max(100, len(self.calls)), max_call_s=self.max_call_s
            ),
            openai=OpenAISettings(api_key=Secret(f"sk-{secrets.getrandbits(128):032x}")),
            twilio=TwilioSettings(auth_token=Secret(f"{secrets.getrandbits(128):032x}")),
        )
        self._store = FaultyStore(self.striker, {})
        self._outside = Outside(store=self._store, recorder=self._recorder, utc_now=self._utc_now)
        self._app = create_app(
            self._config,
            open_session=self._open_session,
            run_call=self._run_call,
            outside=self._outside,
            random_bytes=Random(f"{self.seed}/tokens").randbytes,
        )
        self._server = AsgiServer(self._app)
        self._intruders = Intruders(
            server=self._server,
            auth_token=self._auth_token,
            public_url=PUBLIC_URL,
            account_sid=ACCOUNT_SID,
            random=Random(f"{self.seed}/intruders"),
        )

    async def run(self) -> NodeReport:
        """Begin, see everything through, and report."""
        live_calls, tasks_left = 0, tuple[str, ...]()
        with captured_logs() as events:
            async with trio.open_nursery() as self._world:
                self._world.cancel_scope.deadline = self._began_s + self.limit_s
                ready = trio.Event()
                self._world.start_soon(self._serve, ready, name="gateway")
                await ready.wait()
                tasks_before = Counter(self._tasks())
                self.is_up(self._live)
                faults = trio.CancelScope()
                self._world.start_soon(self._strike_in_time, faults, name="faults")
                async with trio.open_nursery() as phones:
                    for call in sorted(self.calls, key=lambda call: call.starts_ms):
                        await trio.sleep_until(self._began_s + call.starts_ms / 1000)
                        phones.start_soon(self._place, call, name=f"phone {call.number}")
                faults.cancel("the last call is over")
                await self._settle(lambda: len(self._live) + self._intruders.trying > 0)
                live_calls = len(self._live)
                tasks_left = tuple((Counter(self._tasks()) - tasks_before).elements())
                self._stop.set()
                await self._settle(lambda: not self._gateway_is_over)
                self._is_over = True
                self._world.cancel_scope.cancel("over")
        if not self._is_over:
            self.violations.append(f"I1 the simulation: not over after {self.limit_s:g} s")
        self._tell_events(events)
        return self._report(events, live_calls, tasks_left)

    # The gateway's process.

    async def _serve(self, ready: trio.Event) -> None:
        try:
            with self._gateway:
                await self._server.run(ready, self._stop)
        finally:
            self._gateway_is_over = True
            ready.set()

    @property
    def _live(self) -> Calls:
        calls: Calls = self._app.extensions["calls"]
        return calls

    async def _told(self) -> None:
        """Do what the gateway's process does when it is told to stop."""
        if self._told_to_stop:
            self._gateway.cancel("a second signal")
            return
        self._told_to_stop = True
        self._gateway.deadline = trio.current_time() + STOP_S
        live = len(self._live)
        self._live.close()
        if live:
            await trio.sleep(AFTER_STREAM_S)
        self._stop.set()

    def _utc_now(self) -> datetime:
        since = timedelta(seconds=trio.current_time() - self._began_s)
        return DAWN + since + self._wall_offset

    def _recorder(self, call_sid: str) -> FaultyRecorder:
        return FaultyRecorder(self.striker, self._store.numbers[call_sid])

    def _open_session(self, incoming: IncomingCall, nursery: trio.Nursery) -> Session:
        seen = self._by_sid[incoming.call_sid]
        connect = partial(self._connect, seen)
        return open_session(
            self._config, seen.tools, self._outside, incoming, nursery, connect=connect
        )

    async def _run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        seen = self._by_sid[offer.call_sid]
        if seen.began_s is not None:
            self.violations.append(f"I2 call {seen.call.number}: it was begun a second time")
        seen.began_s = trio.current_time()
        try:
            seen.ending = await take_call(self._config, seen.tools, self._outside, offer, carrier)
        finally:
            seen.over_s = trio.current_time()
        return seen.ending

    # The model.

    async def _connect(self, seen: CallSeen, use: Use) -> None:
        """The gateway's way to the model: a line of memory with a model at its other end."""
        call = seen.call
        seen.attempts += 1
        random = Random(f"{self.seed}/model/{call.number}/{seen.attempts}")
        delay_ms = partial(random.randint, *call.model_ms)
        await before_connecting(self.striker, call.number)
        await trio.sleep(2 * delay_ms() / 1000)
        script = call.scenario.model.on_connection(seen.attempts)
        if script.refusal is not None:
            status = script.refusal.http_status
            raise CannotOpen(f"it was refused with {status}", status)
        client, server = faulty_line(
            self.striker, "model", call.number, up_ms=delay_ms, down_ms=delay_ms
        )
        model = RehearsalModel(
            script,
            voice=seen.agent_voice,
            seed=random.getrandbits(32),
            model=self.agent.model,
            caller_lines=call.scenario.caller_lines(),
        )
        session = SessionSeen(model=model, opened_s=trio.current_time())
        seen.sessions.append(session)
        self._world.start_soon(serve_session, model, _Speaking(server, session), name="model")
        try:
            await use(WatchedSocket(client, session, f"call {call.number} model", self.trace))
            await client.aclose()
        finally:
            client.abort()
            session.done_s = trio.current_time()

    # The phones.

    async def _place(self, call: SimulatedCall) -> None:
        """Place one call, see it through, and judge it."""
        random = Random(f"{self.seed}/call/{call.number}")
        call_sid = f"CA{random.getrandbits(128):032x}"
        seen = CallSeen(
            call=call,
            call_sid=call_sid,
            agent_voice=TaggedVoice(call.number, "agent"),
            caller_voice=TaggedVoice(call.number, "caller"),
            tools=FaultyTools(self.toolbox, self.striker, call.number),
            rang_s=trio.current_time(),
        )
        self.seen[call.number] = self._by_sid[call_sid] = seen
        self._store.numbers[call_sid] = call.number
        async with trio.open_nursery() as notices:
            phone = self._phone(seen, random, notices)
            seen.hang_up(await phone.call())
        seen.finished_s = trio.current_time()
        await self._settle(lambda: seen.is_running)
        seen.records = self._store.records.get(call_sid, [])
        self.violations += judge_call(seen, self.striker.log)
        seen.forget_audio()

    def _phone(self, seen: CallSeen, random: Random, notices: trio.Nursery) -> Phone:
        call = seen.call
        delay_ms = partial(random.randint, *call.phone_ms)

        def new_id() -> str:
            return f"{random.getrandbits(128):032x}"

        return Phone(
            scenario=call.scenario,
            webhooks=Webhooks(
                base_url=PUBLIC_URL,
                public_url=PUBLIC_URL,
                auth_token=self._auth_token,
                http=_Http(self, seen, delay_ms),
                new_id=new_id,
            ),
            fields=call_fields(
                seen.call_sid, ACCOUNT_SID, from_number=number_of(call.number), to_number=TO_NUMBER
            ),
            voice=seen.caller_voice,
            observe=None,
            limit_s=self.call_s,
            open_stream=partial(self._open_stream, seen, delay_ms),
            new_id=new_id,
            notices=Notices(notices, f"{PUBLIC_URL}/twilio/status"),
        )

    async def _open_stream(
        self,
        seen: CallSeen,
        delay_ms: Callable[[], int],
        url: str,
        headers: Mapping[str, str],
        use: Callable[[StreamSocket], Awaitable[None]],
    ) -> bool:
        number = seen.call.number
        for fault in self.striker.strikes("stream.open", number):
            if fault.do == "drop":
                raise CannotOpen("nobody listens")
            await trio.sleep(fault.ms / 1000)
        await trio.sleep(3 * delay_ms() / 1000)  # TCP, TLS, and the upgrade on its way.
        client, server = faulty_line(
            self.striker, "phone", number, up_ms=delay_ms, down_ms=delay_ms
        )
        stream = StreamSeen(opened_s=trio.current_time())
        done = trio.Event()

        def end() -> None:
            stream.done_s = trio.current_time()
            done.set()

        socket = WatchedSocket(server, stream, f"call {number} phone", self.trace)
        try:
            await self._server.open_websocket(url, list(headers.items()), socket, end)
        except Refused:
            raise CannotOpen("it was refused with 403", 403) from None
        except ServerGone:
            raise CannotOpen("nobody listens") from None
        seen.streams.append(stream)
        await trio.sleep(delay_ms() / 1000)
        try:
            await use(client)
            with trio.move_on_after(CLOSE_S):
                await client.aclose()
                await done.wait()
        finally:
            client.abort()
        return done.is_set()

    async def ask(
        self, seen: CallSeen, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Make one request of Twilio's. Raises `ServerGone`."""
        response = await self._server.request(method, url, list(headers.items()), body)
        path = urlsplit(url).path
        if path == "/twilio/voice":
            seen.answers.append(response.body)
            with suppress(TwimlFault):
                for verb in read_twiml(response.body, "text/xml"):
                    if isinstance(verb, ConnectStream):
                        seen.tokens += dict(verb.parameters).values()
        if self.trace is not None:
            number = seen.call.number
            self.trace(
                f"{trio.current_time():.6f} call {number} {method} {path} {body!r}"
                f" {response.status} {response.body!r}"
            )
        return response

    @property
    def _auth_token(self) -> str:
        token = self._config.twilio.auth_token
        if token is None:
            raise AssertionError("configured above")
        return token.reveal()

    # What goes wrong by the clock.

    async def _strike_in_time(self, scope: trio.CancelScope) -> None:
        with scope:
            for fault in self.striker.timed("node"):
                await trio.sleep_until(self._began_s + (fault.at_ms or 0) / 1000)
                self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        match fault.do:
            case "jump" if fault.detail == "wall":
                self._wall_offset += timedelta(milliseconds=fault.ms)
            case "jump":
                if self.clock is None:
                    return
                self.clock.jump(fault.ms / 1000)
                self._intruders.jumps += 1
            case "stop":
                self._world.start_soon(self._told, name="signal")
            case _:
                victim = self.seen.get(fault.call)
                if not self._intruders.applies(fault.detail, victim):
                    return
                self._world.start_soon(self._intruders.come, fault.detail, victim, name="intruder")
        self.striker.strike(fault)

    # The end.

    async def _settle(self, is_busy: Callable[[], bool]) -> None:
        """Wait until something is over, for a bounded time."""
        with trio.move_on_after(SETTLE_S):
            while is_busy():  # noqa: ASYNC110 - what is watched belongs to many.
                await trio.sleep(LOOK_EVERY_S)

    def _tell_events(self, events: Sequence[Mapping[str, object]]) -> None:
        if self.trace is not None:
            for event in events:
                self.trace(f"{event.get('event')} {event.get('level')}")

    def _tasks(self) -> Iterator[str]:
        """The names of all tasks of the gateway's."""
        todo = [task for task in self._world.child_tasks if task.name == "gateway"]
        while todo:
            task = todo.pop()
            yield task.name
            todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]

    def _report(
        self,
        events: Sequence[Mapping[str, object]],
        live_calls: int,
        tasks_left: tuple[str, ...],
    ) -> NodeReport:
        calls = tuple(self.seen[number] for number in sorted(self.seen))
        key = self._config.openai.api_key
        tokens = dict.fromkeys(token for seen in calls for token in seen.tokens)
        return NodeReport(
            calls=calls,
            violations=tuple(self.violations),
            events=tuple(events),
            strikes=tuple(self.striker.log),
            secrets=(
                self._auth_token,
                "" if key is None else key.reveal(),
                *tokens,
                *(number_of(seen.call.number) for seen in calls),
            ),
            open_sockets=self._intruders.open_sockets + sum(seen.open_sockets for seen in calls),
            live_calls=live_calls,
            tasks_left=tasks_left,
            lasted_s=trio.current_time() - self._began_s,
            intruders=tuple(self._intruders.complaints),
        )


ACCOUNT_SID: Final = "AC" + "0ff" * 10 + "00"


def number_of(call: int) -> str:
    """The telephone number from which a call comes."""
    return f"+1556{call:07d}"


@attrs.frozen
class _Http:
    """The way of one call's webhooks to the gateway. Stands in for an `httpx.AsyncClient`."""

    node: _Node
    seen: CallSeen
    delay_ms: Callable[[], int]

    async def request(
        self, method: str, url: str, *, data: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Make one request. Raises `httpx.HTTPError`."""
        node, seen = self.node, self.seen
        body = urlencode(data or {}).encode("ascii")
        kind = urlsplit(url).path.rpartition("/")[2]
        for fault in node.striker.strikes("webhook", seen.call.number, kind):
            match fault.do:
                case "drop":
                    await trio.sleep(self.delay_ms() / 1000)
                    raise httpx.ConnectError("the connection was lost")
                case "delay":
                    await trio.sleep(fault.ms / 1000)
                case _:
                    repeat = partial(self._repeat, fault.ms, method, url, headers, body)
                    node._world.start_soon(repeat, name="repeated webhook")  # noqa: SLF001
        await trio.sleep(2 * self.delay_ms() / 1000)
        try:
            response = await node.ask(seen, method, url, headers, body)
        except ServerGone:
            raise httpx.ConnectError("nobody listens") from None
        await trio.sleep(self.delay_ms() / 1000)
        return httpx.Response(response.status, headers=response.headers, content=response.body)

    async def _repeat(
        self, late_ms: int, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        await trio.sleep((late_ms + 2 * self.delay_ms()) / 1000)
        with suppress(ServerGone):
            await self.node.ask(self.seen, method, url, headers, body)


@attrs.frozen
class _Speaking:
    """The model's end of its line, which tells what it says."""

    socket: MemorySocket
    session: SessionSeen

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        self.session.speaks(message)
        await self.socket.send_message(message)

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        return await self.socket.get_message()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        await self.socket.aclose(code, reason)
