from __future__ import annotations

from typing import Any

import attrs
import pytest

from gateway.lab.rehearsing.scenario import Expectation
from gateway.lab.rehearsing.verdict import judge
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.line_facts import Cut, Warned
from gateway.lab.twilio.playout_buffer import Heard
from gateway.lab.twilio.twiml_reader import Hangup, Say

VOICE = bytes(range(256)) * 125  # 4 s of something audible
EXPECT = Expectation(ending="AgentHungUp", tools=("opening_hours", "hangup"), barge_ins=1)

REPORT = CallReport(
    "CA1",
    ended="gateway_hung_up",
    stream_sid="MZ1",
    stream_ended="closed_by_server",
    heard=(Heard(0, 0, VOICE),),
    cuts=(Cut(3000, 8000, 3),),
)


def a_record(**changes: object) -> dict[str, Any]:
    record = {
        "call_sid": "CA1",
        "stream_sid": "MZ1",
        "ending": {"exit": "AgentHungUp", "side": "agent", "reason": "", "goodbye_heard": True},
        "transcript": [
            {"who": "agent", "heard_ms": 3000},
            {"who": "caller", "heard_ms": None},
            {"who": "agent", "heard_ms": 1050},
        ],
        "tool_calls": [
            {"name": "opening_hours", "outcome": "returned"},
            {"name": "hangup", "outcome": "returned"},
        ],
        "barge_ins": [{"at_ms": 3000}],
        "refused_orders": {"response_cancel_not_active": 1},
    }
    return {**record, **changes}


def test_nothing_is_said_about_a_call_that_went_well() -> None:
    assert judge(EXPECT, REPORT, a_record()) == ()


def test_a_missing_record_is_the_only_complaint_about_a_good_call() -> None:
    assert judge(EXPECT, REPORT, None) == ("no record of the call was written",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param(
            {"ending": {"exit": "Crashed", "side": "gateway", "actor": "tools", "error": "x"}},
            "the call ended in Crashed {'actor': 'tools', 'error': 'x'}, not in AgentHungUp",
            id="ending",
        ),
        pytest.param(
            {"ending": {"exit": "AgentHungUp", "goodbye_heard": False}},
            "the agent hung up before its goodbye was heard",
            id="goodbye",
        ),
        pytest.param(
            {"tool_calls": []},
            "the tools that were called were none, not opening_hours, hangup",
            id="tools",
        ),
        pytest.param(
            {
                "tool_calls": [
                    {"name": "opening_hours", "outcome": None},
                    {"name": "hangup", "outcome": "returned"},
                ]
            },
            "the call of opening_hours never had an output",
            id="no-output",
        ),
        pytest.param(
            {"refused_orders": {"invalid_value": 2}},
            "the session refused 2 orders with invalid_value",
            id="refused",
        ),
        pytest.param(
            {"call_sid": "CA2"},
            "the record is of another call: its call_sid is not the caller's",
            id="other-call",
        ),
        pytest.param(
            {"transcript": [{"who": "agent", "heard_ms": 4161}]},
            "by the record the caller heard 4161 ms of the agent, in truth it was 4000 ms",
            id="belief-too-high",
        ),
        pytest.param(
            {"transcript": [{"who": "agent", "heard_ms": 3839}]},
            "by the record the caller heard 3839 ms of the agent, in truth it was 4000 ms",
            id="belief-too-low",
        ),
    ],
)
def test_what_is_wrong_in_the_record_is_named(changes: dict[str, Any], complaint: str) -> None:
    assert judge(EXPECT, REPORT, a_record(**changes)) == (complaint,)


@pytest.mark.parametrize("heard_ms", [3840, 4160])
def test_belief_at_the_bound_of_what_one_barge_in_may_cost_is_good(heard_ms: int) -> None:
    record = a_record(transcript=[{"who": "agent", "heard_ms": heard_ms}])

    assert judge(EXPECT, REPORT, record) == ()


def test_a_barge_in_that_never_reached_the_caller_is_named() -> None:
    report = attrs.evolve(REPORT, cuts=())

    assert judge(EXPECT, report, a_record()) == (
        "the record tells of 1 barge-ins, and the caller heard 0 of them",
    )


def test_too_few_barge_ins_are_named() -> None:
    report = attrs.evolve(REPORT, cuts=())

    assert judge(EXPECT, report, a_record(barge_ins=[])) == ("the caller barged in 0 times, not 1",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param(
            {"problem": "/twilio/voice answered with status 403"},
            "/twilio/voice answered with status 403",
            id="problem",
        ),
        pytest.param(
            {"warnings": (Warned(10, 31951, "not JSON"), Warned(20, 31951, "not JSON"))},
            "the carrier dropped 2 of the gateway's messages (warning 31951): not JSON",
            id="warnings",
        ),
        pytest.param(
            {"steps_left": 2},
            "the caller never came to the last 2 steps of the script",
            id="steps",
        ),
        pytest.param(
            {"heard": (Heard(0, 0, b"\xff" * 32000),)},
            "the caller heard only silence",
            id="silence",
        ),
        pytest.param(
            {"verbs": (Say("Sorry."), Hangup())},
            "the carrier had to say in the agent's stead: Sorry.",
            id="apology",
        ),
        pytest.param(
            {"unplayed_ms": 120},
            "the gateway closed the stream over 120 ms of unheard audio",
            id="unplayed",
        ),
    ],
)
def test_what_the_phone_saw_is_named(changes: dict[str, Any], complaint: str) -> None:
    assert judge(EXPECT, attrs.evolve(REPORT, **changes), a_record()) == (complaint,)


def test_a_caller_who_heard_nothing_says_so() -> None:
    report = attrs.evolve(REPORT, heard=())

    assert "the caller heard nothing" in judge(EXPECT, report, a_record())


def test_an_expected_failure_is_no_failure() -> None:
    """A scenario in which the session refuses: nobody speaks, and the script is never played."""
    report = CallReport("CA1", ended="failed", problem="31921", stream_sid="MZ1", steps_left=3)
    record = a_record(
        ending={"exit": "Refused", "side": "session", "code": "quota", "message": ""},
        transcript=[],
        tool_calls=[],
        barge_ins=[],
    )

    assert judge(Expectation(ending="Refused"), report, record) == ()


@pytest.mark.parametrize(
    ("name", "is_good"), [("AgentHungUp", True), ("CallerHungUp", True), ("PeerLost", False)]
)
def test_without_an_expectation_a_call_ends_when_somebody_hangs_up(
    name: str, is_good: bool
) -> None:
    complaints = judge(Expectation(), REPORT, a_record(ending={"exit": name}))

    assert (complaints == ()) == is_good


def test_a_record_without_anything_in_it_is_complained_about_and_not_stumbled_over() -> None:
    assert judge(EXPECT, REPORT, {})
