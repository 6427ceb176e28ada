"""Fault plans: what is written can be read, what is wrong is refused, what strikes is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lab.faults.fault_plan import (
    ABLE,
    CLOSE,
    DETAILS,
    Do,
    Fault,
    FaultPlan,
    FaultPlanError,
    Place,
    Striker,
    dump,
    parse,
)
from gateway.lab.faults.fault_story import story
from gateway.lab.faults.fault_values import ERRORS

PAIRS = sorted((place, do) for place, able in ABLE.items() for do in able)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    place, do = draw(st.sampled_from(PAIRS))
    valid = DETAILS.get((place, do))
    return Fault(
        id=draw(st.text(min_size=1)),
        place=place,
        do=do,
        call=draw(st.integers(0, 99)),
        kind=draw(st.text()),
        nth=draw(st.integers(1, 10**9)),
        times=draw(st.integers(1, 10**9)),
        at_ms=draw(st.integers(0, 10**9)) if place == "node" else None,
        ms=draw(st.integers(0, 10**9)),
        detail=draw(st.text() if valid is None else st.sampled_from(sorted(valid))),
    )


@given(st.builds(FaultPlan, st.lists(faults(), max_size=3).map(tuple)))
def test_a_plan_survives_yaml(plan: FaultPlan) -> None:
    assert parse(dump(plan)) == plan


def test_a_plan_is_short_where_everything_is_as_usual() -> None:
    plan = FaultPlan((Fault(id="F02", place="phone.up", do="break"),))

    assert dump(plan) == "faults:\n- id: F02\n  place: phone.up\n  do: break\n"


def test_every_place_and_every_deed_is_of_some_use() -> None:
    assert set(ABLE) == set(get_args(Place))
    assert frozenset[str]().union(*ABLE.values()) == set(get_args(Do))


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("faults: [{id: F1, place: phone.up, do: dorp}]", "faults[0].do", "did you mean `drop`?"),
        ("faults: [{id: F1, place: phone, do: drop}]", "faults[0].place", "did you mean `phone."),
        ("faults: [{id: F1, place: tool, do: drop}]", "faults[0]", "nothing can `drop` at `tool`"),
        ("faults: [{id: F1, place: tool, do: hang, nht: 2}]", "faults[0].nht", "mean `nth`?"),
        ("faults: [{id: F1, place: tool, do: hang, nth: 0}]", "faults[0]", "nth"),
        ("faults: [{id: F1, place: tool, do: hang, ms: x}]", "faults[0].ms", "a whole number"),
        ("faults: [{id: F1, place: tool, do: hang, ms: -1}]", "faults[0]", "negative"),
        ("faults: [{id: F1, place: tool, do: hang, at_ms: 5}]", "faults[0]", "`node`"),
        ("faults: [{id: F1, place: node, do: stop}]", "faults[0]", "`at_ms`"),
        ("faults: [{id: '', place: tool, do: hang}]", "faults[0]", "`id`"),
        (
            "faults: [{id: F1, place: store, do: raise, detail: ENOSPACE}]",
            "faults[0]",
            "did you mean `ENOSPC`?",
        ),
        ("faults: 5", "faults", "must be a list"),
        ("fault: []", "fault", "did you mean `faults`?"),
        ("- a", "", "must have keys: faults"),
        ("{", "", "not YAML"),
    ],
)
def test_a_wrong_plan_is_refused_where_it_is_wrong_and_with_a_way_out(
    text: str, where: str, what: str
) -> None:
    with pytest.raises(FaultPlanError) as refused:
        parse(text, "mine.yaml")

    assert refused.value.source == "mine.yaml"
    assert refused.value.where == where
    assert what in refused.value.what


def test_a_fault_strikes_at_its_number_as_often_as_it_says() -> None:
    fault = Fault(id="F17", place="phone.up", do="drop", call=2, kind="media", nth=3, times=2)
    striker = Striker(FaultPlan((fault,)))

    struck = [striker.strikes("phone.up", 2, "media") for _ in range(6)]

    assert struck == [[], [], [fault], [fault], [], []]
    assert striker.struck == Counter(F17=2)
    assert [strike.occurrence for strike in striker.log] == [3, 4]


@pytest.mark.parametrize(
    ("place", "call", "kind"),
    [("phone.down", 2, "media"), ("phone.up", 1, "media"), ("phone.up", 2, "mark")],
)
def test_what_is_elsewhere_does_not_count(place: Place, call: int, kind: str) -> None:
    fault = Fault(id="F17", place="phone.up", do="drop", call=2, kind="media")
    striker = Striker(FaultPlan((fault,)))

    assert striker.strikes(place, call, kind) == []
    assert striker.strikes("phone.up", 2, "media") == [fault]


def test_any_kind_is_counted_together_and_a_goodbye_is_none_of_them() -> None:
    fault = Fault(id="F17", place="phone.up", do="drop", nth=2)
    striker = Striker(FaultPlan((fault,)))

    assert [striker.strikes("phone.up", 0, kind) for kind in ("media", CLOSE, "mark")] == [
        [],
        [],
        [fault],
    ]


def test_a_goodbye_is_struck_by_its_name() -> None:
    fault = Fault(id="F34", place="phone.up", do="drop", kind=CLOSE)

    assert Striker(FaultPlan((fault,))).strikes("phone.up", 0, CLOSE) == [fault]


def test_equal_faults_strike_each_for_itself_and_in_order() -> None:
    twice = Fault(id="F17", place="phone.up", do="duplicate")
    other = attrs.evolve(twice, do="drop")
    striker = Striker(FaultPlan((twice, other, twice)))

    assert striker.strikes("phone.up", 0, "media") == [twice, other, twice]
    assert striker.struck == Counter(F17=3)


def test_timed_faults_come_in_the_order_of_the_clock_and_never_by_counting() -> None:
    late = Fault(id="F53", place="node", do="stop", at_ms=500)
    early = Fault(id="F57", place="node", do="jump", at_ms=20, ms=1000, detail="stall")
    striker = Striker(FaultPlan((late, early)))

    assert striker.strikes("node", 0) == []
    assert striker.timed() == [early, late]

    striker.strike(early)
    assert striker.struck == Counter(F57=1)


def test_nobody_needs_to_ask_where_nothing_can_strike() -> None:
    striker = Striker(FaultPlan((Fault(id="F02", place="phone.up", do="break", call=3),)))

    assert striker.concerns("phone.up", 3)
    assert not striker.concerns("phone.up", 2)
    assert not striker.concerns("phone.down", 3)


@given(faults())
def test_every_fault_can_be_told(fault: Fault) -> None:
    told = story(fault)

    assert told.startswith(f"{fault.id}: ")
    assert "\n" not in told.removeprefix(fault.id + ": ") or "\n" in fault.kind + fault.detail


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"place": "phone.up", "do": "drop", "kind": "media", "nth": 41, "times": 3},
            "F17: in call 0 `media` frame from the phone number 41 to 43 is lost",
        ),
        (
            {"place": "model.up", "do": "drop", "kind": CLOSE},
            "F17: in call 0 goodbye to the model number 1 is lost",
        ),
        (
            {"place": "store", "do": "raise", "detail": "ENOSPC"},
            "F17: in call 0 write of the record number 1 fails: ENOSPC",
        ),
        (
            {"place": "node", "do": "jump", "at_ms": 9, "ms": -5, "detail": "wall"},
            "F17: at 9 ms the wall clock is set -5 ms ahead",
        ),
        (
            {"place": "node", "do": "inject", "at_ms": 9, "detail": "slowloris"},
            "F17: at 9 ms, during call 0 a hostile socket comes: slowloris",
        ),
    ],
)
def test_a_story_says_what_where_and_when(values: dict[str, Any], told: str) -> None:
    assert story(Fault(id="F17", **values)) == told


def test_an_error_is_a_new_one_every_time() -> None:
    assert all(make() is not make() for make in ERRORS.values())
