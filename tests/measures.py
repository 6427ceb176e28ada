"""Measurements for the scorecard that no command of the product makes: one per name.

Each prints what it measured and whether that passes, as JSON, in its last line.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from statistics import mean, median
from typing import Final

import orjson
import structlog

from gateway.lab import scenario, speech
from gateway.lab.demo_tools import demo_tools
from gateway.lab.determinism import run_seeded
from gateway.lab.world import World
from tests.barge_in_world import one_call
from tests.sweeps import LEG_S, Run, points, run
from tests.swept_calls import CALLS

EVERY: Final = 7
"""Of the steps of a call, how many are tried for its teardown: the sweep tries all of them."""


def heard(calls: int = 600) -> tuple[str, bool]:
    """How far belief about what was heard lies from the truth; what neither heard is left out."""
    verdicts = [
        verdict
        for items in (1, 2, 3)
        for seed in range(calls)
        for verdict in one_call(seed, items=items)
    ]
    errors = sorted(
        abs(verdict.believed_ms - verdict.true_ms)
        for verdict in verdicts
        if verdict.believed_ms or verdict.true_ms
    )
    p95 = _percentile(errors, 0.95)
    beyond = sum(verdict.believed_ms > verdict.sent_ms for verdict in verdicts)
    words = (
        f"{len(errors):,} barge-ins: mean {mean(errors):.1f} ms, p95 {p95:.1f} ms, "
        f"{beyond} truncates beyond what was sent"
    )
    return words, mean(errors) <= 10 and p95 <= 40 and beyond == 0


def speed(runs: int = 9) -> tuple[str, bool]:
    """The shipped demonstration call, all actors and both wires, on one core."""
    ratios: list[float] = []
    for seed in range(runs):
        one = World(scenario.load("front-desk"), speech.speak, toolbox=demo_tools(), seed=seed)
        began_s = time.perf_counter()
        run_seeded(one.run, seed=seed)
        ratios.append(one.record.duration_ms / 1000 / (time.perf_counter() - began_s))
    words = f"{median(ratios):.0f} call seconds per second on one core (median of {runs} calls)"
    return words, median(ratios) >= 300


def teardown() -> tuple[str, bool]:
    """How long a call takes to die, whatever it was doing when it was cancelled."""
    runs = [run(point) for call in CALLS for point in points(call)[::EVERY]]
    took_ms = sorted(_teardown_ms(one) for one in runs)
    words = (
        f"{len(runs):,} calls cancelled: p99 {_percentile(took_ms, 0.99):.0f} ms, "
        f"longest {took_ms[-1]:.0f} ms"
    )
    return words, took_ms[-1] <= 1000 * LEG_S


def _teardown_ms(one: Run) -> float:
    return math.inf if one.disturbed_s is None else 1000 * (one.over_s - one.disturbed_s)


def _percentile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


MEASURES: Final[dict[str, Callable[[], tuple[str, bool]]]] = {
    "heard": heard,
    "speed": speed,
    "teardown": teardown,
}


def main(arguments: list[str]) -> int:
    """Measure one thing and say it."""
    parser = argparse.ArgumentParser(prog="python -m tests.measures", description=__doc__)
    parser.add_argument("what", choices=MEASURES)
    args = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    measured, passed = MEASURES[args.what]()
    sys.stdout.write(orjson.dumps({"measured": measured, "passed": passed}).decode() + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
