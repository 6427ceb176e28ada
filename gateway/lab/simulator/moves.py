"""Calls that are moved about: whose agent presses keys, connects its caller, and asks for digits.

Pure. Drawn apart from everything else, so that the simulations in which nobody is moved are what
they were before there were any.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

import attrs

from gateway.lab.faults.fault_plan import Fault
from gateway.lab.faults.move_faults import MOVE_GENERATORS
from gateway.lab.rehearsing.scenario import Answer, Item, Step, ToolScript
from gateway.lab.simulator.call_script import with_answers, with_steps
from gateway.lab.simulator.simulated_tools import ASK_DIGITS, CONNECT, PRESS
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.twilio.callee import Callee

SIMULATIONS: Final = 0.25
"""In so many of them calls are moved. Others have no credentials for REST."""
CALLS: Final = 0.7
"""Of their calls, so many."""
FAULTY: Final = 0.7
"""Of those, so many meet a fault while they are moved."""
TO: Final = "+4930123456"
_PIN_KEYS: Final = 7
"""So many are the same by chance in one call of ten million."""

Drawn = tuple[tuple[SimulatedCall, ...], tuple[Fault, ...]]


def draw_moves(
    random: Random, calls: Sequence[SimulatedCall], only: Collection[str] | None = None
) -> Drawn:
    """Draw which calls are moved, how, and what goes wrong about it.

    Args:
        random: Where everything comes from.
        calls: Of the simulation, with the faults that change what is said in them.
        only: See `fault_catalogue.draw_faults`.

    Returns:
        The calls, some of them changed, and the faults that are new.

    """
    if random.random() >= SIMULATIONS:
        return tuple(calls), ()
    ids = [fault_id for fault_id in MOVE_GENERATORS if only is None or fault_id in only]
    drawn: list[SimulatedCall] = []
    faults: list[Fault] = []
    for call in calls:
        if random.random() >= CALLS:
            drawn.append(call)
            continue
        drawn.append(_Mover(random, call).moved())
        if ids and random.random() < FAULTY:
            faults += MOVE_GENERATORS[random.choice(ids)](random, call)
    return tuple(drawn), tuple(faults)


@attrs.define(eq=False)
class _Mover:
    """Writes a turn or two behind the greeting of one call."""

    random: Random
    call: SimulatedCall
    _steps: list[Step] = attrs.field(factory=list[Step], init=False)
    _answers: list[Answer] = attrs.field(factory=list[Answer], init=False)
    _callee: Callee = attrs.field(factory=Callee, init=False)
    _pin: str = attrs.field(default="", init=False)
    _said: int = attrs.field(default=0, init=False)

    def moved(self) -> SimulatedCall:
        self._turn()
        if self.random.random() < 0.3:
            self._turn()
        greeting, rest = self.call.scenario.model.answers[:1], self.call.scenario.model.answers[1:]
        call = with_answers(self.call, *greeting, *self._answers, *rest)
        call = with_steps(call, *self._steps, *self.call.scenario.caller)
        scenario = attrs.evolve(call.scenario, callee=self._callee)
        return attrs.evolve(call, scenario=scenario, is_moved=True, pin=self._pin)

    def _turn(self) -> None:
        self._steps.append(Step(wait="agent_quiet", quiet_ms=200, say=self._words()))
        asked = self.random.choice(("press", "press", "transfer", "transfer", "both", "digits"))
        calls = {
            "press": lambda: [self._press()],
            "transfer": lambda: [self._transfer()],
            "both": lambda: [self._press(), self._transfer()],
            "digits": lambda: [self._digits()],
        }[asked]()
        says = [Item(say=self._words())] if asked == "digits" or self.random.random() < 0.6 else []
        self._answers.append(Answer((*says, *(Item(call=call) for call in calls)), after_ms=120))
        self._answers.append(Answer((Item(say=self._words()),), after_ms=120))

    def _press(self) -> ToolScript:
        keys = "".join(self.random.choices("0123456789*#w", k=self.random.randint(1, 5)))
        return ToolScript(PRESS, {"keys": keys})

    def _transfer(self) -> ToolScript:
        draw = self.random
        whisper = self._words() if draw.random() < 0.4 else None
        rings_ms = draw.randrange(200, 4000)
        self._callee = draw.choice(
            (
                Callee(answers_after_ms=rings_ms, hangs_up_after_ms=draw.randrange(0, 3000)),
                Callee(answers_after_ms=rings_ms, hangs_up_after_ms=draw.randrange(0, 3000)),
                Callee(busy=True),
                Callee(no_answer=True),
                Callee(fails=True),
                Callee(answers_after_ms=rings_ms, declines_after_ms=draw.randrange(1, 400)),
            )
        )
        arguments: dict[str, object] = {"to": TO}
        return ToolScript(CONNECT, arguments | ({} if whisper is None else {"whisper": whisper}))

    def _digits(self) -> ToolScript:
        is_private = not self._pin and self.random.random() < 0.6
        keys = "".join(self.random.choices("0123456789", k=_PIN_KEYS))
        self._steps.append(Step(wait="agent_quiet", quiet_ms=500, press=keys))
        if is_private:
            self._pin = keys
        return ToolScript(ASK_DIGITS, {"most": _PIN_KEYS, "is_private": is_private})

    def _words(self) -> str:
        """What nobody else says in this simulation."""
        self._said += 1
        syllables = "".join(self.random.choices("bdfgklmnp", k=3))
        return f"{syllables}a{self.call.number}x{9000 + self._said}"
