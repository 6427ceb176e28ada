"""One scenario in virtual time: the whole gateway, a rehearsal model, and whoever is on the phone.

The application is the product's own, from its webhooks to the records of its calls. Only sockets,
threads, the disk and the wall clock are left out, so a call of an hour takes seconds, and the same
scenario goes the same way every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final

import attrs
import orjson
import trio
from quart_trio import QuartTrio

from actors.exits import Exit
from actors.policy.journal import Observer
from actors.policy.record import CallRecord
from actors.toolbox import Toolbox
from gateway.app import create_app
from gateway.calls import Calls
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import (
    Config,
    Secret,
    TwilioSettings,
    agent_settings,
    section_settings,
)
from gateway.lab.faults.fault_plan import FaultPlan, Striker
from gateway.lab.faults.faulty_ports import FaultyRecorder, FaultyStore, FaultyTools
from gateway.lab.judges.evidence import CallSeen
from gateway.lab.judges.tagged_voice import TaggedVoice
from gateway.lab.memory_line import memory_line
from gateway.lab.memory_voice import MemoryVoice
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.openai.progress import Progress
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.rehearsing.hearing import recognise
from gateway.lab.rehearsing.memory_means import MemoryMeans
from gateway.lab.rehearsing.scenario import Scenario
from gateway.lab.rehearsing.spoken import Spoken
from gateway.lab.rehearsing.testimony import Testimony
from gateway.lab.rehearsing.verdict import judge
from gateway.lab.simulator.asgi import AsgiServer
from gateway.lab.simulator.captured_logs import captured_logs
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.node_phones import ACCOUNT_SID, PUBLIC_URL, Exchange
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.noise import babble
from gateway.lab.twilio.phone import FROM_NUMBER, TO_NUMBER, call_fields
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.lab.virtual_time import VirtualClock
from gateway.permission.audit_log import MemoryAudit
from gateway.phone_call import Outside
from gateway.records.flight import MemoryFlight
from gateway.records.store import to_json
from gateway.records.timeline import draw
from gateway.session.realtime import Connect, Use
from gateway.twilio.left_message import LeftMessage
from gateway.web.client_socket import CannotOpen
from gateway.web.public_web import Answer, Question, Unanswered

MORNING: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""What the wall clock shows when a rehearsal begins: a Monday."""
TOKEN: Final = "rehearsal-token"  # noqa: S105 - of an account that does not exist.
CALL_S: Final = 900.0
"""After so long on the line the caller hangs up: long enough for every scenario that works."""
SETTLE_S: Final = 20.0
"""From the end of the phone to the end of the call, at the latest."""
LOOK_EVERY_S: Final = 0.02
MODEL_MS: Final = 20
"""One way to the model. That to the phone is the workload's own."""


@attrs.frozen(kw_only=True)
class Rehearsed:
    """A scenario that was run, and what came of it."""

    scenario: Scenario
    report: CallReport
    record: Mapping[str, Any] | None
    """`call.json`; `None`: none was written."""
    testimony: Testimony
    ending: Exit | None
    """How the call ended; `None`: nobody wrote it down."""
    complaints: tuple[str, ...]
    """What was wrong, in sentences; empty: nothing was."""
    events: tuple[Mapping[str, Any], ...]
    """Everything that was logged."""


def rehearse(
    scenario: Scenario,
    *,
    toolbox: Toolbox | None = None,
    config: Config | None = None,
    observer: Observer | None = None,
    seed: int = 1,
) -> Rehearsed:
    """Run a scenario from the first webhook to the verdict.

    Synchronous: it is a run of trio of its own. One at a time in a process.

    Args:
        scenario: Somebody has to be on the phone in it.
        toolbox: The agent's functions. They must use neither threads nor sockets. Those of the
            shipped scenarios when `None`.
        config: What the scenario's agent is laid over; the defaults when `None`. Of its sections
            only the agents, `[server]` and `[calls]` count; of `[tools.NAME]`, nobody is asked.
        observer: Is told everything noteworthy in the call, as it happens.
        seed: Of every id, token and delay, and of the scheduler.

    Raises:
        ConfigError: The scenario's agent is none.

    """
    clock = VirtualClock()
    tools = demo_tools() if toolbox is None else toolbox
    stage = _Stage(
        scenario=scenario,
        config=_configured(scenario, config or Config(), tools),
        toolbox=tools,
        observer=observer,
        seed=seed,
    )
    return run_seeded(stage.run, seed=seed, clock=clock)


