"""What is drawn for a simulation: sane calls, arguments that fit, the same for the same seed."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Literal

import pydantic
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ToolRefused
from actors.toolbox import Toolbox
from gateway.lab.rehearsing.scenario import OUT_OF_ANSWERS
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.workload import CALLS_MAX, SimulatedCall, draw_calls

SEEDS = st.integers(0, 2**32)


def drawn(seed: int) -> tuple[SimulatedCall, ...]:
    return draw_calls(Random(seed), simulated_tools().schemas())


@given(SEEDS)
def test_a_seed_is_a_workload(seed: int) -> None:
    assert drawn(seed) == drawn(seed)


@given(SEEDS)
def test_calls_are_numbered_and_their_phones_ring_within_four_seconds(seed: int) -> None:
    calls = drawn(seed)

    assert 1 <= len(calls) <= CALLS_MAX
    assert [call.number for call in calls] == list(range(len(calls)))
    assert all(0 <= call.starts_ms < 4000 for call in calls)
    assert all(least <= most for call in calls for least, most in (call.phone_ms, call.model_ms))


@given(SEEDS)
def test_nobody_says_a_word_that_anybody_else_says(seed: int) -> None:
    """Else a word in the wrong place would prove nothing."""
    lines = [
        line
        for call in drawn(seed)
        for line in [*call.scenario.caller_lines(), *call.scenario.agent_lines()]
        if line != OUT_OF_ANSWERS
    ]
    words = [word for line in lines for word in line.split()]

    assert len(words) == len(set(words))


def test_every_turn_ending_and_act_is_drawn_sooner_or_later() -> None:
    calls = [call for seed in range(200) for call in drawn(seed)]
    steps = [step for call in calls for step in call.scenario.caller]
    items = [
        item for call in calls for answer in call.scenario.model.answers for item in answer.items
    ]

    assert {"agent_quiet", "agent_speaking", "call_end", None} == {step.wait for step in steps}
    assert any(step.press for step in steps)
    assert any(step.hang_up for step in steps)
    assert {item.call.name for item in items if item.call} == {
        *("look_up", "slow_search", "always_fails"),
        *("unheard_of", "hangup"),
    }


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Topping(pydantic.BaseModel):
    name: str
    grams: int = pydantic.Field(ge=5, le=50)


def pizzeria() -> Toolbox:
    """Functions with every kind of parameter that has a schema."""
    toolbox = Toolbox()

    @toolbox.add
    async def order(  # noqa: PLR0917 - one of every kind.
        size: Size,
        toppings: list[Topping],
        price: float,
        pieces: Literal[1, 2, 4],
        is_vegan: bool,
        note: str | None = None,
    ) -> str:
        """Order a pizza."""
        await trio.lowlevel.checkpoint()
        return f"{size} {toppings} {price} {pieces} {is_vegan} {note}"

    return toolbox


async def test_drawn_arguments_fit_the_function(autojump_clock: object) -> None:
    """Those of a tool that nobody knows fit nothing, and are refused."""
    toolbox, known = pizzeria(), 0
    for seed in range(60):
        for call in draw_calls(Random(seed), toolbox.schemas()):
            for answer in call.scenario.model.answers:
                for item in answer.items:
                    if item.call is None or item.call.name == "hangup":
                        continue
                    arguments = pydantic.TypeAdapter(object).dump_json(item.call.arguments).decode()
                    try:
                        await toolbox.run(item.call.name, arguments)
                        known += 1
                    except ToolRefused:
                        assert item.call.name == "unheard_of"
    assert known > 20
