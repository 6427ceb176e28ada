"""What the generators of faults have in common.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from gateway.lab.faults.fault_plan import Fault
from gateway.lab.simulator.call_script import moment_ms
from gateway.lab.simulator.workload import SimulatedCall

Drawn = tuple[SimulatedCall, list[Fault]]
Generator = Callable[[Random, SimulatedCall], Drawn]
"""Draws one example of a fault for a call. May change what happens in the call for it."""

_RINGING_MS: Final = 200
"""From the first webhook to the stream, or longer."""


def node_ms(random: Random, call: SimulatedCall) -> int:
    """A moment of the simulation at which this call is going on."""
    return call.starts_ms + _RINGING_MS + moment_ms(random, call)


def probe(random: Random, call: SimulatedCall, fault_id: str, name: str) -> Fault:
    """A hostile socket beside the calls, while this one goes on."""
    at_ms = node_ms(random, call)
    return Fault(id=fault_id, place="node", do="inject", call=call.number, at_ms=at_ms, detail=name)


def hostile(fault_id: str, *names: str) -> Generator:
    """A generator of hostile sockets: each time one of these."""

    def generate(random: Random, call: SimulatedCall) -> Drawn:
        return call, [probe(random, call, fault_id, random.choice(names))]

    return generate
