"""Measured, not asserted: how well "heard" is known, and how fast virtual time runs.

Run by `scripts/bench`. Figures of time are ratios within one run: machines differ.
"""

from __future__ import annotations

import sys
import time
from statistics import mean, median

import structlog
import trio
import trio.testing

from gateway.lab.rehearsing import scenario, speech
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.world import World
from tests.barge_in_world import one_call


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def bench_heard(calls: int = 600) -> None:
    """Belief against truth over simulated barge-ins; items that neither heard are left out."""
    say("heard: |belief - truth| in ms")
    say("  items  carrier buffer  barge-ins   mean    p95    max  truncates beyond what was sent")
    for jitter_buffer_ms in (0.0, 60.0, 150.0):
        for items in (1, 2, 3):
            verdicts = [
                verdict
                for seed in range(calls)
                for verdict in one_call(seed, items=items, jitter_buffer_ms=jitter_buffer_ms)
            ]
            errors = sorted(
                abs(verdict.believed_ms - verdict.true_ms)
                for verdict in verdicts
                if verdict.believed_ms or verdict.true_ms
            )
            p95 = errors[int(0.95 * len(errors))]
            beyond = sum(verdict.believed_ms > verdict.sent_ms for verdict in verdicts)
            say(
                f"  {items:>5}  {jitter_buffer_ms:>11.0f} ms  {len(errors):>9}  "
                f"{mean(errors):>5.1f}  {p95:>5.1f}  {errors[-1]:>5.0f}  {beyond}"
            )


def bench_virtual_time(runs: int = 5) -> None:
    """The shipped demonstration call, all actors, both wires."""
    ratios: list[float] = []
    for _ in range(runs):
        one = World(scenario.load("front-desk"), speech.speak, toolbox=demo_tools())
        began_s = time.perf_counter()
        trio.run(one.run, clock=trio.testing.MockClock(autojump_threshold=0))
        ratios.append(one.record.duration_ms / 1000 / (time.perf_counter() - began_s))
    say(f"virtual time: {median(ratios):.0f} call seconds per second (median of {runs})")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    bench_heard()
    bench_virtual_time()
