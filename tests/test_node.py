"""A whole gateway in virtual time. Each test is a run of trio of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.exits import AgentHungUp, CallerHungUp, Killed, Refused
from gateway.app import APOLOGY
from gateway.lab.faults.fault_plan import PROBES, Fault, FaultPlan, Striker
from gateway.lab.judges.evidence import NodeReport
from gateway.lab.judges.invariants import TaskCount, check
from gateway.lab.judges.tagged_voice import Tagged
from gateway.lab.rehearsing.scenario import Scenario, parse
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.node import run_node
from gateway.lab.simulator.simulated_tools import simulated_tools
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.twilio.twiml_reader import Say
from gateway.lab.virtual_time import VirtualClock

CHAT = parse(
    """
name: chat
model:
  answers:
    - items: [{say: "w0a w1b w2c"}]
    - items: [{say: "w3d"}, {call: {name: look_up, arguments: {what: "w4e"}}}]
    - items: [{say: "w5f w6g w7h w8i w9j"}]
    - items: [{say: "v0a"}, {call: {name: hangup, arguments: {reason: "v1b"}}}]
caller:
  - {wait: agent_quiet, say: "v2c v3d"}
  - {wait: agent_speaking, after_ms: 900, say: "v4e"}
  - {wait: call_end}
"""
)
SHORT = parse(
    """
name: short
model:
  answers:
    - items: [{say: "w0a"}]
caller:
  - {wait: agent_quiet, quiet_ms: 6500, hang_up: true}
"""
)


def run(
    *faults: Fault,
    scenarios: Sequence[Scenario] = (CHAT, CHAT),
    seed: int = 1,
    trace: list[str] | None = None,
) -> NodeReport:
    """Let a gateway take these calls, half a second apart, and check everything afterwards."""
    clock, tasks = VirtualClock(), TaskCount()
    striker = Striker(FaultPlan(faults))
    calls = [
        SimulatedCall(
            number=number,
            starts_ms=500 * number,
            scenario=scenario,
            phone_ms=(20, 60),
            model_ms=(10, 40),
        )
        for number, scenario in enumerate(scenarios)
    ]
    report = run_seeded(
        lambda: run_node(
            calls,
            striker,
            seed=seed,
            toolbox=simulated_tools(),
            clock=clock,
            trace=None if trace is None else trace.append,
        ),
        seed=seed,
        clock=clock,
        instruments=[tasks],
    )
    assert check(report, striker, tasks) == []
    assert {strike.fault.id for strike in striker.log} == {fault.id for fault in faults}
    return report


def test_calls_run_side_by_side_from_the_webhook_to_the_record() -> None:
    report = run()

    for seen in report.calls:
        assert isinstance(seen.ending, AgentHungUp)
        assert len(seen.records) == 1
        assert seen.report is not None
        assert seen.report.ended == "gateway_hung_up"
        assert seen.report.problem is None
        assert seen.tools.runs == ["look_up"]
        assert any(isinstance(run, Tagged) for _, run in seen.heard)
    assert report.endings == {"AgentHungUp": 2}


def test_the_same_seed_does_the_same_to_the_last_frame() -> None:
    one: list[str] = []
    other: list[str] = []
    third: list[str] = []
    run(trace=one)
    run(trace=other)
    run(trace=third, seed=2)

    assert len(one) > 1000
    assert one == other
    assert one != third


def test_twilio_is_answered_and_tells_how_call_and_stream_are_doing() -> None:
    trace: list[str] = []
    report = run(scenarios=[SHORT], trace=trace)

    told = [line.split()[4] for line in trace if " POST " in line]
    assert sorted(told) == [
        "/twilio/status",
        "/twilio/stream-status",
        "/twilio/stream-status",
        "/twilio/voice",
    ]
    assert isinstance(report.calls[0].ending, CallerHungUp)


@pytest.mark.parametrize("probe", PROBES)
def test_hostile_sockets_get_nothing_and_the_calls_go_on(probe: str) -> None:
    fault = Fault(id="F09", place="node", do="inject", detail=probe, at_ms=1500)

    report = run(fault, scenarios=[SHORT])

    assert report.endings == {"CallerHungUp": 1}


def test_told_to_stop_the_gateway_ends_every_call_with_its_record() -> None:
    report = run(Fault(id="F53", place="node", do="stop", at_ms=2500))

    assert [seen.records[0].ending for seen in report.calls] == [Killed(), Killed()]


def test_told_twice_it_leaves_nothing_behind_either() -> None:
    report = run(
        Fault(id="F53", place="node", do="stop", at_ms=2500),
        Fault(id="F54", place="node", do="stop", at_ms=2510),
    )

    assert report.endings == {"Killed": 2}


@pytest.mark.parametrize("detail", ["wall", "stall", "suspend"])
def test_clocks_may_jump(detail: str) -> None:
    run(Fault(id="F58", place="node", do="jump", detail=detail, at_ms=3000, ms=1000))


def test_a_model_that_refuses_is_apologised_for() -> None:
    fault = Fault(id="F21", place="model.open", do="raise", detail="401")

    report = run(fault, scenarios=[CHAT])

    seen = report.calls[0]
    assert isinstance(seen.ending, Refused)
    assert seen.report is not None
    assert Say(APOLOGY) in seen.report.verbs


def test_a_repeated_webhook_gets_the_same_answer() -> None:
    report = run(Fault(id="F10", place="webhook", kind="voice", do="duplicate", ms=300))

    answers = report.calls[0].answers
    assert len(answers) == 2
    assert answers[0] == answers[1]


@pytest.mark.parametrize("detail", ["SystemExit", "BaseExceptionGroup", "MemoryError"])
def test_whatever_a_tool_raises_its_call_goes_on(detail: str) -> None:
    fault = Fault(id="F37", place="tool", do="raise", detail=detail)

    report = run(fault)

    assert report.endings == {"AgentHungUp": 2}
    assert report.calls[0].records[0].tool_calls[0].outcome == "failed"


def test_a_store_that_fails_is_the_one_thing_that_costs_a_record() -> None:
    report = run(Fault(id="F45", place="store", do="raise", detail="ENOSPC"))

    assert [len(seen.records) for seen in report.calls] == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_no_byte_of_audio_is_lost_without_a_name(seed: int) -> None:
    """`check` balances the books; here they have something to balance."""
    report = run(
        Fault(id="F17", place="phone.up", kind="media", do="drop", nth=30 + seed, times=7),
        Fault(id="F18", place="phone.up", kind="media", do="delay", nth=90, ms=1500, times=1),
        Fault(id="F25", place="model.down", kind="response.done", do="break", nth=3),
        seed=seed,
        scenarios=[CHAT],
    )

    (record,) = report.calls[0].records
    assert record.drops["caller_ms_filled_with_silence"] >= 140
    assert record.drops["agent_bytes_unsent"] + record.drops["agent_bytes_withdrawn"] > 0
