"""Scenario files: the shipped ones are sound, and a wrong one is refused where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.lab.scenario import (
    OUT_OF_ANSWERS,
    Fault,
    FaultPoint,
    ModelScript,
    ScenarioError,
    load,
    names,
    parse,
)


def test_the_shipped_scenarios_are_the_demonstration_and_the_quick_one() -> None:
    assert {"front-desk", "quick"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_shipped_scenario_is_named_like_its_file_and_expects_an_ending(name: str) -> None:
    scenario = load(name)

    assert scenario.name == name
    assert scenario.expect.ending is not None
    assert len(scenario.about) > 10


def test_the_demonstration_shows_what_is_hard() -> None:
    """Two audio items and a tool in one response, and a barge-in."""
    scenario = load("front-desk")
    items = scenario.model.answers[2].items

    assert [item.call is None for item in items] == [True, True, False]
    assert any(step.wait == "agent_speaking" for step in scenario.caller)
    assert scenario.expect.tools == ("opening_hours", "hangup")
    assert scenario.expect.barge_ins == 1


def test_a_path_is_loaded_like_a_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: {answers: [{items: [{say: Hello.}]}]}\n")

    assert load(file) == load(str(file)) == parse(file.read_text())


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ScenarioError, match=r"front-dsk: no such scenario.*`front-desk`"):
        load("front-dsk")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load(tmp_path)


def test_the_lines_are_those_that_are_spoken() -> None:
    scenario = parse(
        "name: x\n"
        "model: {answers: [{items: [{say: A}, {call: {name: f}}]}, {items: [{say: A}]}]}\n"
        "caller: [{say: B}, {wait_ms: 5, press: '5'}, {say: B}]\n"
    )

    assert scenario.agent_lines() == ["A", OUT_OF_ANSWERS]
    assert scenario.caller_lines() == ["B", "B"]


def test_the_defaults_are_the_documented_ones() -> None:
    answer = parse("name: x\nmodel: {answers: [{items: [{say: A}]}]}").model.answers[0]

    assert (answer.after_ms, answer.speed) == (350, 4.5)


ANSWER = "model: {answers: [%s]}"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        pytest.param("modell: {}", "modell", "did you mean `model`?", id="typo-at-the-top"),
        pytest.param(
            ANSWER % "{itms: []}", "model.answers[0].itms", "did you mean `items`?", id="typo-deep"
        ),
        pytest.param(
            ANSWER % "{items: [{say: A}, {call: {name: f, argumnts: {}}}]}",
            "model.answers[0].items[1].call.argumnts",
            "did you mean `arguments`?",
            id="typo-in-the-second-item",
        ),
        pytest.param(
            ANSWER % "{items: [{say: 5}]}",
            "model.answers[0].items[0].say",
            "must be text, not 5; put it in quotes",
            id="number-for-text",
        ),
        pytest.param(
            ANSWER % "{items: [{say: A, call: {name: f}}]}",
            "model.answers[0].items[0]",
            "either `say` or `call`",
            id="two-things-in-an-item",
        ),
        pytest.param(ANSWER % "{items: [{say: ' '}]}", "model.answers[0].items[0]", "no words"),
        pytest.param(ANSWER % "{}", "model.answers[0]", "either `items` or `fail`"),
        pytest.param(
            ANSWER % "{items: [{say: A}], after_ms: -1}",
            "model.answers[0]",
            "after_ms",
            id="negative",
        ),
        pytest.param(
            ANSWER % "{items: [{say: A}], after_ms: 1.5}",
            "model.answers[0].after_ms",
            "must be a whole number",
        ),
        pytest.param(ANSWER % "{items: [{say: A}], speed: 0}", "model.answers[0]", "speed"),
        pytest.param("model: {answers: {}}", "model.answers", "must be a list"),
        pytest.param("model: [1]", "model", "must have keys: answers, faults"),
        pytest.param(
            "model: {faults: [{at: conect, do: close}]}", "model.faults[0].at", "must have keys"
        ),
        pytest.param(
            "model: {faults: [{at: {answer: 1, at_ms: 2}, do: close}]}",
            "model.faults[0].at",
            "`at` is",
        ),
        pytest.param(
            "model: {faults: [{at: {answer: 0}, do: close}]}", "model.faults[0].at", ">= 1"
        ),
        pytest.param("model: {faults: [{do: close}]}", "model.faults[0].at", "is missing"),
        pytest.param(
            "model: {faults: [{at: connect, do: clos}]}",
            "model.faults[0].do",
            "did you mean `close`?",
        ),
        pytest.param(
            "model: {faults: [{at: {at_ms: 1}, do: refuse}]}", "model.faults[0]", '`at: "connect"`'
        ),
        pytest.param("model: {faults: [{at: connect, do: error}]}", "model.faults[0]", "`error`"),
        pytest.param(
            "model: {faults: [{at: connect, do: refuse, http_status: 200}]}",
            "model.faults[0]",
            "http_status",
        ),
        pytest.param("caller: [{press: 5}]", "caller[0].press", "put it in quotes"),
        pytest.param("caller: [{press: '5x'}]", "caller[0]", "0 to 9"),
        pytest.param("caller: [{wait: agent_quite}]", "caller[0].wait", "`agent_quiet`"),
        pytest.param("caller: [{say: A, hang_up: true}]", "caller[0]", "one thing"),
        pytest.param("caller: [{wait: call_end, say: A}]", "caller[0]", "nothing left"),
        pytest.param("caller: [{}]", "caller[0]", "waits for something or does something"),
        pytest.param("caller: [{wait: agent_quiet, wait_ms: 5}]", "caller[0]", "either"),
        pytest.param("expect: {ending: AgentHangUp}", "expect", "did you mean `AgentHungUp`?"),
        pytest.param("expect: {barge_ins: true}", "expect.barge_ins", "must be a whole number"),
        pytest.param("3: 4", "3", "no such key"),
    ],
)
def test_a_mistake_is_refused_where_it_is(text: str, where: str, what: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse(f"name: x\n{text}", source="mine.yaml")

    assert refused.value.where == where
    assert what in refused.value.what
    assert str(refused.value).startswith("mine.yaml: ")


@pytest.mark.parametrize("text", ["", "[]", "5", "name", "- :\n -", "{", "a: !!python/name:os.x"])
def test_what_is_no_scenario_at_all_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"^here: "):
        parse(text, source="here")


def test_a_name_is_required() -> None:
    with pytest.raises(ScenarioError, match="name: is missing"):
        parse("about: nothing")


def test_a_fault_may_meet_the_first_connections_only() -> None:
    """So that a client's second attempt can succeed."""
    once = Fault(FaultPoint(connect=True), "refuse", connections=1)
    script = ModelScript(faults=(once,))

    assert script.on_connection(1).refusal == once
    assert script.on_connection(2).refusal is None