def with_agents_of(scenario: Scenario, config: Config, toolbox: Toolbox) -> Config:
    """Lay a scenario's agents over those that are configured.

    Raises:
        ConfigError: They do not fit.

    """
    for section, table in scenario.config.items():
        config = section_settings(section, table, config, place=f"config.{section}")
    functions = [*(schema.name for schema in toolbox.schemas()), *config.tools]
    settings = partial(agent_settings, functions=functions)
    agent = settings(scenario.agent, config.agent, place=f"agent of {scenario.name}")
    agents = {
        name: settings(
            table, config.agents.get(name, agent), place=f"agents.{name} of {scenario.name}"
        )
        for name, table in scenario.agents.items()
    }
    return attrs.evolve(
        config,
        agent=agent,
        agents={**config.agents, **agents},
        server=attrs.evolve(
            config.server,
            unknown_numbers=scenario.server.unknown_numbers or config.server.unknown_numbers,
        ),
    )


class _NoWeb:
    """In virtual time nobody is asked: the clock would not wait for the answer."""

    async def ask(self, question: Question) -> Answer:
        """See `Web`."""
        del question
        await trio.lowlevel.checkpoint()
        raise Unanswered("nobody is asked in a rehearsal in virtual time")

    async def aclose(self) -> None:
        """See `Web`."""
        await trio.lowlevel.checkpoint()


def _configured(scenario: Scenario, config: Config, toolbox: Toolbox) -> Config:
    """The configuration of a rehearsal in virtual time."""
    config = with_agents_of(scenario, config, toolbox)
    return attrs.evolve(
        config,
        server=attrs.evolve(config.server, public_url=PUBLIC_URL),
        openai=attrs.evolve(config.openai, api_key=Secret("sk-rehearsal")),
        twilio=TwilioSettings(account_sid=ACCOUNT_SID, auth_token=Secret(TOKEN)),
    )


