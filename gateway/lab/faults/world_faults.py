"""Generators of the faults around a call: its tools, its record, the process it lives in.

Pure. The numbers are those of the fault catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Final

from gateway.lab.faults.drawn_faults import Drawn, Generator, node_ms
from gateway.lab.faults.fault_plan import Fault
from gateway.lab.faults.fault_values import RESULTS
from gateway.lab.rehearsing.scenario import Answer, Item, Step
from gateway.lab.simulator.call_script import (
    about_ms,
    first_words,
    frame,
    tool_of,
    with_answers,
    with_steps,
    with_tool,
    words,
)
from gateway.lab.simulator.workload import SimulatedCall

_DAY_MS: Final = 86_400_000
_SLEEP_MS: Final = (7_000, 20_000, 60_000, 60_000, 600_000)
_STALL_MS: Final = 1000

_RAISED: Final = (
    "ValueError",
    "ExceptionGroup",
    "BaseExceptionGroup",
    "SystemExit",
    "MemoryError",
    "RecursionError",
)


def _tool_hangs(random: Random, call: SimulatedCall) -> Drawn:
    times = random.choice([1, 1, 5])
    return with_tool(call), [
        Fault(id="F35", call=call.number, place="tool", do="hang", times=times)
    ]


def _tool_raises(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F37", call=call.number, place="tool", do="raise")
    return with_tool(call), [fault(detail=random.choice(_RAISED))]


def _tool_floods(random: Random, call: SimulatedCall) -> Drawn:
    detail = random.choice(sorted(RESULTS))
    return with_tool(call), [
        Fault(id="F38", call=call.number, place="tool", do="corrupt", detail=detail)
    ]


def _gone_during_tool(random: Random, call: SimulatedCall) -> Drawn:
    """The caller asks, the tool takes long, the caller does not."""
    tool = tool_of(with_tool(call))
    greeting = Answer((Item(say=words(call, 1)[:60].strip()),))
    answer = Answer((Item(call=tool),), after_ms=random.randrange(0, 500))
    asks = Step(wait="agent_quiet", quiet_ms=300, say=first_words(call))
    # The model takes half a second of silence for the end of a turn.
    leaves = Step(wait_ms=random.randrange(1500, 4000), hang_up=True)
    call = with_steps(with_answers(call, greeting, answer), asks, leaves)
    slow_ms = random.randrange(4000, 7900)
    return call, [Fault(id="F39", call=call.number, place="tool", do="delay", ms=slow_ms)]


def _store_hangs(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F44", call=call.number, place="store")
    if random.random() < 0.5:
        return call, [fault(do="hang")]
    return call, [fault(do="delay", ms=random.choice([100, 1900, 2100, 5000]))]


def _disk_full(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F45", call=call.number, do="raise")
    detail = random.choice(["ENOSPC", "EIO", "EROFS"])
    if random.random() < 0.5:
        return call, [fault(place="store", detail=detail)]
    return call, [fault(place="recorder", nth=frame(random, call), detail=detail)]


def _stops(random: Random, call: SimulatedCall) -> Drawn:
    """Late in the call, so that others have had their time."""
    return call, [_stop(call, "F53", _late_ms(random, call))]


def _stops_twice(random: Random, call: SimulatedCall) -> Drawn:
    at_ms = _late_ms(random, call)
    again_ms = at_ms + random.choice([0, 1, 50, 200, 2000])
    return call, [_stop(call, "F54", at_ms), _stop(call, "F54", again_ms)]


def _bug(random: Random, call: SimulatedCall) -> Drawn:
    """An error that nobody expects, in one port of one call."""
    fault = partial(Fault, id="F55", call=call.number, do="raise", detail="RuntimeError")
    match random.choice(["carrier", "session", "tool", "recorder", "store"]):
        case "carrier":
            return call, [fault(place="phone.down", nth=random.randint(1, 20))]
        case "session":
            return call, [fault(place="model.up", nth=frame(random, call))]
        case "tool":
            return with_tool(call), [fault(place="tool")]
        case "recorder":
            return call, [fault(place="recorder", nth=frame(random, call))]
        case _:
            return call, [fault(place="store")]


def _stands_still(random: Random, call: SimulatedCall) -> Drawn:
    ms = random.choice([200, _STALL_MS, _STALL_MS])
    return call, [_jump(random, call, "F57", "stall", ms)]


def _clock_jumps(random: Random, call: SimulatedCall) -> Drawn:
    if random.random() < 0.3:
        return call, [_jump(random, call, "F58", "suspend", random.choice(_SLEEP_MS))]
    return call, [_jump(random, call, "F58", "wall", random.choice([_DAY_MS, -_DAY_MS]))]


def _out_of_files(random: Random, call: SimulatedCall) -> Drawn:
    fault = partial(Fault, id="F59", call=call.number, do="raise", detail="EMFILE")
    match random.choice(["model", "recorder", "store"]):
        case "model":
            return call, [fault(place="model.open", times=random.choice([1, 2]))]
        case "recorder":
            return call, [fault(place="recorder")]
        case _:
            return call, [fault(place="store")]


def _late_ms(random: Random, call: SimulatedCall) -> int:
    return call.starts_ms + int(about_ms(call) * random.uniform(0.5, 0.9))


def _stop(call: SimulatedCall, fault_id: str, at_ms: int) -> Fault:
    return Fault(id=fault_id, call=call.number, place="node", do="stop", at_ms=at_ms)


def _jump(random: Random, call: SimulatedCall, fault_id: str, clock: str, ms: int) -> Fault:
    at_ms = node_ms(random, call)
    return Fault(
        id=fault_id,
        call=call.number,
        place="node",
        do="jump",
        at_ms=at_ms,
        ms=ms,
        detail=clock,
    )


GENERATORS: Final[Mapping[str, Generator]] = {
    "F35": _tool_hangs,
    "F37": _tool_raises,
    "F38": _tool_floods,
    "F39": _gone_during_tool,
    "F44": _store_hangs,
    "F45": _disk_full,
    "F53": _stops,
    "F54": _stops_twice,
    "F55": _bug,
    "F57": _stands_still,
    "F58": _clock_jumps,
    "F59": _out_of_files,
}
