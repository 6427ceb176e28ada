"""Thousands of calls under faults, in virtual time; and that the simulator would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog
import trio

from actors.toolbox import Toolbox
from gateway.lab.faults import fault_plan
from gateway.lab.faults.fault_catalogue import GENERATORS
from gateway.lab.simulator.seeds import TWICE_IN, Tally, simulate_seeds
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.simulation import Wish, compose, play, simulate
from gateway.lab.simulator.story import tell

SEEDS = range(1, 901)
CALLS = 2000
HITS = 20


@pytest.fixture(scope="module")
def tally() -> Tally:
    tally = Tally()
    for outcome in simulate_seeds(SEEDS, Wish()):
        tally.add(outcome)
    return tally


def test_in_2000_calls_under_faults_every_promise_is_kept(tally: Tally) -> None:
    assert tally.calls >= CALLS
    assert [
        (violation, f"offhook simulate --seed {outcome.seed}")
        for outcome in tally.failed
        for violation in outcome.violations
    ] == []


def test_every_fault_took_effect_in_20_of_those_calls(tally: Tally) -> None:
    assert {name: tally.calls_struck[name] for name in GENERATORS} == {
        name: pytest.approx(max(HITS, tally.calls_struck[name])) for name in GENERATORS
    }


def test_one_seed_in_a_hundred_was_run_twice_and_did_the_same(tally: Tally) -> None:
    """That it did is among the promises; here, that it was tried."""
    assert tally.repeated == len(SEEDS) // TWICE_IN


def test_calls_ended_in_every_way_that_there_is(tally: Tally) -> None:
    assert {
        *("CallerHungUp", "AgentHungUp", "PeerLost", "Refused"),
        *("TimedOut", "Killed", "Crashed"),
    } <= tally.endings.keys()


def test_a_seed_is_the_same_in_another_process_with_another_order_of_hashes() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-m", "gateway", "simulate", "--seed", "17"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(traces) == 1
    assert simulate(17).trace_hash in traces.pop()


def test_seeds_differ() -> None:
    traces = {simulate(seed).trace_hash for seed in range(1, 11)}

    assert len(traces) == 10


def test_a_plan_can_be_written_down_and_played_again() -> None:
    for seed in range(1, 6):
        drawn = compose(seed)
        again = compose(seed, Wish(plan=fault_plan.parse(fault_plan.dump(drawn.plan))))

        assert again == drawn
        assert play(again).outcome.trace_hash == play(drawn).outcome.trace_hash


def test_without_faults_nothing_strikes_and_phones_have_nothing_to_complain_of() -> None:
    for seed in range(1, 21):
        played = play(compose(seed, Wish(only=())))
        assert played.outcome.violations == ()
        assert not played.striker.log
        for seen in played.report.calls:
            assert seen.report is not None
            assert seen.report.problem is None


def gossiping() -> Toolbox:
    """An agent whose function tells the log what was said: it breaks a promise."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up(what: str) -> str:
        """Find something, and tell everybody."""
        structlog.get_logger().info("looked.up", what=what)
        await trio.sleep(0.01)
        return "found"

    return toolbox


def forgetful() -> Toolbox:
    """An agent whose function leaves a file open behind every call."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up(what: str) -> str:
        """Find something, and never put it back."""
        LEFT_OPEN.append(os.open(os.devnull, os.O_RDONLY))
        await trio.sleep(0.01)
        return f"found {what}"

    return toolbox


LEFT_OPEN: list[int] = []


@pytest.fixture
def tidied() -> Iterator[None]:
    yield
    while LEFT_OPEN:
        os.close(LEFT_OPEN.pop())


@pytest.mark.parametrize(
    ("toolbox", "promise"), [(gossiping, "I9"), (forgetful, "I1")], ids=["gossip", "leak"]
)
def test_a_broken_promise_is_found_and_told(
    toolbox: Callable[[], Toolbox], promise: str, tidied: None
) -> None:
    for seed in range(1, 40):
        setting = compose(seed, Wish(only=()), toolbox=toolbox())
        played = play(setting, toolbox=toolbox())
        if any(violation.startswith(promise) for violation in played.outcome.violations):
            assert "what did not hold:" in tell(setting, played)
            return
    pytest.fail("nobody noticed")


def test_the_simulated_tools_need_neither_threads_nor_sockets() -> None:
    """Virtual time would overtake them."""
    played = play(compose(3, Wish(only=()), toolbox=simulated_tools()))

    assert played.outcome.violations == ()
