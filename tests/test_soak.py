"""Hours of calls on a line leave nothing behind, and what is left behind would be found."""

from __future__ import annotations

from random import Random

import trio

from actors.lanes import Lane
from actors.toolbox import Toolbox
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.soak import ENDLESS, draw_days, soak

KEPT: list[Lane[int]] = []


def hoarding() -> Toolbox:
    """An agent whose function keeps something of the product's for every call."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up(what: str) -> str:
        """Find something, and keep a lane."""
        KEPT.append(Lane(what, 1))
        await trio.sleep(0.01)
        return "found"

    return toolbox


def test_hours_of_calls_leave_nothing_behind() -> None:
    soaked = soak(4, 1, seed=2)

    assert soaked.calls > 10
    assert soaked.looks > 2
    assert soaked.violations == ()


def test_what_piles_up_is_named() -> None:
    try:
        soaked = soak(4, 1, seed=2, toolbox=hoarding())
    finally:
        KEPT.clear()

    assert any("more of actors.lanes.Lane" in violation for violation in soaked.violations)


def test_a_line_has_one_call_at_a_time_and_now_and_then_an_endless_one() -> None:
    calls = draw_days(Random(1), 10, 24 * 3600, simulated_tools().schemas())
    turns = [len(call.scenario.model.answers) for call in calls]

    assert [call.number for call in calls] == list(range(len(calls)))
    assert [call.starts_ms for call in calls] == sorted(call.starts_ms for call in calls)
    assert sum(count > ENDLESS for count in turns) >= 3
