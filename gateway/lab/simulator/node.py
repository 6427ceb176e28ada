"""A whole gateway in one task tree and one virtual time, with everybody it has to do with.

The application is the product's own, from its webhooks and its media door to its calls and their
records. Only sockets, threads, the disk, the wall clock and the operating system's randomness are
left out: everything that is drawn comes from one seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from math import inf
from random import Random
from typing import Final, Protocol

import attrs
import trio
from quart_trio import QuartTrio

from actors.exits import Exit
from actors.ports import Carrier, Session
from actors.toolbox import Toolbox
from gateway.app import create_app
from gateway.calls import Calls, IncomingCall, Offer
from gateway.configuration.config import (
    AgentSettings,
    CallSettings,
    Config,
    OpenAISettings,
    Secret,
    ServerSettings,
    TwilioSettings,
)
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.faults.fault_plan import Fault, Striker
from gateway.lab.faults.fault_values import REST_ANSWERS
from gateway.lab.faults.faulty_ports import (
    FaultyRecorder,
    FaultyStore,
    FaultyTools,
)
from gateway.lab.judges.evidence import CallSeen, NodeReport
from gateway.lab.judges.invariants import judge_call
from gateway.lab.judges.seen_move import MoveSeen
from gateway.lab.judges.tagged_voice import TaggedVoice
from gateway.lab.judges.watched_socket import Trace
from gateway.lab.simulator.asgi import AsgiServer
from gateway.lab.simulator.captured_logs import captured_logs
from gateway.lab.simulator.intruders import Intruders
from gateway.lab.simulator.node_models import Models
from gateway.lab.simulator.node_phones import ACCOUNT_SID, PUBLIC_URL, Exchange, number_of
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.twilio.twilio_api import ApiFault, ApiRequest, TwilioApi
from gateway.permission.audit_log import MemoryAudit
from gateway.phone_call import Outside, open_session, take_call
from gateway.records.tap import Flight
from gateway.session.realtime import Connect
from gateway.tools.toolset import Toolset

__all__ = ["NodeReport", "run_node"]

DAWN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What the wall clock shows when a simulation begins."""

LONGEST_CALL_S: Final = 40.0
"""That the gateway allows, unless something else is wanted: nobody here has more to say."""
CALL_S: Final = 300.0
"""How long a caller stays on the line, at the longest, unless something else is asked for."""
SETTLE_S: Final = 40.0
"""From the end of the last phone to the end of the last call, at the latest: longer than every
bound that a call's own end has."""
LOOK_EVERY_S: Final = 0.02

AFTER_STREAM_S: Final = 1.5
"""From the end of the calls to the end of the server when the gateway is told to stop."""
STOP_S: Final = 8.0
"""From a first signal to the end, whatever is still running. Both: `gateway.__main__`."""


