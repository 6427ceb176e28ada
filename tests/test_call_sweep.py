"""Calls are disturbed at every single step of them, and never leave anything behind.

The strongest cheap test of structured cancellation: whatever an actor was in the middle of, the
sockets are closed, the record is written once, and it is over within the bound. What fails here
names its point, and the command that does it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import pytest

from tests.sweeps import (
    Disturbance,
    Point,
    count,
    orders,
    points,
    run,
    start_workers,
    sweep,
    violations,
)
from tests.swept_calls import CALLS

POINTS: Final = 10_000


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with start_workers() as pool:
        yield pool


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_the_sweep_is_eventful_as_claimed(call: str) -> None:
    """Else the sweep would prove nothing."""
    whole = run(Point(call=call))

    assert type(whole.one.record.ending) is CALLS[call].ending
    assert CALLS[call].is_eventful(whole.one)
    assert whole.violations() == []


def test_the_sweep_is_as_long_as_promised() -> None:
    assert len(CALLS) >= 12
    assert sum(count(call, seed=seed) for call in CALLS for seed in orders(POINTS)) >= POINTS


@pytest.mark.parametrize("call", CALLS)
def test_cancelled_at_any_step_a_call_leaves_nothing_behind(
    call: str, workers: ProcessPoolExecutor
) -> None:
    """Its goodbyes are steps too."""
    assert sweep(points(call, seeds=orders(POINTS)), workers) == []


@pytest.mark.parametrize(
    ("disturbance", "call"),
    [
        ("cancel_twice", "goodbye"),
        ("cancel_twice", "slow-disk"),
        ("past_deadline", "two-items"),
        ("carrier", "barge-in"),
        ("carrier", "goodbye"),
        ("session", "parallel-tools"),
        ("session", "goodbye"),
    ],
)
def test_disturbed_in_other_ways_it_leaves_nothing_behind_either(
    disturbance: Disturbance, call: str, workers: ProcessPoolExecutor
) -> None:
    """Cancelled again while it says goodbye; out of time; or a port raises what no port should."""
    assert sweep(points(call, disturbance), workers) == []


def test_a_point_is_the_same_point_every_time() -> None:
    """What failed once can be looked at."""
    first, second = (run(Point(call="barge-in", step=200, seed=7)) for _ in range(2))

    assert (first.disturbed_s, first.over_s) == (second.disturbed_s, second.over_s)
    assert first.steps == second.steps
    assert first.one.store.records == second.one.store.records
    assert first.one.model.received == second.one.model.received


def test_a_point_that_never_came_is_a_violation() -> None:
    """A sweep that lost its determinism would pass by disturbing nobody."""
    (wrong,) = violations(Point(call="refused", step=100_000))

    assert "never came to step 100000" in wrong
    assert wrong.endswith("(python -m tests.sweeps refused 100000)")
