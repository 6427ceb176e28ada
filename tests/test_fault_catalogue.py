"""The catalogue of faults: nothing is left out, and drawing from it is even and repeatable."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

import attrs
import pytest

from gateway.lab.faults.fault_catalogue import (
    ALONE,
    GENERATORS,
    NOT_SIMULATED,
    OF_THE_PROCESS,
    draw_faults,
)
from gateway.lab.faults.fault_plan import FaultPlan, dump, parse
from gateway.lab.faults.fault_story import story
from gateway.lab.rehearsing.scenario import Scenario, Step, load
from gateway.lab.simulator.call_script import about_ms, tool_of, with_tool
from gateway.lab.simulator.workload import SimulatedCall

SCENARIOS = ("quick", "front-desk")
TEN = [
    SimulatedCall(number=number, starts_ms=700 * number, scenario=load(SCENARIOS[number % 2]))
    for number in range(10)
]
EMPTY = SimulatedCall(number=3, starts_ms=0, scenario=Scenario("nothing is said"))
CALLS = [*TEN[:2], EMPTY]


def test_every_fault_of_the_catalogue_is_drawn_or_has_a_reason() -> None:
    numbers = [f"F{number:02}" for number in range(1, 60)]

    assert sorted([*GENERATORS, *NOT_SIMULATED]) == numbers


def test_every_reason_is_a_sentence() -> None:
    for reason in NOT_SIMULATED.values():
        assert reason[0].isupper()
        assert reason.endswith(".")


@pytest.mark.parametrize("fault_id", sorted(GENERATORS))
def test_a_generator_draws_its_own_faults_for_its_own_call(fault_id: str) -> None:
    for seed in range(50):
        for call in CALLS:
            changed, faults = GENERATORS[fault_id](Random(seed), call)

            assert faults
            assert {fault.id for fault in faults} == {fault_id}
            assert {fault.call for fault in faults} == {call.number}
            assert (changed.number, changed.starts_ms) == (call.number, call.starts_ms)
            assert all(story(fault) for fault in faults)


def test_what_is_drawn_can_be_written_down() -> None:
    for seed in range(3):
        _, plan = drawn(seed)

        assert parse(dump(plan)) == plan


@pytest.mark.parametrize("fault_id", sorted(GENERATORS))
def test_a_generator_has_no_chance_but_the_one_it_is_given(fault_id: str) -> None:
    generate = GENERATORS[fault_id]

    assert generate(Random(5), TEN[0]) == generate(Random(5), TEN[0])


@pytest.mark.parametrize("fault_id", sorted(GENERATORS))
def test_a_call_whose_script_is_changed_expects_nothing(fault_id: str) -> None:
    for seed in range(20):
        changed, _ = GENERATORS[fault_id](Random(seed), TEN[1])
        script = (changed.scenario.caller, changed.scenario.model.answers)

        if script != (TEN[1].scenario.caller, TEN[1].scenario.model.answers):
            assert changed.scenario.expect.ending is None


@pytest.mark.parametrize("fault_id", sorted(GENERATORS))
def test_most_faults_come_while_their_call_goes_on(fault_id: str) -> None:
    """Counted in frames of 20 ms, or on the clock: never long after the last word."""
    call = TEN[1]
    for seed in range(50):
        changed, faults = GENERATORS[fault_id](Random(seed), call)
        length_ms = max(about_ms(call), about_ms(changed))
        for fault in faults:
            if fault.at_ms is not None:
                assert fault.at_ms - call.starts_ms < length_ms + 2500
            elif fault.kind in {"media", "input_audio_buffer.append"}:
                assert fault.nth * 20 < length_ms


def drawn(seed: int) -> tuple[tuple[SimulatedCall, ...], FaultPlan]:
    return draw_faults(Random(f"{seed}/faults"), TEN)


def test_the_same_seed_draws_the_same() -> None:
    assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]


def test_other_seeds_draw_others() -> None:
    assert len({drawn(seed)[1] for seed in range(20)}) == 20


def test_no_calls_have_no_faults() -> None:
    assert draw_faults(Random(1), []) == ((), FaultPlan())


def test_nothing_goes_wrong_but_what_is_wished_for() -> None:
    plans = [draw_faults(Random(seed), TEN, ("F17", "F53", "F54"))[1] for seed in range(40)]

    assert {fault.id for plan in plans for fault in plan.faults} == {"F17", "F53", "F54"}
    assert draw_faults(Random(1), TEN, ()) == (tuple(TEN), FaultPlan())


@pytest.mark.parametrize(
    ("wish", "why"), [("F08", "F08 is not simulated: A process"), ("F1", "there is no fault F1")]
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(wish: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        draw_faults(Random(1), TEN, (wish,))


@pytest.mark.parametrize("calls", [1, 2, 4, 10])
@pytest.mark.parametrize("first", [0, 10_000, 20_000])
def test_two_thousand_calls_meet_every_fault_forty_times(first: int, calls: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, first + 2000 // calls):
        _, plan = draw_faults(Random(f"{seed}/faults"), TEN[:calls])
        met.update(fault_id for fault_id, _ in {(one.id, one.call) for one in plan.faults})

    assert set(met) == set(GENERATORS)
    assert min(met.values()) >= 40, met.most_common()[-3:]


def test_over_a_thousand_seeds_calls_have_none_to_three_and_processes_two_at_most() -> None:
    often: Counter[int] = Counter()
    kinds_of_a_seed = []
    for seed in range(1000):
        _, plan = drawn(seed)
        of_call = defaultdict(set)
        of_process = set()
        for fault in plan.faults:
            if fault.id in OF_THE_PROCESS:
                of_process.add(fault.id)
            else:
                of_call[fault.call].add(fault.id)
        often.update(len(of_call[call.number]) for call in TEN)
        assert len(of_process) <= 2
        assert not of_process >= {"F53", "F54"}
        for ids in of_call.values():
            assert len(ids) <= 3
            assert not ids & ALONE or len(ids) == 1
        kinds_of_a_seed.append(len({one.id for one in plan.faults}))

    assert 0.13 < often[0] / often.total() < 0.20
    assert all(often[count] > 1000 for count in (1, 2, 3))
    # A swarm: no simulation has all kinds.
    assert max(kinds_of_a_seed) < len(GENERATORS) * 0.6


def test_the_same_tool_is_called_as_often_as_asked() -> None:
    for call in CALLS:
        changed = with_tool(call, calls=3, arguments="{")
        tool = tool_of(changed)
        asked = [
            item.call
            for answer in changed.scenario.model.answers
            for item in answer.items
            if item.call is not None and item.call.name == tool.name
        ]

        assert [one.arguments for one in asked] == ["{"] * 3


def test_a_call_lasts_about_as_long_as_its_words() -> None:
    hangs_up = attrs.evolve(
        TEN[0],
        scenario=attrs.evolve(TEN[0].scenario, caller=(Step(wait_ms=1500, hang_up=True),)),
    )

    assert about_ms(hangs_up) == 1500
    assert 3_000 < about_ms(TEN[0]) < 10_000
    assert 20_000 < about_ms(TEN[1]) < 60_000
