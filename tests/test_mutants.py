"""That the invariants would notice: gateways that do one thing wrong, each of them found soon.

The wrong gateways are made of the product and one double of a port that misbehaves; nothing of the
product is changed.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import structlog
import trio

from actors.control import CallControl
from actors.exits import CallerHungUp, Exit
from actors.messages import (
    CarrierFact,
    CarrierOrder,
    Clear,
    CreateResponse,
    DeleteItem,
    ItemAudio,
    Play,
    ReturnToolOutput,
    SessionFact,
    SessionOrder,
    TruncateItem,
)
from actors.policy.record import CallRecord
from actors.ports import CallStore, Carrier, Recorder, Session, Transfer, TransferOutcome
from actors.toolbox import ToolSchema
from gateway.calls import Offer
from gateway.configuration.config import Config
from gateway.lab.faults.fault_plan import Striker
from gateway.lab.judges.invariants import check
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.node import TakeCall, run_node
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.simulation import Wish, compose
from gateway.lab.virtual_time import VirtualClock
from gateway.phone_call import Outside, take_call
from gateway.tools.toolset import Toolset

SEEDS = range(1, 31)
"""The first of these in which something is found ends the search: half of all mutants need one."""

log = structlog.get_logger()


@attrs.define(eq=False)
class WrongCarrier:
    """Stands for a carrier that makes something else of the call's orders."""

    carrier: Carrier
    instead: Callable[[CarrierOrder], tuple[CarrierOrder, ...]]
    goodbye_s: float = 0.0

    async def receive(self) -> CarrierFact:
        return await self.carrier.receive()

    async def send(self, order: CarrierOrder) -> None:
        for one in self.instead(order):
            await self.carrier.send(one)

    async def hang_up(self) -> None:
        await self.carrier.hang_up()

    async def press(self, digits: str) -> None:
        await self.carrier.press(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        return await self.carrier.transfer(to)

    def hide_keys(self, hidden: bool) -> None:
        self.carrier.hide_keys(hidden)

    async def aclose(self) -> None:
        await trio.sleep(self.goodbye_s)
        await self.carrier.aclose()


@attrs.define(eq=False)
class WrongSession:
    """Stands for a session that makes something else of the call's orders, or of the facts."""

    session: Session
    instead: Callable[[SessionOrder], tuple[SessionOrder, ...]] = lambda order: (order,)
    heard: Callable[[SessionFact], SessionFact] = lambda fact: fact

    async def receive(self) -> SessionFact:
        return self.heard(await self.session.receive())

    async def send(self, order: SessionOrder) -> None:
        for one in self.instead(order):
            await self.session.send(one)

    async def aclose(self) -> None:
        await self.session.aclose()


@attrs.define(eq=False)
class WrongTools:
    """Stands for tools that are run in a way nobody asked for."""

    tools: Toolset
    times: int = 1
    tells: bool = False

    def schemas(self) -> tuple[ToolSchema, ...]:
        return self.tools.schemas()

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        if self.tells:
            log.info("tool.started", tool=name, given=arguments)
        for _ in range(self.times - 1):
            await self.tools.run(name, arguments, call)
        return await self.tools.run(name, arguments, call)

    def longest_s(self, name: str) -> float | None:
        return self.tools.longest_s(name)


@attrs.define(eq=False)
class WrongStore:
    """Stands for a store that keeps a record so many times."""

    store: CallStore
    times: Callable[[CallRecord], int]

    def has(self, call_sid: str) -> bool:
        return False

    async def finish(self, record: CallRecord) -> None:
        for _ in range(self.times(record)):
            await self.store.finish(record)
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class NeverClosed:
    """Stands for a recorder whose end nobody waits for."""

    recorder: Recorder

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        await self.recorder.caller(at_ms, ulaw)

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        await self.recorder.agent(at_ms, ulaw)

    async def cut(self, at_ms: int) -> None:
        await self.recorder.cut(at_ms)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def with_carrier(
    instead: Callable[[CarrierOrder], tuple[CarrierOrder, ...]], goodbye_s: float = 0.0
) -> TakeCall:
    async def take(
        config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
    ) -> Exit:
        wrong = WrongCarrier(carrier, instead, goodbye_s)
        return await take_call(config, tools, outside, offer, wrong)

    return take


def with_session(wrong: Callable[[Session], Session]) -> TakeCall:
    async def take(
        config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
    ) -> Exit:
        offer = attrs.evolve(offer, session=wrong(offer.session))
        return await take_call(config, tools, outside, offer, carrier)

    return take


def with_tools(wrong: Callable[[Toolset], Toolset]) -> TakeCall:
    async def take(
        config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
    ) -> Exit:
        return await take_call(config, wrong(tools), outside, offer, carrier)

    return take


def with_outside(wrong: Callable[[Outside], Outside]) -> TakeCall:
    async def take(
        config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
    ) -> Exit:
        return await take_call(config, tools, wrong(outside), offer, carrier)

    return take


async def says_who_hung_up_wrongly(
    config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
) -> Exit:
    """Take a call, and tell Twilio that the caller hung up, whatever happened."""
    await take_call(config, tools, outside, offer, carrier)
    return CallerHungUp()


async def tells_its_token(
    config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
) -> Exit:
    """Take a call, and log what opens its stream."""
    log.info("call.taken", with_what=offer.token)
    return await take_call(config, tools, outside, offer, carrier)


def without_clear(order: CarrierOrder) -> tuple[CarrierOrder, ...]:
    return () if isinstance(order, Clear) else (order,)


def losing_short_audio(order: CarrierOrder) -> tuple[CarrierOrder, ...]:
    """Drop what is no whole portion: the end of an item."""
    return () if isinstance(order, Play) and len(order.ulaw) < 320 else (order,)


def without_amendments(order: SessionOrder) -> tuple[SessionOrder, ...]:
    return () if isinstance(order, TruncateItem | DeleteItem) else (order,)


def cutting_too_late(order: SessionOrder) -> tuple[SessionOrder, ...]:
    if isinstance(order, TruncateItem):
        return (attrs.evolve(order, audio_end_ms=order.audio_end_ms + 5000),)
    return (order,)


def answering_twice(order: SessionOrder) -> tuple[SessionOrder, ...]:
    return (order, order) if isinstance(order, ReturnToolOutput) else (order,)


def never_answering(order: SessionOrder) -> tuple[SessionOrder, ...]:
    return () if isinstance(order, ReturnToolOutput) else (order,)


def asking_twice(order: SessionOrder) -> tuple[SessionOrder, ...]:
    return (order, order) if isinstance(order, CreateResponse) else (order,)


def crossed_lines() -> Callable[[SessionFact], SessionFact]:
    """What the model says in one call is heard in the next: state that all calls share."""
    latest: list[bytes] = []

    def heard(fact: SessionFact) -> SessionFact:
        if not isinstance(fact, ItemAudio):
            return fact
        latest.append(fact.ulaw)
        return attrs.evolve(fact, ulaw=latest[max(0, len(latest) - 2)])

    return heard


CROSSED = crossed_lines()


def once_unless_it_was_killed(record: CallRecord) -> int:
    return int(isinstance(record.ending, CallerHungUp))


def deaf(outside: Outside) -> Outside:
    recorder = outside.recorder
    return attrs.evolve(outside, recorder=lambda call_sid: NeverClosed(recorder(call_sid)))


MUTANTS: dict[str, tuple[str, TakeCall]] = {
    "nothing is cleared": ("I6", with_carrier(without_clear)),
    "the end of an item is lost": ("I3", with_carrier(losing_short_audio)),
    "the goodbye takes a second": ("I4", with_carrier(lambda order: (order,), goodbye_s=1.0)),
    "nothing is amended": ("I7", with_session(lambda one: WrongSession(one, without_amendments))),
    "truncated too late": ("I7", with_session(lambda one: WrongSession(one, cutting_too_late))),
    "two outputs": ("I7", with_session(lambda one: WrongSession(one, answering_twice))),
    "no output": ("I7", with_session(lambda one: WrongSession(one, never_answering))),
    "two responses": ("I7", with_session(lambda one: WrongSession(one, asking_twice))),
    "crossed lines": ("I8", with_session(lambda one: WrongSession(one, heard=CROSSED))),
    "a tool runs twice": ("I7", with_tools(lambda tools: WrongTools(tools, times=2))),
    "arguments are logged": ("I9", with_tools(lambda tools: WrongTools(tools, tells=True))),
    "a token is logged": ("I9", tells_its_token),
    "two records": (
        "I2",
        with_outside(lambda one: attrs.evolve(one, store=WrongStore(one.store, lambda _: 2))),
    ),
    "no record of most": (
        "I2",
        with_outside(
            lambda one: attrs.evolve(one, store=WrongStore(one.store, once_unless_it_was_killed))
        ),
    ),
    "a wrong ending": ("I2", says_who_hung_up_wrongly),
    "an open recording": ("I1", with_outside(deaf)),
}


def found(take: TakeCall, seed: int) -> list[str]:
    """What is wrong with a gateway to which nothing happens."""
    clock, setting = VirtualClock(), compose(seed, Wish(only=()))
    striker = Striker(setting.plan, clock.current_time)
    report = run_seeded(
        lambda: run_node(
            setting.calls, striker, seed=seed, toolbox=simulated_tools(), clock=clock, take=take
        ),
        seed=seed,
        clock=clock,
    )
    return check(report, striker)


@pytest.mark.parametrize("what", MUTANTS)
def test_a_gateway_with_one_thing_wrong_is_found_within_a_few_seeds(what: str) -> None:
    promise, take = MUTANTS[what]

    for seed in SEEDS:
        if any(one.startswith(f"{promise} ") for one in found(take, seed)):
            return
    pytest.fail("nobody noticed")


def test_a_gateway_with_nothing_wrong_is_not_complained_of() -> None:
    assert [found(take_call, seed) for seed in SEEDS[:2]] == [[], []]
