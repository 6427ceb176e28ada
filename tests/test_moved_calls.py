"""Simulated calls that are moved about: keys, transfers and digits, under faults of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count, islice
from random import Random

import attrs
import pytest

from actors.control import CallControl
from actors.exits import Exit
from actors.ports import Carrier
from actors.toolbox import ToolSchema
from gateway.calls import Offer
from gateway.configuration.config import Config
from gateway.lab.faults.fault_catalogue import GENERATORS
from gateway.lab.faults.fault_plan import FaultPlan, Striker, dump, parse
from gateway.lab.faults.fault_story import story
from gateway.lab.faults.move_faults import MOVE_GENERATORS
from gateway.lab.judges.invariants import check
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.moves import SIMULATIONS, draw_moves
from gateway.lab.simulator.node import TakeCall, run_node
from gateway.lab.simulator.simulated_tools import MOVES, simulated_tools
from gateway.lab.simulator.simulation import Setting, Wish, compose, play
from gateway.lab.simulator.workload import draw_calls
from gateway.lab.virtual_time import VirtualClock
from gateway.phone_call import Outside, take_call
from gateway.tools.toolset import Toolset
from tests.test_mutants import WrongCarrier

QUIET = Wish(only=())


OUTCOMES = {("completed", True), ("busy", False), ("no-answer", False), ("failed", False)}
"""What may become of a transfer, and whether the two were connected."""


def moving(wish: Wish, amount: int) -> list[Setting]:
    """The first simulations in which somebody is moved."""
    settings = (compose(seed, wish) for seed in count(1))
    return list(islice((one for one in settings if is_moving(one)), amount))


def is_moving(setting: Setting) -> bool:
    return any(call.is_moved for call in setting.calls)


def test_most_simulations_are_what_they_were_before_calls_were_moved() -> None:
    still = 0
    for seed in range(400):
        calls = draw_calls(Random(f"{seed}/calls"), simulated_tools().schemas())
        moved, faults = draw_moves(Random(f"{seed}/moves"), calls)
        if not any(call.is_moved for call in moved):
            still += 1
            assert moved == calls
            assert faults == ()

    assert still / 400 == pytest.approx(1 - SIMULATIONS, abs=0.1)


def test_a_seed_moves_the_same_calls_in_the_same_way() -> None:
    assert [compose(seed) for seed in range(30)] == [compose(seed) for seed in range(30)]


@pytest.mark.parametrize("fault_id", sorted(MOVE_GENERATORS))
def test_a_generator_draws_examples_of_a_fault_of_the_catalogue_for_its_own_call(
    fault_id: str,
) -> None:
    call = moving(QUIET, 1)[0].calls[0]
    for seed in range(50):
        faults = MOVE_GENERATORS[fault_id](Random(seed), call)

        assert fault_id in GENERATORS
        assert {(fault.id, fault.call) for fault in faults} == {(fault_id, call.number)}
        assert all(story(fault) for fault in faults)
        assert parse(dump(FaultPlan(tuple(faults)))).faults == tuple(faults)


def test_without_faults_everything_that_was_asked_for_is_done() -> None:
    endings: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    outcomes: set[tuple[str, bool]] = set()
    pressed = 0
    for number, setting in enumerate(moving(QUIET, 90)):
        if number >= 30 and outcomes >= OUTCOMES:
            break
        played = play(setting)
        assert played.outcome.violations == ()
        endings += played.outcome.endings
        for seen in played.report.calls:
            ran.update(seen.tools.runs)
            assert seen.report is not None
            assert seen.report.problem is None
            outcomes |= {(one.status, one.bridged) for one in seen.report.transfers}
            pressed += len(seen.report.pressed_by_agent)

    assert set(ran) >= MOVES
    assert endings["Transferred"] >= 3
    assert pressed > 10
    assert outcomes >= OUTCOMES


@pytest.mark.parametrize(
    ("fault_id", "ways"),
    [
        ("F07", {"stream.open drop", "stream.open delay", "stream.open duplicate"}),
        ("F10", {"webhook drop", "webhook delay", "webhook duplicate"}),
        ("F35", {"rest raise", "rest delay"}),
        ("F37", {"rest raise"}),
        ("F39", {"rest inject"}),
    ],
)
def test_under_a_fault_of_moving_every_promise_is_kept_and_it_strikes_in_every_way(
    fault_id: str, ways: set[str]
) -> None:
    struck: set[str] = set()
    for setting in moving(Wish(only=(fault_id,)), 40 if fault_id == "F07" else 12):
        played = play(setting)
        assert played.outcome.violations == ()
        struck |= {f"{one.fault.place} {one.fault.do}" for one in played.striker.log}

    assert ways <= struck


def test_a_simulation_that_moves_calls_is_the_same_twice() -> None:
    for setting in moving(Wish(), 4):
        assert play(setting).outcome.trace_hash == play(setting).outcome.trace_hash


@attrs.define(eq=False)
class PressesTwice(WrongCarrier):
    """Stands for a carrier that does what it was asked once a second time."""

    async def press(self, digits: str) -> None:
        await self.carrier.press(digits)
        await self.carrier.press(digits)


@attrs.define(eq=False)
class TellsPins:
    """Stands for an agent's functions of which one tells the model what is nobody's business."""

    tools: Toolset

    def schemas(self) -> tuple[ToolSchema, ...]:
        return self.tools.schemas()

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        return await self.tools.run(name, arguments.replace("true", "false"), call)

    def longest_s(self, name: str) -> float | None:
        return self.tools.longest_s(name)


def wrong_carrier(wrong: Callable[[Carrier], Carrier]) -> TakeCall:
    async def take(
        config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
    ) -> Exit:
        return await take_call(config, tools, outside, offer, wrong(carrier))

    return take


async def telling_pins(
    config: Config, tools: Toolset, outside: Outside, offer: Offer, carrier: Carrier
) -> Exit:
    return await take_call(config, TellsPins(tools), outside, offer, carrier)


@pytest.mark.parametrize(
    ("take", "promise", "what"),
    [
        (
            wrong_carrier(partial(PressesTwice, instead=lambda order: (order,))),
            *("I7", "keys went to the carrier 2 times"),
        ),
        (telling_pins, "I9", "keys that were private"),
    ],
)
def test_a_gateway_that_moves_calls_wrongly_is_found(
    take: TakeCall, promise: str, what: str
) -> None:
    # One at a time, and no more than it takes: each is a third of a second.
    complaints = (one for setting in moving(QUIET, 25) for one in found(setting, take))

    assert any(one.startswith(promise) and what in one for one in complaints)


def found(setting: Setting, take: TakeCall) -> list[str]:
    clock = VirtualClock()
    striker = Striker(setting.plan, clock.current_time)
    report = run_seeded(
        lambda: run_node(
            setting.calls,
            striker,
            seed=setting.seed,
            toolbox=simulated_tools(with_moves=True),
            take=take,
        ),
        seed=setting.seed,
        clock=clock,
    )
    return check(report, striker)
