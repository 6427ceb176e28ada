"""Whether a rehearsed call went as it should: what was expected, what the phone saw, the record.

Pure. The record is `call.json` as it lies on disk; `actors.policy.record` documents it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from actors.wire.g711 import level_dbfs
from gateway.lab.rehearsing.expectation import Expectation
from gateway.lab.rehearsing.testimony import Testimony, judge_testimony, missing_patterns, not_part
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.twiml_reader import Say

AUDIBLE_DBFS: Final = -50.0
"""Telephone speech lies around -20 dBFS, the noise of an open line below -60."""

CUT_MS: Final = 80
"""How far one barge-in may put the gateway's belief about what was heard from the truth."""

ITEM_MS: Final = 20
"""Each item may be filled up with silence to a whole frame."""

SLACK_MS: Final = 60
"""What the clocks and the scheduler of one machine take."""

_ORDERLY: Final = ("AgentHungUp", "CallerHungUp", "Transferred")
_VERBS: Final = {"ConnectStream": "Connect", "PlayDigits": "Play"}
"""Verbs whose class has another name."""
_HARMLESS: Final = {"response_cancel_not_active"}
"""Refusals that no client can avoid: the response ended while the order was on its way."""


def judge(
    expect: Expectation,
    report: CallReport,
    record: Mapping[str, Any] | None,
    testimony: Testimony | None = None,
) -> tuple[str, ...]:
    """List everything that was wrong, in sentences; empty when all is well.

    Args:
        expect: What the scenario says about the call.
        report: What the rehearsal caller saw.
        record: The parsed `call.json`; `None` when there is none.
        testimony: What was heard and sent. `None`: nobody was there to see it, and what `expect`
            says about it is not checked.

    """
    if not expect.answered:
        return tuple(_of_refusal(expect, report, record))
    complaints = list(_of_phone(expect, report))
    if testimony is not None:
        complaints += judge_testimony(expect, report, testimony)
    if record is None:
        complaints.append("no record of the call was written")
    else:
        complaints += _of_record(expect, record)
        complaints += not_part("record", expect.record, record)
        complaints += _of_both(report, record)
    return tuple(complaints)


def _of_refusal(
    expect: Expectation, report: CallReport, record: Mapping[str, Any] | None
) -> Iterator[str]:
    if report.stream_sids or record is not None:
        yield "an agent answered the call"
    yield from _of_carrier(expect, report)
    said = [verb.text for verb in report.verbs if isinstance(verb, Say)]
    yield from missing_patterns("heard", expect.heard, said)


def _of_phone(expect: Expectation, report: CallReport) -> Iterator[str]:
    orderly = expect.ending is None or expect.ending in _ORDERLY
    if report.problem is not None and orderly:
        yield report.problem
    warned = Counter((warning.code, warning.what) for warning in report.warnings)
    for (code, what), times in warned.items():
        yield f"the carrier dropped {times} of the gateway's messages (warning {code}): {what}"
    yield from _of_carrier(expect, report)
    if not orderly:
        return
    if report.steps_left:
        yield f"the caller never came to the last {report.steps_left} steps of the script"
    for verb in report.verbs:
        if isinstance(verb, Say):
            yield f"the carrier had to say in the agent's stead: {verb.text}"
    if not report.heard:
        yield "the caller heard nothing"
    elif level_dbfs(report.heard_ulaw) < AUDIBLE_DBFS:
        yield "the caller heard only silence"
    if report.ended == "gateway_hung_up" and report.unplayed_ms:
        yield f"the gateway closed the stream over {report.unplayed_ms} ms of unheard audio"


def _of_carrier(expect: Expectation, report: CallReport) -> Iterator[str]:
    if expect.within_ms is not None and report.duration_s * 1000 > expect.within_ms:
        yield f"the call took {report.duration_s * 1000:.0f} ms, more than {expect.within_ms}"
    verbs = [_VERBS.get(type(verb).__name__, type(verb).__name__) for verb in report.verbs]
    last = tuple(verbs[-len(expect.twiml) :]) if expect.twiml else ()
    if last != expect.twiml:
        yield f"the last that the carrier did was {_list(last)}, not {_list(expect.twiml)}"
    if expect.transfer is None and expect.whisper is None:
        return
    transfer = report.transfers[-1] if report.transfers else None
    if transfer is None:
        yield "nobody was called for a transfer"
        return
    status = "answered" if transfer.bridged else transfer.status
    if status == "completed":  # Somebody took it, and would not speak: not an answer to the caller.
        status = "no-answer"
    if expect.transfer is not None and status != expect.transfer:
        yield f"the transfer ended as {status}, not as {expect.transfer}"
    if expect.whisper is not None:
        yield from missing_patterns("whisper", [expect.whisper], [transfer.whisper or ""])


def _of_record(expect: Expectation, record: Mapping[str, Any]) -> Iterator[str]:
    ending = record.get("ending") or {}
    name = ending.get("exit")
    wanted = _ORDERLY if expect.ending is None else (expect.ending,)
    if name not in wanted:
        details = {key: ending[key] for key in ending if key not in {"exit", "side"}}
        yield f"the call ended in {name} {details or ''}".rstrip() + f", not in {_or(wanted)}"
    if ending.get("goodbye_heard") is False:
        yield "the agent hung up before its goodbye was heard"
    if expect.said:
        said = [one.get("text") or "" for one in record.get("transcript", ()) if _is_caller(one)]
        yield from missing_patterns("said", expect.said, said)
    runs = record.get("tool_calls", ())
    tools = tuple(run.get("name") for run in runs)
    if expect.tools is not None and tools != expect.tools:
        yield f"the tools that were called were {_list(tools)}, not {_list(expect.tools)}"
    for run in runs:
        if run.get("outcome") is None and name != "Transferred":
            yield f"the call of {run.get('name')} never had an output"
    barge_ins = len(record.get("barge_ins", ()))
    if expect.barge_ins is not None and barge_ins != expect.barge_ins:
        yield f"the caller barged in {barge_ins} times, not {expect.barge_ins}"
    for code, times in (record.get("refused_orders") or {}).items():
        if code not in _HARMLESS:
            yield f"the session refused {times} orders with {code}"


def _of_both(report: CallReport, record: Mapping[str, Any]) -> Iterator[str]:
    """Hold what the gateway believes against what the caller knows."""
    streams = report.stream_sids or (report.stream_sid,)
    for name, truth in (("call_sid", report.call_sid), ("stream_sid", streams[0])):
        if record.get(name) != truth:
            yield f"the record is of another call: its {name} is not the caller's"
    cuts, barge_ins = len(report.cuts), len(record.get("barge_ins", ()))
    if cuts != barge_ins:
        yield f"the record tells of {barge_ins} barge-ins, and the caller heard {cuts} of them"
    if report.ended != "gateway_hung_up":
        return  # The last mark before a caller hangs up never comes; belief may lag behind.
    agent = [said for said in record.get("transcript", ()) if said.get("who") == "agent"]
    believed_ms = sum(said.get("heard_ms") or 0 for said in agent)
    tolerance_ms = SLACK_MS + CUT_MS * cuts + ITEM_MS * len(agent)
    if abs(believed_ms - report.heard_ms) > tolerance_ms:
        yield (
            f"by the record the caller heard {believed_ms} ms of the agent, "
            f"in truth it was {report.heard_ms} ms"
        )


def _is_caller(said: Mapping[str, Any]) -> bool:
    return said.get("who") == "caller"


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def _list(names: tuple[Any, ...]) -> str:
    return ", ".join(map(str, names)) or "none"
