"""The clock of simulations, the naps that go with it, and a scheduler that repeats itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from trio._core import _run

from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.virtual_time import Nap, VirtualClock

Clocks = Callable[[], trio.abc.Clock]
CLOCKS = pytest.mark.parametrize(
    "clock", [VirtualClock, lambda: trio.testing.MockClock(autojump_threshold=0)]
)
"""A nap is the same nap under either."""


def run(main: Callable[[], Awaitable[object]], clock: Clocks) -> object:
    async def bounded() -> object:
        with trio.fail_after(1000):
            return await main()

    return trio.run(bounded, clock=clock())


@CLOCKS
def test_a_nap_ends_at_its_moment(clock: Clocks) -> None:
    async def main() -> float:
        began_s = trio.current_time()
        await Nap().until(began_s + 12.5)
        return trio.current_time() - began_s

    assert run(main, clock) == pytest.approx(12.5, abs=1e-9)


@CLOCKS
def test_a_nap_can_be_brought_forward_and_not_put_off(clock: Clocks) -> None:
    async def main() -> float:
        nap, began_s = Nap(), trio.current_time()

        async def meddle() -> None:
            await trio.sleep(1)
            nap.move(began_s + 3)
            nap.move(began_s + 50)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meddle)
            await nap.until(began_s + 10)
        return trio.current_time() - began_s

    assert run(main, clock) == pytest.approx(3, abs=1e-9)


@CLOCKS
def test_a_wake_ends_a_nap_and_one_too_early_is_remembered_once(clock: Clocks) -> None:
    async def main() -> list[float]:
        nap, began_s, woken_s = Nap(), trio.current_time(), list[float]()
        nap.wake()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                await nap.until(began_s + 10)
                woken_s.append(trio.current_time() - began_s)
                nursery.start_soon(trio.sleep, 0)
            nursery.start_soon(_later, 1, nap)
            await nap.until(float("inf"))
            woken_s.append(trio.current_time() - began_s)
        return woken_s

    assert run(main, clock) == pytest.approx([0, 10, 11], abs=1e-9)


async def _later(wait_s: float, nap: Nap) -> None:
    await trio.sleep(wait_s)
    nap.wake()


@CLOCKS
def test_a_cancelled_nap_leaves_nothing_behind(clock: Clocks) -> None:
    async def main() -> float:
        nap, began_s = Nap(), trio.current_time()
        with trio.move_on_after(1) as patience:
            await nap.until(began_s + 5)
        assert patience.cancelled_caught
        await nap.until(began_s + 20)  # The alarm of the first is still set, and wakes nobody.
        return trio.current_time() - began_s

    assert run(main, clock) == pytest.approx(20, abs=1e-9)


def test_virtual_time_serves_deadlines_and_naps_in_the_order_of_time() -> None:
    async def main() -> list[str]:
        order = list[str]()

        async def sleeper(at_s: float) -> None:
            await trio.sleep_until(at_s)
            order.append(f"deadline {trio.current_time():g}")

        async def napper(at_s: float) -> None:
            await Nap().until(at_s)
            order.append(f"nap {trio.current_time():g}")

        async with trio.open_nursery() as nursery:
            for at_s in (4, 2):
                nursery.start_soon(sleeper, at_s)
            for at_s in (3, 1):
                nursery.start_soon(napper, at_s)
        return order

    assert run(main, VirtualClock) == ["nap 1", "deadline 2", "nap 3", "deadline 4"]


def test_a_jump_makes_everything_late_at_once() -> None:
    clock = VirtualClock()

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
            nursery.start_soon(Nap().until, 6)
            await trio.sleep(1)
            clock.jump(600)
        return trio.current_time()

    assert trio.run(main, clock=clock) == 601


async def _race() -> list[int]:
    """Who of many comes first, again and again: nothing but the scheduler decides."""
    order = list[int]()

    async def runner(number: int) -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(runner, number)
    return order


def test_the_same_seed_is_the_same_schedule_and_others_are_others() -> None:
    schedules = {seed: [run_seeded(_race, seed=seed) for _ in range(3)] for seed in range(10)}

    for first, *others in schedules.values():
        assert others == [first, first]
    assert len({tuple(runs[0]) for runs in schedules.values()}) == 10


def test_a_seeded_run_leaves_the_schedulers_dice_as_they_were() -> None:
    """The canary of two private names of trio's: when they go, this is the first to say so."""
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()

    run_seeded(_race, seed=1)

    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) == before
