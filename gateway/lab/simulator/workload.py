"""The calls of one simulation: who calls when, what is said, and how far away everybody is.

Pure. Everything is drawn from the `Random` that is given, so a seed is a workload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import attrs

from actors.toolbox import ToolSchema
from gateway.lab.rehearsing.scenario import (
    Answer,
    Expectation,
    Item,
    ModelScript,
    Scenario,
    Step,
    ToolScript,
)
from gateway.lab.simulator.draw_arguments import draw_arguments

CALLS_MAX: Final = 4
"""Calls of one simulation, most of them at the same time: enough to get into each other's way."""

_SYLLABLES: Final = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")


@attrs.frozen(kw_only=True)
class SimulatedCall:
    """One call of a simulation."""

    number: int
    """Counts from 0."""
    starts_ms: int
    """When the phone rings, since the simulation began."""
    scenario: Scenario
    phone_ms: tuple[int, int] = (40, 40)
    """One-way time between phone and gateway: least and most, drawn for each frame."""
    model_ms: tuple[int, int] = (20, 20)
    """One-way time between gateway and model, likewise."""
    is_moved: bool = False
    """Its agent presses keys, transfers it, or asks for digits: see `moves`."""
    pin: str = attrs.field(default="", repr=False)
    """Keys that its caller presses for nobody but the tool that asked for them."""


def draw_calls(
    random: Random, tools: Sequence[ToolSchema], scenario: Scenario | None = None
) -> tuple[SimulatedCall, ...]:
    """Draw the calls of one simulation: one to four, begun within a few seconds.

    Args:
        random: Where everything comes from.
        tools: What the model may call; now and then it calls what is not there.
        scenario: What is said on each of them; drawn when `None`.

    """
    numbers = range(random.randint(1, CALLS_MAX))
    starts_ms = [random.randrange(0, 4000) for _ in numbers]
    return tuple(
        draw_call(random, number, starts_ms[number], tools, scenario) for number in numbers
    )


def draw_call(
    random: Random,
    number: int,
    starts_ms: int,
    tools: Sequence[ToolSchema],
    scenario: Scenario | None = None,
    *,
    turns: int | None = None,
) -> SimulatedCall:
    """Draw one call: see `draw_calls`. It has so many turns, or as many as it happens to have."""
    phone_least_ms, model_least_ms = random.randint(5, 80), random.randint(5, 60)
    return SimulatedCall(
        number=number,
        starts_ms=starts_ms,
        scenario=scenario or _Script(random, number, tools).scenario(turns),
        phone_ms=(phone_least_ms, phone_least_ms + random.choice((0, 5, 20, 60))),
        model_ms=(model_least_ms, model_least_ms + random.choice((0, 5, 20, 60))),
    )


@attrs.define(eq=False)
class _Script:
    """Writes a conversation, turn by turn."""

    random: Random
    number: int
    tools: Sequence[ToolSchema]
    _answers: list[Answer] = attrs.field(factory=list[Answer], init=False)
    _steps: list[Step] = attrs.field(factory=list[Step], init=False)
    _said: int = attrs.field(default=0, init=False)

    def scenario(self, turns: int | None) -> Scenario:
        self._answer(self._items(1))  # The greeting.
        for _ in range(self.random.choice((0, 1, 1, 2, 2, 3)) if turns is None else turns):
            self._turn()
        self._ending()
        return Scenario(
            name=f"call-{self.number}",
            model=ModelScript(answers=tuple(self._answers)),
            caller=tuple(self._steps),
            expect=Expectation(),
        )

    def _turn(self) -> None:
        self.random.choice(
            (self._ask, self._ask, self._interrupt, self._interrupt, self._use_tools, self._dial)
        )()

    def _ask(self) -> None:
        self._steps.append(self._quietly(say=self._words()))
        self._answer(self._items(self.random.choice((1, 1, 2, 3))))

    def _interrupt(self) -> None:
        after_ms = self.random.choice((0, 20, 150, 400, 900))
        self._steps.append(Step(wait="agent_speaking", after_ms=after_ms, say=self._words()))
        self._answer(self._items(self.random.choice((1, 2))))

    def _use_tools(self) -> None:
        self._steps.append(self._quietly(say=self._words()))
        calls = [self._tool_call() for _ in range(self.random.choice((1, 1, 2, 3)))]
        self._answer([*self._items(self.random.choice((0, 1))), *calls])
        self._answer(self._items(1))  # About what came of it.

    def _dial(self) -> None:
        keys = "".join(self.random.choices("0123456789*#", k=self.random.randint(1, 4)))
        self._steps.append(self._quietly(press=keys))
        # Nobody answers keys, so whoever waits for the agent has to say something, too.
        self._steps.append(Step(wait_ms=self.random.randrange(1, 600), say=self._words()))
        self._answer(self._items(1))

    def _ending(self) -> None:
        """Whoever has had enough: the agent, by its tool, or the caller, at any moment."""
        who = self.random.choice(("agent", "agent", "agent_is_interrupted", "caller", "caller"))
        if who == "caller":
            at: Callable[[], Step] = self.random.choice(
                (
                    lambda: self._quietly(hang_up=True),
                    lambda: Step(wait_ms=self.random.randrange(1, 1500), hang_up=True),
                    lambda: Step(wait="agent_speaking", after_ms=100, hang_up=True),
                )
            )
            self._steps.append(at())
            return
        self._steps.append(self._quietly(say=self._words()))
        self._goodbye()
        if who == "agent_is_interrupted":
            self._steps.append(Step(wait="agent_speaking", after_ms=60, say=self._words()))
            self._goodbye()
        self._steps.append(Step(wait="call_end"))

    def _goodbye(self) -> None:
        hangup = ToolScript("hangup", {"reason": self._words()})
        self._answer([*self._items(1), Item(call=hangup)])

    def _quietly(self, **what: Any) -> Step:  # noqa: ANN401 - one of a step's acts.
        return Step(wait="agent_quiet", quiet_ms=self.random.choice((0, 40, 200, 500)), **what)

    def _answer(self, items: list[Item]) -> None:
        after_ms = self.random.choice((0, 30, 120, 350, 700))
        speed = self.random.choice((1.2, 3.0, 4.5, 4.5, 8.0))
        self._answers.append(Answer(tuple(items), after_ms=after_ms, speed=speed))

    def _items(self, count: int) -> list[Item]:
        return [Item(say=self._words()) for _ in range(count)]

    def _tool_call(self) -> Item:
        if not self.tools or self.random.random() < 0.1:
            return Item(call=ToolScript("unheard_of", {"what": self._words()}))
        tool = self.random.choice(self.tools)
        arguments = draw_arguments(self.random, tool.parameters, self._words)
        return Item(call=ToolScript(tool.name, arguments))

    def _words(self) -> str:
        """A word or two that nobody else says in this simulation."""
        return " ".join(self._word() for _ in range(self.random.choice((1, 1, 2))))

    def _word(self) -> str:
        self._said += 1
        return "".join(self.random.choices(_SYLLABLES, k=2)) + f"{self.number}x{self._said}"