TakeCall = Callable[[Config, Toolset, Outside, Offer, Carrier], Awaitable[Exit]]
"""See `gateway.phone_call.take_call`."""


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
    take: TakeCall = take_call,
    is_up: Callable[[Calls], None] = lambda _: None,
    flight: Callable[[str], Flight | None] = lambda _: None,
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
        flight: See `Outside`. That there is one changes whose turn it is, and so what happens.
        take: How the gateway runs a call. A wrong way of it shows what the invariants notice.

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
        take=take,
        is_up=is_up,
        flight=flight,
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
    take: TakeCall
    is_up: Callable[[Calls], None]
    flight: Callable[[str], Flight | None]

    seen: dict[int, CallSeen] = attrs.field(factory=dict[int, CallSeen], init=False)
    violations: list[str] = attrs.field(factory=list[str], init=False)
    _config: Config = attrs.field(init=False)
    _outside: Outside = attrs.field(init=False)
    _store: FaultyStore = attrs.field(init=False)
    _by_sid: dict[str, CallSeen] = attrs.field(factory=dict[str, CallSeen], init=False)
    _api: TwilioApi = attrs.field(init=False)
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
    _exchange: Exchange = attrs.field(init=False)
    _models: Models = attrs.field(init=False)
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
            # Nobody here can confirm anything, and tools are what is tried.
            policy=PolicySettings(low=tuple(one.name for one in self.toolbox.schemas())),
            openai=OpenAISettings(api_key=Secret(f"sk-{secrets.getrandbits(128):032x}")),
            twilio=TwilioSettings(
                # Where nobody is moved there is no REST: a call is ended by its document then.
                account_sid=ACCOUNT_SID if self._is_moving else None,
                auth_token=Secret(f"{secrets.getrandbits(128):032x}"),
            ),
        )
        self._api = TwilioApi(
            account_sid=ACCOUNT_SID,
            password=self._auth_token,
            befall=self._befall_request,
            observe=self._requested,
        )
        self._store = FaultyStore(self.striker, {})
        self._outside = Outside(
            store=self._store,
            recorder=self._recorder,
            utc_now=self._utc_now,
            flight=self.flight,
            # Nobody here is to prove anything, so nothing is counted; days are simulated.
            audit=MemoryAudit(self._utc_now, most=1),
        )
        self._app = create_app(
            self._config,
            open_session=self._open_session,
            run_call=self._run_call,
            outside=self._outside,
            random_bytes=Random(f"{self.seed}/tokens").randbytes,
            twilio_transport=self._api.transport(),
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
                self._meet()
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
                # A connection that was just cut off needs a moment to be gone.
                await self._settle(lambda: bool(Counter(self._tasks()) - tasks_before))
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

    def _meet(self) -> None:
        """Let everybody in who lives beside the gateway."""
        self._exchange = Exchange(
            server=self._server,
            striker=self.striker,
            auth_token=self._auth_token,
            world=self._world,
            call_s=self.call_s,
            trace=self.trace,
            api=self._api,
            come_again=self._come_again,
        )
        self._models = Models(
            striker=self.striker,
            seed=self.seed,
            world=self._world,
            trace=self.trace,
            unix_s=self._unix_s,
        )

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
        for seen in self.seen.values():
            if seen.over_s is None:
                seen.told_to_stop_s = trio.current_time()
        live = len(self._live)
        self._live.close()
        if live:
            await trio.sleep(AFTER_STREAM_S)
        self._stop.set()

    def _utc_now(self) -> datetime:
        return DAWN + self._since_dawn + self._wall_offset

    def _unix_s(self) -> float:
        """What the time is, whatever the gateway's clock on the wall shows."""
        return (DAWN + self._since_dawn).timestamp()

    @property
    def _since_dawn(self) -> timedelta:
        return timedelta(seconds=trio.current_time() - self._began_s)

    def _recorder(self, call_sid: str) -> FaultyRecorder:
        seen = self._by_sid[call_sid]
        seen.recorder = FaultyRecorder(self.striker, seen.call.number)
        return seen.recorder

    def _open_session(self, incoming: IncomingCall, nursery: trio.Nursery) -> Session:
        seen = self._by_sid[incoming.call_sid]

        def connect_for(name: str) -> Connect:
            return partial(self._models.connect, seen, name)

        # Its line has a number of its own, like everything that is said in this call.
        outside = attrs.evolve(self._outside, line=lambda agent: seen.says_itself(agent.filler))
        return open_session(
            self._config, seen.tools, outside, incoming, nursery, connect_for=connect_for
        )

    async def _run_call(self, offer: Offer, carrier: Carrier) -> Exit:
        seen = self._by_sid[offer.call_sid]
        if seen.began_s is not None:
            self.violations.append(f"I2 call {seen.call.number}: it was begun a second time")
        seen.began_s = trio.current_time()
        try:
            seen.ending = await self.take(self._config, seen.tools, self._outside, offer, carrier)
        finally:
            seen.over_s = trio.current_time()
        return seen.ending

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
            longest_s=self.max_call_s,
        )
        self.seen[call.number] = self._by_sid[call_sid] = seen
        self._store.numbers[call_sid] = call.number
        async with trio.open_nursery() as notices:
            phone = seen.phone = self._exchange.phone(seen, random, notices)
            seen.hang_up(await phone.call())
        seen.finished_s = trio.current_time()
        await self._settle(lambda: seen.is_running)
        seen.records = self._store.records.get(call_sid, [])
        self.violations += judge_call(seen, self.striker.log)
        seen.forget_audio()

    # What the gateway asks of Twilio.

    @property
    def _is_moving(self) -> bool:
        return any(call.is_moved for call in self.calls)

    def _befall_request(self, call_sid: str, form: Mapping[str, str]) -> ApiFault | None:
        seen = self._by_sid.get(call_sid)
        if seen is None:
            return None
        befallen: ApiFault | None = None
        kind = "redirect" if "Twiml" in form else "hang_up"
        for fault in self.striker.strikes("rest", seen.call.number, kind):
            match fault.do:
                case "delay":
                    befallen = ApiFault(HTTPStatus.OK, obeyed=True, late_s=fault.ms / 1000)
                case "raise":
                    befallen = ApiFault(*REST_ANSWERS[fault.detail])
                case _:
                    self._world.start_soon(self._leave, seen, fault.ms / 1000, name="caller")
        return befallen

    def _requested(self, request: ApiRequest) -> None:
        seen = self._by_sid.get(request.call_sid)
        if seen is not None and "Twiml" in request.form:
            document = request.form["Twiml"].encode()
            seen.given_out(document)
            seen.moves.append(
                MoveSeen.of(document, at_s=trio.current_time(), obeyed=request.obeyed)
            )
        if seen is not None and self.trace is not None:
            number, asked = seen.call.number, sorted(request.form.items())
            self.trace(f"{trio.current_time():.6f} call {number} rest {asked} {request.status}")

    async def _leave(self, seen: CallSeen, after_s: float) -> None:
        await trio.sleep(after_s)
        if seen.phone is not None and seen.report is None:
            seen.phone.hang_up()

    def _come_again(self, seen: CallSeen, after_s: float) -> None:
        self._world.start_soon(self._intruders.come_again, seen, after_s, name="intruder")

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
                for seen in self.seen.values():
                    if seen.finished_s is None or seen.is_running:
                        seen.jumped_s += fault.ms / 1000
                        seen.jumped_at_s = trio.current_time()
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
        # So many looks, and not so much time: a machine that sleeps does not use it up.
        for _ in range(round(SETTLE_S / LOOK_EVERY_S)):
            if not is_busy():
                return
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
