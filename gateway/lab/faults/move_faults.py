"""Generators of the faults of a call that is moved about: REST, its streams, its callbacks.

Pure. The numbers are those of the fault catalogue. They are drawn only for calls that are moved,
and beside the faults that every call may meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final

from gateway.lab.faults.fault_plan import Fault
from gateway.lab.faults.fault_values import REST_ANSWERS
from gateway.lab.simulator.workload import SimulatedCall

MoveGenerator = Callable[[Random, SimulatedCall], list[Fault]]
"""Draws one example of a fault for a call that is moved."""

_CALLBACKS: Final = ("stream-status", "dial-status", "after-dial", "whisper", "status")


def _no_answer(random: Random, call: SimulatedCall) -> list[Fault]:
    """Twilio says nothing, or late: whether it has obeyed shows by what happens."""
    fault = partial(Fault, id="F35", call=call.number, place="rest", kind="redirect")
    if random.random() < 0.4:
        return [fault(do="delay", ms=random.choice([300, 900, 1500, 1900, 2500]))]
    return [fault(do="raise", detail=random.choice(["nothing", "nothing, and obeyed"]))]


def _refuses(random: Random, call: SimulatedCall) -> list[Fault]:
    """Too many requests, once or for good; an error of Twilio's, before it obeyed or after."""
    answers = sorted(answer for answer in REST_ANSWERS if not answer.startswith("nothing"))
    fault = partial(Fault, id="F37", call=call.number, place="rest", do="raise")
    kind = random.choice(["redirect", "redirect", "redirect", "hang_up"])
    times = random.choice([1, 1, 50])
    return [fault(kind=kind, times=times, detail=random.choice(answers))]


def _leaves(random: Random, call: SimulatedCall) -> list[Fault]:
    """The caller hangs up while there is no stream, or just as the next one comes."""
    late_ms = random.choice([0, 100, 500, 600, 700, 900, 1200, 3000])
    return [
        Fault(
            id="F39",
            call=call.number,
            place="rest",
            do="inject",
            kind="redirect",
            ms=late_ms,
            detail="caller_leaves",
        )
    ]


def _streams(random: Random, call: SimulatedCall) -> list[Fault]:
    """The next stream never comes, late, or twice; the old one ends late, or never does."""
    opens = partial(Fault, id="F07", call=call.number, place="stream.open", nth=2)
    up = partial(Fault, id="F07", call=call.number, place="phone.up")
    match random.choice(["never", "late", "twice", "old ends late", "old never ends", "marks"]):
        case "never":
            return [opens(do="drop")]
        case "late":
            return [opens(do="delay", ms=random.choice([500, 3000, 9000, 12_000]))]
        case "twice":
            return [opens(do="duplicate", ms=random.choice([0, 500, 3000]))]
        case "old ends late":
            return [up(do="delay", kind="stop", ms=random.choice([200, 1000, 2900, 4000]))]
        case "old never ends":
            return [up(do="half_close", kind="stop")]
        case _:
            return [up(do="reorder", kind="mark", nth=random.randint(1, 6), ms=3000)]


def _callbacks(random: Random, call: SimulatedCall) -> list[Fault]:
    """What Twilio reports is lost, doubled, or out of order."""
    kind = random.choice(_CALLBACKS)
    fault = partial(Fault, id="F10", call=call.number, place="webhook", kind=kind)
    nth = random.choice([1, 1, 2, 3])
    match random.choice(["lost", "twice", "late"]):
        case "lost":
            return [fault(do="drop", nth=nth)]
        case "twice":
            return [fault(do="duplicate", nth=nth, ms=random.choice([0, 100, 1500, 5000]))]
        case _:
            return [fault(do="delay", nth=nth, ms=random.choice([200, 1000, 4000]))]


MOVE_GENERATORS: Final[Mapping[str, MoveGenerator]] = {
    "F07": _streams,
    "F10": _callbacks,
    "F35": _no_answer,
    "F37": _refuses,
    "F39": _leaves,
}
