"""Every fault of the catalogue: what draws examples of it, or why it is not simulated.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Final

from gateway.lab.faults import model_faults, phone_faults, world_faults
from gateway.lab.faults.drawn_faults import Drawn, Generator
from gateway.lab.faults.fault_plan import Fault, FaultPlan
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.strict_yaml import hint

__all__ = ["GENERATORS", "NOT_SIMULATED", "Drawn", "Generator", "draw_faults"]

GENERATORS: Final[Mapping[str, Generator]] = {
    **phone_faults.GENERATORS,
    **model_faults.GENERATORS,
    **world_faults.GENERATORS,
}
"""By the fault's number."""

NOT_SIMULATED: Final[Mapping[str, str]] = {
    "F08": "A process that dies takes its calls with it: no other takes them over yet.",
    "F36": "A tool that ignores cancellation is a thread, and threads do not live in virtual "
    "time: tests/test_toolbox.py abandons and counts them in real time.",
    "F40": "There is no ledger yet: a crash between doing and recording is not repaired.",
    "F41": "There are no confirmations yet that could be wrong, stale or replayed.",
    "F42": "There is no policy store yet that could be unreachable; a tool nobody knows is "
    "refused, in tests/test_toolbox.py.",
    "F43": "There is no audit log yet whose failure could forbid a tool.",
    "F46": "There is no database yet: every record is a file of its own, read by nobody at start.",
    "F47": "Loss of power is about what a disk has kept: tests/test_recording.py shows that a "
    "recording cut off at any block can be played.",
    "F48": "A process that is killed runs no code of ours afterwards, and nothing yet repairs "
    "what it left when it starts again.",
    "F49": "There is no PostgreSQL yet that could fail over.",
    "F50": "There is no schema yet that could be migrated.",
    "F51": "There is no Redis yet that could be gone.",
    "F52": "There is one node, and nobody else to be partitioned from.",
    "F56": "There is one worker, and whoever starts processes brings it back.",
}
"""By the fault's number: why it has no generator."""

OFTEN: Final = ((0, 2), (1, 3), (2, 3), (3, 4))
"""How many faults a call gets, and how often: none in one call of six."""

ALONE: Final = frozenset({"F06", "F21", "F22", "F23", "F27"})
"""Where no conversation comes about, nothing else could strike."""
OF_THE_PROCESS: Final = frozenset({"F53", "F54", "F57", "F58"})
"""They strike every call at once, so a simulation has two at most, and stops once."""
_STOPS: Final = frozenset({"F53", "F54"})
_PROCESS_MOST: Final = 2
_PROCESS_OFTEN: Final = 0.08
"""For each call of the simulation, and each of the two."""
_PROCESS_OFTENEST: Final = 0.6
_SWARM: Final = 0.5
"""How likely a generator is to be used in a simulation: few kinds together find what all kinds
together hide."""


def draw_faults(
    random: Random, calls: Sequence[SimulatedCall], only: Collection[str] | None = None
) -> tuple[tuple[SimulatedCall, ...], FaultPlan]:
    """Draw what goes wrong in one simulation. The same random gives the same.

    Over 2,000 calls, in simulations of up to ten, every generator is used 40 times or more.

    Args:
        random: Where everything comes from.
        calls: Of the simulation.
        only: Numbers of the faults to draw from; `None`: all there are; empty: nothing goes wrong.

    Returns:
        The calls, some of them changed, and the plan.

    Raises:
        ValueError: There is no generator for one of the numbers. Says why.

    """
    wanted = frozenset(GENERATORS) if only is None else _known(only)
    ids = sorted(wanted - OF_THE_PROCESS)
    swarm = [fault_id for fault_id in ids if only is not None or random.random() < _SWARM] or ids
    deck: list[str] = []
    drawn: list[SimulatedCall] = []
    faults: list[Fault] = []
    for call in calls:
        for fault_id in _deal(random, deck, swarm, _how_many(random)):
            call, more = GENERATORS[fault_id](random, call)  # noqa: PLW2901 (it changes)
            faults += more
        drawn.append(call)
    for fault_id in _of_the_process(random, sorted(wanted & OF_THE_PROCESS), len(drawn)):
        # The later of two, so that most others have struck by then.
        place = max(random.choices(range(len(drawn)), k=2), key=lambda one: drawn[one].starts_ms)
        drawn[place], more = GENERATORS[fault_id](random, drawn[place])
        faults += more
    return tuple(drawn), FaultPlan(tuple(faults))


def _known(only: Collection[str]) -> frozenset[str]:
    for fault_id in only:
        if fault_id in NOT_SIMULATED:
            raise ValueError(f"{fault_id} is not simulated: {NOT_SIMULATED[fault_id]}")
        if fault_id not in GENERATORS:
            raise ValueError(f"there is no fault {fault_id}{hint(fault_id, GENERATORS)}")
    return frozenset(only)


def _deal(random: Random, deck: list[str], swarm: Sequence[str], count: int) -> list[str]:
    """Take so many different ones from a deck that is shuffled anew when it is used up."""
    dealt: list[str] = []
    while len(dealt) < min(count, len(swarm)):
        if not deck:
            deck += random.sample(swarm, len(swarm))
        fault_id = deck.pop()
        if fault_id in ALONE:
            deck += dealt
            return [fault_id]
        if fault_id not in dealt:
            dealt.append(fault_id)
    return dealt


def _of_the_process(random: Random, ids: Sequence[str], calls: int) -> list[str]:
    often = min(_PROCESS_OFTENEST, _PROCESS_OFTEN * calls)
    count = sum(random.random() < often for _ in range(_PROCESS_MOST))
    picked = random.sample(ids, min(len(ids), count))
    if set(picked) >= _STOPS:
        picked.pop()
    return picked


def _how_many(random: Random) -> int:
    counts, weights = zip(*OFTEN, strict=True)
    (count,) = random.choices(counts, weights)
    return int(count)
