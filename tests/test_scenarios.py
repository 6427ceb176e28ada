"""The product's acceptance tests: every shipped scenario, through the whole gateway, to a verdict.

In virtual time; the same scenarios run in real time by `offhook rehearse NAME`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import attrs
import pytest

from actors.ports import TransferOutcome
from gateway.lab.rehearsing.rehearse import Rehearsed, rehearse
from gateway.lab.rehearsing.scenario import Answering, Scenario, load, names, parse, shipped
from gateway.lab.rehearsing.verdict import judge
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.far_end import Step

NOT_BY_ITS_AGENT: Final = {
    "hold-music": "it is about the music; see below",
    "number-refused": "it is about those whom no agent has",
    "session-rotation": "its agent is only patient",
    "session-lost": "its filler is the default's",
}
"""Scenarios that also hold with the default agent."""


@lru_cache
def done(name: str) -> Rehearsed:
    """A shipped scenario, run once for all that is asked of it."""
    return rehearse(load(name))


@pytest.mark.parametrize("name", names())
def test_a_shipped_scenario_holds(name: str) -> None:
    assert done(name).complaints == ()


ABOUT_SETTINGS: Final = [
    scenario.name
    for scenario in shipped()
    if (scenario.agent or scenario.agents) and scenario.name not in NOT_BY_ITS_AGENT
]


@pytest.mark.parametrize("name", ABOUT_SETTINGS)
def test_a_scenario_about_settings_fails_without_them(name: str) -> None:
    """Or its verdict would say nothing about them."""
    assert rehearse(attrs.evolve(load(name), agent={}, agents={})).complaints != ()


def test_with_silence_in_place_of_hold_music_the_agent_asks() -> None:
    scenario = load("hold-music")
    steps = tuple(
        attrs.evolve(step, noise=None) if step.noise is not None else step
        for step in scenario.caller
    )
    quiet = (*steps[:2], Step(wait_ms=30_000), *steps[2:])

    assert rehearse(attrs.evolve(scenario, caller=quiet)).complaints != ()


def test_the_same_scenario_goes_the_same_way_twice() -> None:
    one, other = done("ivr"), rehearse(load("ivr"))

    assert one.record == other.record
    assert one.report == other.report
    assert one.events == other.events


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", ["ivr", "transfer-busy", "session-lost", "session-rotation"])
def test_no_scenario_hangs_on_one_order_of_tasks(name: str, seed: int) -> None:
    assert rehearse(load(name), seed=seed).complaints == ()


def test_a_number_that_is_answered_after_all_is_not_refused() -> None:
    answered = attrs.evolve(load("number-refused"), server=Answering("default"))

    assert "an agent answered the call" in rehearse(answered).complaints


def test_an_answer_of_which_no_word_was_said_is_the_next_sessions() -> None:
    scenario = parse("""
name: lost-between
model:
  answers:
    - items: [{say: Hello.}]
    - after_ms: 2000
      items: [{say: Here is the answer.}, {call: {name: hangup, arguments: {reason: done}}}]
  faults: [{at: {at_ms: 4500}, do: close, connections: 1}]
caller: [{wait: agent_quiet, say: A question.}, {wait: call_end}]
expect: {sessions: 2, heard: [hello, here is the answer], tools: [hangup]}
""")

    assert rehearse(scenario).complaints == ()


def test_a_callee_who_declines_has_not_answered() -> None:
    whisper = load("transfer-whisper")
    declined = attrs.evolve(whisper, callee=Callee(declines_after_ms=100))

    assert not [one for one in _about_transfers(declined, "no-answer") if "transfer ended" in one]
    assert [one for one in _about_transfers(declined, "busy") if "no-answer, not as busy" in one]


def _about_transfers(scenario: Scenario, outcome: TransferOutcome) -> tuple[str, ...]:
    expect = attrs.evolve(scenario.expect, transfer=outcome)
    return rehearse(attrs.evolve(scenario, expect=expect)).complaints


def test_a_call_in_a_phone_menu_is_one_call_with_one_record() -> None:
    """Three keys, so three streams more, and still the same session and the same record."""
    ivr = done("ivr")

    assert len(ivr.report.stream_sids) == 4
    assert len(ivr.testimony.sessions) == 1
    assert ivr.record is not None
    assert ivr.record["call_sid"] == ivr.report.call_sid
    assert ivr.record["stream_sid"] == ivr.report.stream_sids[0]


@pytest.mark.parametrize(
    ("name", "expect", "complaint"),
    [
        ("quick", {"heard": ("until seven",)}, "`heard`: 'until seven' is not in"),
        ("quick", {"heard": ("goodbye", "hello")}, "behind what came before it"),
        ("quick", {"unheard": ("until six",)}, "`unheard`: 'until six' is there all the same"),
        ("quick", {"said": ("tomorrow",)}, "`said`: 'tomorrow' is not in 'Are you open today?'"),
        ("quick", {"max_gap_ms": 300}, "the caller heard nothing for"),
        ("quick", {"within_ms": 1000}, "ms, more than 1000"),
        ("quick", {"sessions": 2}, "`sessions`: there were 1, not 2"),
        ("quick", {"session": {"type": "transcription"}}, "`session.type` is 'realtime', not"),
        ("quick", {"changed": {"instructions": "x"}}, "`changed.instructions` is"),
        ("quick", {"instructions": ("pirate",)}, "`instructions`: 'pirate' is not in"),
        ("quick", {"told": ("keypad",)}, "`told`: 'keypad' is not in"),
        ("quick", {"primed": ("before",)}, "`primed`: 'before' is not in"),
        ("quick", {"untold": ("hung_up",)}, "`untold`: 'hung_up' is there all the same"),
        ("quick", {"record": {"agent": "x"}}, "`record.agent` is 'default', not 'x'"),
        ("quick", {"record": {"agnet": "x"}}, "`record.agnet` is missing; there is: call_sid"),
        (
            "quick",
            {"nowhere": ("Are you open today?",)},
            "'Are you open today?' is in the flight log, call.json, timeline.svg",
        ),
        ("quick", {"nowhere": ("marin",)}, "is in the flight log, call.json, "),
        ("quick", {"nowhere": ("pcmu",)}, "session.update to the model"),
        ("quick", {"transfer": "busy"}, "nobody was called for a transfer"),
        ("quick", {"twiml": ("Dial",)}, "the last that the carrier did was Connect, not Dial"),
        ("send-dtmf", {"pressed": "1"}, "the other end was sent 2, not 1"),
        ("send-dtmf-in-band", {"pressed": "1"}, "the other end was sent 2, not 1"),
        ("transfer-busy", {"transfer": "answered"}, "the transfer ended as busy, not as answered"),
        ("transfer-whisper", {"whisper": "roof"}, "`whisper`: 'roof' is not in"),
    ],
)
def test_every_kind_of_expectation_can_fail(
    name: str, expect: dict[str, Any], complaint: str
) -> None:
    ran = done(name)
    changed = attrs.evolve(ran.scenario.expect, **expect)

    complaints = judge(changed, ran.report, ran.record, ran.testimony)

    assert any(complaint in one for one in complaints), complaints
