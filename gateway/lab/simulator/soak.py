"""Days of calls on a few lines, in virtual time; and whether anything is left behind by them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

import attrs
import trio

from actors.messages import ULAW_BYTES_PER_MS
from actors.toolbox import Toolbox, ToolSchema
from gateway.calls import Calls
from gateway.lab.faults.fault_plan import FaultPlan, Striker
from gateway.lab.judges.evidence import NodeReport
from gateway.lab.judges.invariants import TaskCount, check
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.node import run_node
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.workload import SimulatedCall, draw_call
from gateway.lab.virtual_time import VirtualClock

LONGEST_CALL_S: Final = 2 * 3600.0
"""Long enough for more than one session of the model, which lasts an hour."""
ENDLESS: Final = 2500
"""Turns of a call that nobody ends: the gateway has to."""
ENDLESS_IN: Final = 100
"""One call in so many is such a call."""
PAUSE_MS: Final = (5_000, 2_400_000)
"""Between two calls of a line: least and most."""

LOOK_EVERY_S: Final = 5.0
COUNT_EVERY_S: Final = 1200.0
"""At most so often, and only while no call is going on, objects are counted."""
WARM_UP_S: Final = 3600.0
"""What is made once, such as caches, is made by then."""

_LAB: Final = "gateway.lab"
_KEPT: Final = (
    *("actors.policy.record.", "actors.exits.", "actors.messages.Usage"),
    *("gateway.calls.Ended", "gateway.calls.IncomingCall"),
)
"""What stays, since the simulation keeps every call's record, and the gateway knows for ten minutes
how calls ended: names begin like this."""


@attrs.frozen(kw_only=True)
class Soaked:
    """What came of it."""

    calls: int
    hours: float
    """Of virtual time."""
    call_s: float
    """Of calls: the caller's audio that reached the gateway."""
    moved: int
    """Sessions that took over from another one."""
    timed_out: int
    """Calls that lasted until the gateway's limit."""
    looks: int
    """Moments without a call at which everything was counted."""
    violations: tuple[str, ...]


def soak(
    hours: float,
    lines: int,
    *,
    seed: int = 1,
    toolbox: Toolbox | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Soaked:
    """Keep so many lines busy for so long, and see that nothing piles up.

    Whenever no call is going on, every object that the product made is counted, and the numbers
    must be those of the first such moment after an hour.

    Args:
        hours: Of virtual time.
        lines: Calls at the same time, at most.
        seed: Of everything that is drawn.
        toolbox: The agent's functions; `simulated_tools` when `None`.
        tell: Given a line of progress every virtual hour.

    """
    random, tools = Random(f"{seed}/soak"), toolbox or simulated_tools()
    calls = draw_days(random, lines, hours * 3600, tools.schemas())
    clock, tasks = VirtualClock(), TaskCount()
    striker = Striker(FaultPlan(), clock.current_time)
    watch = _Watch(tasks, tell)

    async def run() -> NodeReport:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.look)
            report = await run_node(
                calls,
                striker,
                seed=seed,
                toolbox=tools,
                clock=clock,
                call_s=2 * LONGEST_CALL_S,
                max_call_s=LONGEST_CALL_S,
                is_up=watch.begin,
            )
            nursery.cancel_scope.cancel("over")
        return report

    report = run_seeded(run, seed=seed, clock=clock, instruments=[tasks])
    heard_bytes = sum(stream.caller_bytes for seen in report.calls for stream in seen.streams)
    endings = Counter(type(seen.ending).__name__ for seen in report.calls)
    return Soaked(
        calls=len(report.calls),
        hours=report.lasted_s / 3600,
        call_s=heard_bytes / (1000 * ULAW_BYTES_PER_MS),
        moved=sum(max(0, len(seen.sessions) - 1) for seen in report.calls),
        timed_out=endings["TimedOut"],
        looks=watch.looks,
        violations=(*check(report, striker, tasks), *watch.complaints),
    )


def draw_days(
    random: Random, lines: int, length_s: float, tools: Sequence[ToolSchema]
) -> tuple[SimulatedCall, ...]:
    """Draw the calls of some lines, each line's one after the other."""
    starts = sorted(
        (starts_ms, line, turns)
        for line in range(lines)
        for starts_ms, turns in _line(random, length_s)
    )
    return tuple(
        draw_call(random, number, starts_ms, tools, turns=turns)
        for number, (starts_ms, _, turns) in enumerate(starts)
    )


def _line(random: Random, length_s: float) -> Iterator[tuple[int, int]]:
    """When the calls of one line begin, in ms, and how many turns they have."""
    at_ms = random.randint(*PAUSE_MS)
    while at_ms < length_s * 1000:
        is_endless = random.randrange(ENDLESS_IN) == 0
        turns = ENDLESS if is_endless else random.choice((0, 1, 2, 3, 5, 8, 13))
        yield at_ms, turns
        # Longer than it is going to last, so that a line never has two calls.
        lasts_ms = LONGEST_CALL_S * 1000 if is_endless else (turns + 3) * 6_000
        at_ms += round(lasts_ms) + random.randint(*PAUSE_MS)


@attrs.define(eq=False)
class _Watch:
    tasks: TaskCount
    tell: Callable[[str], None]
    looks: int = attrs.field(default=0, init=False)
    complaints: list[str] = attrs.field(factory=list[str], init=False)
    _live: Calls | None = attrs.field(default=None, init=False)
    _first: Counter[str] | None = attrs.field(default=None, init=False)
    _idle_tasks: int | None = attrs.field(default=None, init=False)

    def begin(self, live: Calls) -> None:
        """From here on there are calls to look at."""
        self._live = live

    async def look(self) -> None:
        """Look every now and then, until cancelled."""
        next_s, told_h = WARM_UP_S, 0
        while True:
            await trio.sleep(LOOK_EVERY_S)
            now_s = trio.current_time()
            if now_s // 3600 > told_h:
                told_h = int(now_s // 3600)
                self.tell(f"{told_h} h, {self.looks} times counted, {self.tasks.tasks} tasks")
            if now_s >= next_s and self._live is not None and not len(self._live):
                self._compare(now_s)
                next_s = now_s + COUNT_EVERY_S

    def _compare(self, now_s: float) -> None:
        self.looks += 1
        counts = _objects()
        if self._first is None:
            self._first, self._idle_tasks = counts, self.tasks.tasks
            return
        for name in counts.keys() | self._first.keys():
            if counts[name] > self._first[name]:
                more = counts[name] - self._first[name]
                self.complaints.append(f"I1 after {now_s / 3600:.1f} h: {more} more of {name}")
        if self._idle_tasks is not None and self.tasks.tasks > self._idle_tasks:
            more = self.tasks.tasks - self._idle_tasks
            self.complaints.append(f"I1 after {now_s / 3600:.1f} h: {more} more tasks")


def _objects() -> Counter[str]:
    """How many objects of each of the product's classes there are."""
    gc.collect()
    counts: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        module = str(kind.__module__)  # Of some built-in types it is anything but a name.
        name = f"{module}.{kind.__qualname__}"
        if module.startswith(("actors.", "gateway.")) and not name.startswith((_LAB, *_KEPT)):
            counts[name] += 1
    return counts
