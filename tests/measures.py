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

from gateway.lab.rehearsing import scenario, speech
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.world import World
from tests.barge_in_world import one_call
from tests.killed_sessions import long_call, summary
from tests.killed_sessions import one_call as one_killed
from tests.malicious import play
from tests.number_strings import TRICKS
from tests.sweeps import LEG_S, Run, points, run
from tests.swept_calls import CALLS
from tests.test_numbers import STRINGS, guard, judged

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


def sessions() -> tuple[str, bool]:
    """One call, and its session killed behind every frame of the model's."""
    frames = one_killed(None).after
    return summary([one_killed(after) for after in range(2, frames + 1)])


def rotation(hours: float = 3.0) -> tuple[str, bool]:
    """A call longer than its sessions, in which somebody says something every minute."""
    turns = int(hours * 60)
    one, _ = long_call(session_s=3600.0, every_ms=60_000 - 2_000, turns=turns)
    waited_ms = [turn.first_heard_ms or 0 for turn in one.record.turns]
    gap_ms = max(waited_ms) - min(waited_ms)
    words = {
        part.get("text") or part.get("transcript")
        for item in one.models[-1].conversation.items()
        for part in item.get("content", ())
    }
    told = sum(f"Answer {n}." in words for n in range(turns))
    text = (
        f"a call of {one.record.duration_ms / 3.6e6:.2f} h in {len(one.models)} sessions: "
        f"answers differ by {gap_ms} ms, and the last session knows {told} of {turns}"
    )
    return text, gap_ms <= 300 and len(one.models) >= 3 and told >= turns - 1


def malicious(count: int = 10_000) -> tuple[str, bool]:
    """What models do that are controlled by whoever is on the phone."""
    found, tally = play("measured", count)
    refused = tally["refused"] + tally["declined"]
    words = (
        f"{count:,} sequences, {tally['wanted']:,} things wanted: {tally['high done']:,} of high "
        f"risk done with a yes to each, {refused:,} refused; {len(found)} done that should not "
        "have been, done twice, or done before its row was written"
    )
    return words, not found and tally["high done"] > 0


def numbers() -> tuple[str, bool]:
    """What is dialled of numbers that somebody wrote to deceive."""
    let_through, complaints = judged(guard, STRINGS)
    words = (
        f"{STRINGS:,} strings of {len(TRICKS)} kinds: {let_through.total():,} let through, "
        f"{complaints.total()} of them not what was checked, or not allowed"
    )
    return words, not complaints and let_through.total() > 0


def _teardown_ms(one: Run) -> float:
    return math.inf if one.disturbed_s is None else 1000 * (one.over_s - one.disturbed_s)


def _percentile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


MEASURES: Final[dict[str, Callable[[], tuple[str, bool]]]] = {
    "heard": heard,
    "malicious": malicious,
    "numbers": numbers,
    "rotation": rotation,
    "sessions": sessions,
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
