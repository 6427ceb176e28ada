"""Many simulations, side by side in processes of their own, each by its seed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import Final

import attrs

from gateway.lab.simulator.simulation import Outcome, Wish, simulate

SEEDS_AT_ONCE: Final = 8
"""What a process is given at a time: seconds of work, so that progress is seen."""
TWICE_IN: Final = 100
"""One seed in so many is simulated twice, and both times must be the same."""
_TOLD_CHARACTERS: Final = 600
"""Of a traceback: its end says the most."""


@attrs.define
class Tally:
    """What came of many simulations."""

    simulations: int = 0
    calls: int = 0
    call_s: float = 0.0
    """Virtual time of calls: see `Outcome`."""
    repeated: int = 0
    """Simulations that were run twice."""
    struck: Counter[str] = attrs.field(factory=Counter[str])
    """Faults that took effect, by id."""
    calls_struck: Counter[str] = attrs.field(factory=Counter[str])
    """Calls in which a fault took effect, by its id: a fault that lasts counts once."""
    endings: Counter[str] = attrs.field(factory=Counter[str])
    failed: list[Outcome] = attrs.field(factory=list[Outcome])
    """Those in which an invariant did not hold."""

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.simulations += 1
        self.calls += outcome.calls
        self.call_s += outcome.call_s
        self.repeated += outcome.repeated
        self.struck.update(outcome.struck)
        self.calls_struck.update(outcome.calls_struck)
        self.endings.update(outcome.endings)
        if outcome.violations:
            self.failed.append(outcome)


def simulate_seeds(
    seeds: Iterable[int], wish: Wish, *, jobs: int | None = None
) -> Generator[Outcome]:
    """Simulate every seed. Yields outcomes as they come, which is in no order.

    Args:
        seeds: As many as you like: a few hundred are looked at ahead.
        wish: What else is wanted of every simulation.
        jobs: Processes; as many as there are processors when `None`. With 1, it is this one.

    """
    jobs = jobs or os.cpu_count() or 1
    work = partial(_simulate_all, wish)
    if jobs == 1:
        for seed in seeds:
            yield from work([seed])
        return
    batches = _batched(seeds, SEEDS_AT_ONCE)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_stopping_to_us) as pool:
        running = {pool.submit(work, batch) for batch in islice(batches, 2 * jobs)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(work, batch) for batch in islice(batches, len(done))}
                for future in done:
                    yield from future.result()
        finally:
            _forget(running)


def _leave_stopping_to_us() -> None:
    """Ctrl-C goes to every process of a terminal; one of them is enough to end all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _forget(running: Iterable[Future[list[Outcome]]]) -> None:
    """Take back what has not begun: whoever stops listening wants to go home."""
    for future in running:
        future.cancel()


def _simulate_all(wish: Wish, seeds: list[int]) -> list[Outcome]:
    return [_simulate(seed, wish) for seed in seeds]


def _simulate(seed: int, wish: Wish) -> Outcome:
    """One seed; one in a hundred twice. A simulator that fails is a simulation that failed."""
    try:
        outcome = simulate(seed, wish)
        if seed % TWICE_IN:
            return outcome
        again = simulate(seed, wish)
    except Exception:  # noqa: BLE001 - whatever it is, the other seeds go on.
        words = traceback.format_exc().strip()[-_TOLD_CHARACTERS:]
        return Outcome.failed(seed, f"the simulator itself failed: {words}")
    flaws = outcome.violations
    if again.trace_hash != outcome.trace_hash:
        flaws = (*flaws, "determinism: the same seed did not do the same thing twice")
    return attrs.evolve(outcome, violations=flaws, repeated=1)


def _batched(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(seeds)
    while batch := list(islice(iterator, size)):
        yield batch
