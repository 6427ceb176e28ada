"""Scenario files: the shipped ones are sound, and a wrong one is refused where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import attrs
import pytest
import trio

from actors.toolbox import Toolbox
from gateway.configuration.config import AgentSettings, Config, ConfigError
from gateway.lab.rehearsing.rehearse import rehearse, with_agents_of
from gateway.lab.rehearsing.scenario import (
    OUT_OF_ANSWERS,
    Answer,
    Callee,
    Expectation,
    Fault,
    FaultPoint,
    ModelScript,
    Room,
    Scenario,
    ScenarioError,
    Step,
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
    assert (scenario.expect.ending is not None) == scenario.expect.answered
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


DOCS = (Path(__file__).parent.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
SECTIONS: dict[str, list[type]] = {
    "The call": [Scenario],
    "`model`": [ModelScript, Answer, Fault],
    "`caller`": [Step],
    "`menu`": [Room],
    "`callee`": [Callee],
    "`expect`": [Expectation],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_language_is_documented_and_no_other(section: str) -> None:
    text = DOCS.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = [key for row in rows for key in re.findall("`(.+?)`", row)]
    keys = [field.name for shape in SECTIONS[section] for field in attrs.fields(shape)]

    assert sorted(documented) == sorted(keys)


def test_every_choice_of_the_language_is_documented() -> None:
    for shape, name in ((Step, "wait"), (Fault, "do")):
        choices = get_args(get_type_hints(shape)[name])
        words = [word for one in choices for word in (get_args(one) or [one])]
        assert [word for word in words if isinstance(word, str) and f"`{word}`" not in DOCS] == []


def test_the_documented_scenario_holds() -> None:
    toolbox = Toolbox()

    @toolbox.add
    async def free_tables(people: int) -> str:
        """Which tables are free."""
        await trio.lowlevel.checkpoint()
        return f"three for {people}"

    text = DOCS.partition("```yaml\n")[2].partition("```")[0]

    assert rehearse(parse(text), toolbox=toolbox).complaints == ()


def test_files_of_an_agent_are_found_from_where_the_scenario_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nagent: {tools: [a.py, /b.py], instructions_file: c.txt}\n"
    )

    assert load(tmp_path / "mine.yaml").agent == {
        "tools": [str(tmp_path / "a.py"), "/b.py"],
        "instructions_file": str(tmp_path / "c.txt"),
    }


def test_a_value_that_no_agent_has_is_refused_when_the_agent_is_made() -> None:
    with pytest.raises(ConfigError, match=r"agent of mine\.voice"):
        rehearse(parse("name: mine\nagent: {voice: marvin}\ncaller: [{hang_up: true}]"))


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
        pytest.param("agent: {voce: x}", "", "has no key `voce`, did you mean `voice`?"),
        pytest.param("agents: {a: {voce: x}}", "", "`agents.a` has no key `voce`"),
        pytest.param("server: {bind: x}", "server.bind", "no such key"),
        pytest.param("server: {unknown_numbers: refuze}", "server.unknown_numbers", "`refuse`?"),
        pytest.param("called: '+49 30 77'", "", "`called` is a number"),
        pytest.param("about: a\nabout: b", "", "the key `about` is written twice"),
        pytest.param("caller: [{say: A, say: B}]", "", "the key `say` is written twice"),
        pytest.param("caller: [{wait: agent_speaking, quiet_ms: 50}]", "caller[0]", "`quiet_ms`"),
        pytest.param("caller: [{wait: agent_quiet, after_ms: 50}]", "caller[0]", "`after_ms`"),
        pytest.param("expect: {answered: false, sessions: 1}", "expect", "`answered: false`"),
        pytest.param("expect: {twiml: [Hangupp]}", "expect", "did you mean `Hangup`?"),
        pytest.param("caller: [{noise: {ms: 5}}]", "caller[0].noise", "ms"),
        pytest.param("caller: [{wait: key, key: x}]", "caller[0]", "0 to 9"),
        pytest.param("caller: [{key: '1', say: A}]", "caller[0]", "`wait: key`"),
        pytest.param("caller: [{say: A}]\nmenu: [{name: a}]", "", "either a `caller` or a `menu`"),
        pytest.param("menu: [{name: a, keys: {'1': b}}]", "menu[0]", "needs a prompt"),
        pytest.param("menu: [{name: a, say: A, keys: {'1': b}}]", "", "no such room"),
        pytest.param("menu: [{name: a, say: A, keys: {1: a}}]", "menu[0].keys", "put it in quotes"),
        pytest.param("menu: [{name: a, say: A, keys: {'1': 1}}]", "menu[0].keys", "text, not 1"),
        pytest.param("menu: [{name: a}, {name: a}]", "", "two rooms with the name `a`"),
        pytest.param("menu: [{name: a, say: A, keys: {x: a}}]", "menu[0]", "in quotes"),
        pytest.param("callee: {busy: true, fails: true}", "callee", "one of"),
        pytest.param("expect: {heard: ['(']}", "expect", "is no pattern"),
        pytest.param("expect: {hard: [a]}", "expect.hard", "did you mean `heard`?"),
        pytest.param("expect: {session: [a]}", "expect.session", "must"),
        pytest.param("expect: {transfer: bussy}", "expect.transfer", "did you mean `busy`?"),
    ],
)
def test_a_mistake_is_refused_where_it_is(text: str, where: str, what: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse(f"name: x\n{text}", source="mine.yaml")

    assert refused.value.where == where
    assert what in refused.value.what
    assert str(refused.value).startswith("mine.yaml: ")


def test_a_configured_agent_keeps_what_a_scenario_does_not_change() -> None:
    bank = AgentSettings(numbers=("+15005550009",), greeting="Acme Bank.")
    configured = Config(agents={"bank": bank})
    scenario = parse("name: x\nagents: {bank: {max_silence_s: 5}, new: {greeting: Hi.}}\n")

    agents = with_agents_of(scenario, configured, Toolbox()).agents

    assert agents["bank"] == attrs.evolve(bank, max_silence_s=5.0)
    assert agents["new"] == AgentSettings(greeting="Hi.")


def test_a_scenario_may_refuse_numbers_that_nobody_has() -> None:
    scenario = parse("name: x\nserver: {unknown_numbers: refuse}\n")

    assert with_agents_of(scenario, Config(), Toolbox()).server.unknown_numbers == "refuse"


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
