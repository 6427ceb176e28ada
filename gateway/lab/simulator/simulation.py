"""One simulation: a gateway, its callers, its model and everything that goes wrong, from a seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Final

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from actors.toolbox import Toolbox
from gateway.configuration.config import AgentSettings
from gateway.lab.faults.fault_catalogue import draw_faults
from gateway.lab.faults.fault_plan import FaultPlan, Striker
from gateway.lab.judges.evidence import CallSeen, NodeReport
from gateway.lab.judges.invariants import TaskCount, check
from gateway.lab.rehearsing.scenario import Scenario
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.moves import draw_moves
from gateway.lab.simulator.node import run_node
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.workload import SimulatedCall, draw_calls
from gateway.lab.virtual_time import VirtualClock
from gateway.records.flight import MemoryFlight

CALLER_S: Final = 45.0
"""How long a caller stays on a line on which nothing happens any more."""


@attrs.frozen(kw_only=True)
class Wish:
    """What is wanted of a simulation beyond its seed."""

    only: tuple[str, ...] | None = None
    """Ids of the faults to draw from; `None`: all there are; empty: nothing goes wrong."""
    plan: FaultPlan | None = None
    """Faults to use instead of those that the seed draws. Calls stay as the seed draws them, also
    where a drawn fault is in what is said: without that, draw from nothing by `only=()`."""
    scenario: Scenario | None = None
    """What is said on every call, instead of what the seed draws."""


NO_WISH: Final = Wish()


@attrs.frozen(kw_only=True)
class Setting:
    """What a seed stands for."""

    seed: int
    calls: tuple[SimulatedCall, ...]
    plan: FaultPlan


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one simulation. Small, so that it can travel between processes."""

    seed: int
    calls: int
    call_s: float
    """Virtual time of calls: the caller's audio that reached the gateway, silence included."""
    violations: tuple[str, ...]
    """In words, each beginning with the invariant that did not hold. Empty: all did."""
    struck: Counter[str]
    """Faults that took effect, by id."""
    calls_struck: Counter[str]
    """Calls in which a fault took effect, by its id."""
    endings: Counter[str]
    """How calls ended: names of exits."""
    trace_hash: str
    """SHA-256 over every frame, with its time, and every event of the log."""
    repeated: int = 0
    """1: it was run a second time, to see whether the same happens."""

    @classmethod
    def failed(cls, seed: int, why: str) -> Outcome:
        """That of a simulation which could not be brought to its end."""
        return cls(
            seed=seed,
            calls=0,
            call_s=0.0,
            violations=(why,),
            struck=Counter(),
            calls_struck=Counter(),
            endings=Counter(),
            trace_hash="",
        )


@attrs.define(eq=False)
class Flights:
    """The flight logs of a simulation's calls.

    They are there even if nobody wants to keep them: whoever does finds the same calls in them.
    """

    keeps: bool = False
    made: list[tuple[str, MemoryFlight]] = attrs.field(factory=list, init=False)
    """With the CallSids of their calls, which may never have begun."""

    def make(self, call_sid: str) -> MemoryFlight:
        """See `gateway.phone_call.Outside`."""
        flight = MemoryFlight(keeps=self.keeps)
        self.made.append((call_sid, flight))
        return flight

    def begun(self) -> Iterator[tuple[str, MemoryFlight]]:
        """Those of calls that did begin, and their CallSids."""
        return ((call_sid, flight) for call_sid, flight in self.made if flight.has_begun)


@attrs.frozen
class Played:
    """A simulation that was run, with everything that was seen of it."""

    outcome: Outcome
    report: NodeReport
    striker: Striker
    flights: Flights


def compose(
    seed: int,
    wish: Wish = NO_WISH,
    *,
    toolbox: Toolbox | None = None,
) -> Setting:
    """Draw what a seed stands for."""
    tools = simulated_tools() if toolbox is None else toolbox
    calls = draw_calls(Random(f"{seed}/calls"), tools.schemas(), wish.scenario)
    # Some faults are in what is said, so the calls are those of the drawn plan in any case.
    calls, plan = draw_faults(Random(f"{seed}/faults"), calls, wish.only)
    # Whoever brings what is said, or what is done, has their own moves.
    if toolbox is None and wish.scenario is None:
        calls, more = draw_moves(Random(f"{seed}/moves"), calls, wish.only)
        plan = FaultPlan((*plan.faults, *more))
    return Setting(seed=seed, calls=calls, plan=wish.plan or plan)


def simulate(
    seed: int,
    wish: Wish = NO_WISH,
    *,
    toolbox: Toolbox | None = None,
    agent: AgentSettings | None = None,
) -> Outcome:
    """Run one simulation and check everything that must hold.

    Synchronous: it is a run of trio of its own, in virtual time. Does not raise because of what
    happens in it.

    Args:
        seed: Stands for the calls, the faults, and every choice of scheduler, model and network.
        wish: See `Wish`.
        toolbox: The agent's functions. They must use neither threads nor sockets: see
            `gateway.lab.virtual_time`. `simulated_tools` when `None`.
        agent: The agent; the configuration's default when `None`.

    """
    setting = compose(seed, wish, toolbox=toolbox)
    return play(setting, toolbox=toolbox, agent=agent).outcome


def play(
    setting: Setting,
    *,
    toolbox: Toolbox | None = None,
    agent: AgentSettings | None = None,
    keeps_flights: bool = False,
) -> Played:
    """Run what was composed. See `simulate`; returns what is behind the outcome as well."""
    flights = Flights(keeps_flights)
    tools = toolbox or simulated_tools(with_moves=any(call.is_moved for call in setting.calls))
    clock, tasks, trace = VirtualClock(), TaskCount(), hashlib.sha256()
    striker = Striker(setting.plan, clock.current_time)
    report = run_seeded(
        lambda: run_node(
            setting.calls,
            striker,
            seed=setting.seed,
            toolbox=tools,
            agent=agent,
            clock=clock,
            call_s=CALLER_S,
            trace=lambda line: trace.update(line.encode("utf-8", "surrogatepass") + b"\n"),
            flight=flights.make,
        ),
        seed=setting.seed,
        clock=clock,
        instruments=[tasks],
    )
    outcome = Outcome(
        seed=setting.seed,
        calls=len(setting.calls),
        call_s=sum(_spoken_s(seen) for seen in report.calls),
        violations=tuple(check(report, striker, tasks)),
        struck=striker.struck,
        calls_struck=Counter(
            fault_id
            for fault_id, _ in {(strike.fault.id, strike.fault.call) for strike in striker.log}
        ),
        endings=Counter(
            type(record.ending).__name__ for seen in report.calls for record in seen.records
        ),
        trace_hash=trace.hexdigest(),
    )
    return Played(outcome, report, striker, flights)


def _spoken_s(seen: CallSeen) -> float:
    """How long the caller was heard: what counts is audio, and not time in which all slept."""
    return sum(stream.caller_bytes for stream in seen.streams) / (1000 * ULAW_BYTES_PER_MS)