@attrs.define(eq=False, kw_only=True)
class _Stage:
    """One rehearsal, while it runs."""

    scenario: Scenario
    config: Config
    toolbox: Toolbox
    observer: Observer | None
    seed: int

    models: list[RehearsalModel] = attrs.field(factory=list[RehearsalModel], init=False)
    """One for every session, oldest first."""
    _spoken: Spoken = attrs.field(factory=Spoken, init=False)
    """By whoever is on the phone."""
    _progress: Progress = attrs.field(factory=Progress, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _flight: MemoryFlight = attrs.field(factory=MemoryFlight, init=False)
    _striker: Striker = attrs.field(factory=lambda: Striker(FaultPlan(())), init=False)
    _store: FaultyStore = attrs.field(init=False)
    _outside: Outside = attrs.field(init=False)
    _api: TwilioApi = attrs.field(
        factory=lambda: TwilioApi(account_sid=ACCOUNT_SID, password=TOKEN), init=False
    )
    _voice: MemoryVoice = attrs.field(factory=lambda: MemoryVoice(babble), init=False)
    _audit: MemoryAudit = attrs.field(init=False)
    _means: MemoryMeans = attrs.field(init=False)
    _messages: list[LeftMessage] = attrs.field(factory=list[LeftMessage], init=False)
    _world: trio.Nursery = attrs.field(init=False)
    _began_s: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._store = FaultyStore(self._striker, {})
        self._audit = MemoryAudit(self._utc_now)
        self._means = MemoryMeans(self.config)
        self._outside = Outside(
            store=self._store,
            recorder=lambda _: FaultyRecorder(self._striker, 0),
            utc_now=self._utc_now,
            flight=lambda _: self._flight,
            line=_filler,
            voice=lambda *_: self._voice,
            audit=self._audit,
            means=self._means.of,
        )

    async def run(self) -> Rehearsed:
        with captured_logs() as events:
            async with trio.open_nursery() as self._world:
                app = self._app()
                server, ready, stop = AsgiServer(app), trio.Event(), trio.Event()
                self._world.start_soon(server.run, ready, stop)
                await ready.wait()
                seen, report = await self._call(server)
                await self._settle(app, seen)
                stop.set()
                self._world.cancel_scope.cancel("over")
        return self._told(seen.call_sid, report, tuple(events))

    def _app(self) -> QuartTrio:
        return create_app(
            self.config,
            toolbox=self.toolbox,
            observer=self.observer,
            outside=self._outside,
            connect_for=self._connect_for,
            random_bytes=Random(f"{self.seed}/tokens").randbytes,
            twilio_transport=self._api.transport(),
            keep_message=self._keep_message,
            web=_NoWeb(),
        )

    async def _call(self, server: AsgiServer) -> tuple[CallSeen, CallReport]:
        random = Random(f"{self.seed}/phone")
        seen = CallSeen(
            call=SimulatedCall(number=0, starts_ms=0, scenario=self.scenario),
            call_sid=f"CA{random.getrandbits(128):032x}",
            agent_voice=TaggedVoice(0, "agent"),
            caller_voice=TaggedVoice(0, "caller"),
            tools=FaultyTools(self.toolbox, self._striker, 0),
            rang_s=trio.current_time(),
            longest_s=CALL_S,
        )
        self._store.numbers[seen.call_sid] = 0
        exchange = Exchange(
            server=server,
            striker=self._striker,
            auth_token=TOKEN,
            world=self._world,
            call_s=CALL_S,
            trace=None,
            api=self._api,
        )
        async with trio.open_nursery() as notices:
            phone = exchange.phone(seen, random, notices)
            phone.voice = self._speak
            phone.fields = call_fields(
                seen.call_sid,
                ACCOUNT_SID,
                from_number=self.scenario.calling or FROM_NUMBER,
                to_number=self.scenario.called or TO_NUMBER,
            )
            report = await phone.call()
        return seen, report

    async def _settle(self, app: QuartTrio, seen: CallSeen) -> None:
        """Wait until the call is over on the gateway's side too, for a bounded time."""
        calls: Calls = app.extensions["calls"]
        for _ in range(round(SETTLE_S / LOOK_EVERY_S)):
            if not len(calls) and not seen.open_sockets:
                return
            await trio.sleep(LOOK_EVERY_S)

    def _told(
        self, call_sid: str, report: CallReport, events: tuple[Mapping[str, Any], ...]
    ) -> Rehearsed:
        records = self._store.records.get(call_sid, [])
        record: dict[str, Any] | None = orjson.loads(to_json(records[0])) if records else None
        testimony = Testimony(
            heard=recognise(report.heard, {line: babble(line) for line in self._lines()}),
            sessions=tuple(tuple(model.received) for model in self.models),
            audit=tuple(f"{row.event} {row.tool}" for row in self._audit.rows),
            messages=tuple(message.text for message in self._means.messages.messages),
            left_behind=tuple(self._left_behind(records, events)),
        )
        return Rehearsed(
            scenario=self.scenario,
            report=report,
            record=record,
            testimony=testimony,
            ending=records[0].ending if records else None,
            complaints=(
                *judge(self.scenario.expect, report, record, testimony),
                *self._breaches(),
            ),
            events=events,
        )

    def _lines(self) -> Iterator[str]:
        """Everything that the agent may have said."""
        yield from self.scenario.agent_lines()
        for agent in (self.config.agent, *self.config.agents.values()):
            if agent.filler is not None:
                yield agent.filler
        yield from self._voice.said

    def _left_behind(
        self, records: list[CallRecord], events: tuple[Mapping[str, Any], ...]
    ) -> Iterator[tuple[str, bytes]]:
        yield "the flight log", self._flight.text()
        yield from (("call.json", to_json(record)) for record in records)
        yield from (("timeline.svg", draw(record).encode()) for record in records)
        yield from (
            ("message.json", repr(attrs.asdict(message)).encode()) for message in self._messages
        )
        yield from (("the audit log", repr(row).encode()) for row in self._audit.written)
        yield from (
            ("message.json", repr(attrs.asdict(one)).encode())
            for one in self._means.messages.messages
        )
        yield from ((f"the log, {event.get('event')}", repr(event).encode()) for event in events)

    def _breaches(self) -> Iterator[str]:
        """What the model's server would not have taken, or should not have been asked."""
        for model in self.models:
            yield from (f"the model's server was misused: {what}" for what in model.violations)

    # The others.

    async def _keep_message(self, message: LeftMessage) -> None:
        self._messages.append(message)
        await trio.lowlevel.checkpoint()

    def _speak(self, text: str) -> bytes:
        self._spoken.says(text)
        return babble(text, "caller")

    def _connect_for(self, name: str) -> Connect:
        """How to reach the server of this model."""

        async def connect(use: Use) -> None:
            await self._connect(name, use)

        return connect

    async def _connect(self, name: str, use: Use) -> None:
        self._attempts += 1
        script = self.scenario.model.on_connection(self._attempts, name)
        await trio.sleep(2 * MODEL_MS / 1000)
        if script.refusal is not None:
            status = script.refusal.http_status
            raise CannotOpen(f"it was refused with {status}", status)
        client, server = memory_line(up_ms=MODEL_MS, down_ms=MODEL_MS)
        model = RehearsalModel(
            script,
            voice=babble,
            seed=self.seed + self._attempts,
            model=name,
            caller_lines=self._spoken,
            started_at_s=round(self._utc_now().timestamp()),
            lifetime_ms=script.lifetime_ms,
            progress=self._progress,
        )
        self.models.append(model)
        self._world.start_soon(serve_session, model, server, name="model")
        try:
            await use(client)
            await client.aclose()
        finally:
            client.abort()
            model.abandon()

    def _utc_now(self) -> datetime:
        return MORNING + timedelta(seconds=trio.current_time() - self._began_s)


def _filler(agent: AgentSettings) -> bytes | None:
    return None if agent.filler is None else babble(agent.filler)
