"""That every promise is really looked after: each test breaks one and wants to be told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import attrs
import pytest

from actors.exits import CallerHungUp, Crashed, PeerLost
from gateway.app import APOLOGY
from gateway.lab.judges.evidence import CallSeen, NodeReport
from gateway.lab.judges.invariants import TaskCount, check, judge_call
from gateway.lab.judges.tagged_voice import Tagged, Unreadable
from gateway.lab.twilio.twiml_reader import Say
from tests.test_node import run


@cache
def _whole() -> NodeReport:
    return run()


@pytest.fixture
def report() -> NodeReport:
    """A run in which all is well. Its calls may be spoilt."""
    whole = _whole()
    # Nothing that is frozen is copied; of the rest, what a test may spoil.
    calls = tuple(copy.copy(seen) for seen in whole.calls)
    for seen in calls:
        seen.heard, seen.records = list(seen.heard), list(seen.records)
        seen.streams = list(seen.streams)
        seen.sessions = [copy.copy(session) for session in seen.sessions]
        for session in seen.sessions:
            session.outputs = session.outputs.copy()
            session.asked = dict(session.asked)
    return attrs.evolve(whole, calls=calls)


def _record(seen: CallSeen, **changes: object) -> None:
    seen.records = [attrs.evolve(seen.records[0], **changes)]  # type: ignore[arg-type]


def _audio(seen: CallSeen, name: str) -> None:
    audio = seen.records[0].audio
    _record(seen, audio=attrs.evolve(audio, **{name: getattr(audio, name) + 1}))


def _drop(seen: CallSeen, name: str) -> None:
    _record(seen, drops={**seen.records[0].drops, name: 8000})


def _hear(seen: CallSeen, *runs: Tagged | Unreadable) -> None:
    seen.heard += [(0.0, run) for run in runs]


def _twice_answered(seen: CallSeen) -> None:
    (tool_call_id, *_) = seen.sessions[0].outputs
    seen.sessions[0].outputs[tool_call_id] += 1


def _never_answered(seen: CallSeen) -> None:
    session = seen.sessions[0]
    session.asked["call_x"] = ("look_up", session.opened_s - 20)


def _left_open(seen: CallSeen) -> None:
    seen.sessions[0].done_s = None


def _late(seen: CallSeen) -> None:
    assert seen.over_s is not None
    seen.over_s += 0.4


def _told_long_ago(seen: CallSeen) -> None:
    assert seen.over_s is not None
    _stream(seen, told_s=seen.over_s - 1)


def _never_replaced(seen: CallSeen) -> None:
    assert seen.began_s is not None
    seen.sessions[0].lost_s = seen.began_s
    seen.over_s = seen.began_s + 30


def _gave_up(seen: CallSeen) -> None:
    assert seen.began_s is not None
    seen.sessions[0].lost_s = seen.began_s
    seen.ending = PeerLost("session", None, "broken")
    seen.attempts = 1


def _problem(seen: CallSeen) -> None:
    assert seen.report is not None
    seen.report = attrs.evolve(seen.report, problem="error 31921")


def _never_closed(seen: CallSeen) -> None:
    assert seen.recorder is not None
    seen.recorder = copy.copy(seen.recorder)
    seen.recorder.closed = False


def _not_recorded(seen: CallSeen) -> None:
    assert seen.recorder is not None
    seen.recorder = copy.copy(seen.recorder)
    seen.recorder.caller_bytes -= 160


def _believed(seen: CallSeen) -> None:
    (record,) = seen.records
    first, *rest = (said for said in record.transcript if said.who == "agent" and said.heard_ms)
    assert first.heard_ms is not None
    wrong = attrs.evolve(first, heard_ms=first.heard_ms + 500, interrupted=True)
    _record(seen, transcript=(wrong, *rest))


def _crashed(seen: CallSeen) -> None:
    seen.ending = Crashed("turns", "KeyError")
    _record(seen, ending=seen.ending)


def _apologised(seen: CallSeen) -> None:
    assert seen.report is not None
    seen.report = attrs.evolve(seen.report, verbs=(Say(APOLOGY),))


def _not_amended(seen: CallSeen) -> None:
    session = seen.sessions[0]
    session.truncated_ms, session.deleted = {}, set()


def _not_told(seen: CallSeen) -> None:
    seen.tools.done_s += [0.0] * 9


def _left_alone(seen: CallSeen) -> None:
    session = seen.sessions[0]
    session.failed_s = [session.opened_s - 20]


def _stream(seen: CallSeen, **changes: object) -> None:
    stream = seen.streams[0] = copy.copy(seen.streams[0])
    for name, value in changes.items():
        setattr(stream, name, value)


SPOILERS: dict[str, tuple[str, Callable[[CallSeen], None]]] = {
    "an open socket": ("I1", _left_open),
    "no record": ("I2", lambda seen: seen.records.clear()),
    "two records": ("I2", lambda seen: seen.records.append(seen.records[0])),
    "a wrong ending": ("I2", lambda seen: _record(seen, ending=CallerHungUp())),
    "a byte of the caller's": ("I3", lambda seen: _audio(seen, "caller_bytes")),
    "a byte appended": ("I3", lambda seen: _audio(seen, "appended_bytes")),
    "a byte received": ("I3", lambda seen: _audio(seen, "received_bytes")),
    "a byte played": ("I3", lambda seen: _audio(seen, "played_bytes")),
    "a drop nobody had": ("I3", lambda seen: _drop(seen, "agent_bytes_late")),
    "silence nobody filled in": ("I3", lambda seen: _drop(seen, "caller_ms_filled_with_silence")),
    "a phone that takes nothing": ("I4", lambda seen: _stream(seen, longest_wait_s=1.5)),
    "a phone that says nothing": ("I4", lambda seen: _stream(seen, latest_s=0.0)),
    "a peer that is not Twilio": (
        "I4",
        lambda seen: _stream(seen, unreadable_s=[1.0 + n / 10 for n in range(10)]),
    ),
    "another stream": ("I4", lambda seen: _stream(seen, nonsense_s=1.0)),
    "a late end": ("I4", _late),
    "a leg gone long ago": ("I4", _told_long_ago),
    "a session that nobody replaced": ("I4", _never_replaced),
    "a session that nobody tried to replace": ("I2", _gave_up),
    "audio heard twice": ("I6", lambda seen: _hear(seen, _again(seen))),
    "another call's audio": ("I8", lambda seen: _hear(seen, Tagged(0, 9, "agent", 9, 0, 20))),
    "the caller's own voice": ("I8", lambda seen: _hear(seen, Tagged(0, 0, "caller", 9, 0, 20))),
    "noise": ("I8", lambda seen: _hear(seen, Unreadable(0, 5))),
    "two outputs": ("I7", _twice_answered),
    "no output": ("I7", _never_answered),
    "a run too many": ("I7", lambda seen: seen.tools.runs.append("look_up")),
    "a result nobody told": ("I7", _not_told),
    "a failure nobody made good": ("I7", _left_alone),
    "words nobody heard": ("I7", _not_amended),
    "a belief": ("I6", _believed),
    "an open recording": ("I1", _never_closed),
    "a frame not recorded": ("I3", _not_recorded),
    "a crash out of nothing": ("I2", _crashed),
    "an apology for nothing": ("I10", _apologised),
    "a problem of the phone's": ("I10", _problem),
}


def _again(seen: CallSeen) -> Tagged:
    return next(run for _, run in seen.heard if isinstance(run, Tagged))


def test_nothing_is_wrong_with_a_good_run(report: NodeReport) -> None:
    assert check(report) == []
    assert [judge_call(seen, ()) for seen in report.calls] == [[], []]


@pytest.mark.parametrize("what", SPOILERS)
def test_of_a_call_this_is_noticed(report: NodeReport, what: str) -> None:
    promise, spoil = SPOILERS[what]
    seen = report.calls[0]
    seen.tools = attrs.evolve(seen.tools)
    seen.tools.runs.extend(["look_up"])

    spoil(seen)

    found = judge_call(seen, ())
    assert found
    assert all(complaint.startswith(f"{promise} call 0: ") for complaint in found), found


def _event(report: NodeReport, **event: object) -> NodeReport:
    return attrs.evolve(report, events=(*report.events, {"level": "info", **event}))


def _swap_records(report: NodeReport) -> NodeReport:
    one, other = report.calls
    one.records = [
        attrs.evolve(one.records[0], from_number=other.call_sid),
    ]
    return report


BROKEN: dict[str, tuple[str, Callable[[NodeReport], NodeReport]]] = {
    "sockets": ("I1", lambda report: attrs.evolve(report, open_sockets=1)),
    "calls": ("I1", lambda report: attrs.evolve(report, live_calls=1)),
    "tasks": ("I1", lambda report: attrs.evolve(report, tasks_left=("session.socket",))),
    "a full lane": (
        "I5",
        lambda report: _event(
            report, event="call.ended", lane_peaks={"speech": 51}, held_peak_bytes=0
        ),
    ),
    "held audio": (
        "I5",
        lambda report: _event(report, event="call.ended", lane_peaks={}, held_peak_bytes=2_400_001),
    ),
    "another's name": ("I8", _swap_records),
    "a token": ("I9", lambda report: _event(report, event="x", url=report.calls[0].tokens[0])),
    "a key": ("I9", lambda report: _event(report, event="x", why=report.secrets[1])),
    "a word": ("I9", lambda report: _event(report, event="x", why="they said w5f")),
    "an error": ("I9", lambda report: _event(report, event="actor.crashed", level="error")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_of_a_gateway_this_is_noticed(report: NodeReport, what: str) -> None:
    promise, spoil = BROKEN[what]

    found = check(spoil(report))

    assert found
    assert all(complaint.startswith(f"{promise} ") for complaint in found), found


def test_a_run_of_trio_leaves_nothing_of_itself() -> None:
    assert list(TaskCount().complaints()) == []
