"""A simulation told in words: who called, what was to go wrong, what happened, what did not hold.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from actors.exits import Exit
from actors.policy.record import CallRecord, Said
from gateway.lab.faults.fault_plan import Fault, Strike
from gateway.lab.faults.fault_story import story
from gateway.lab.judges.evidence import CallSeen
from gateway.lab.simulator.simulation import Played, Setting

_WORDS_MOST: Final = 70
"""Characters of what is said in one line of the story."""
_INNER: Final = {"side", "tool_call_id", "peer"}
"""Fields of an ending that its name already says."""


def tell(setting: Setting, played: Played) -> list[str]:
    """Tell what happened in a simulation. One line each, times in seconds since it began."""
    outcome, report = played.outcome, played.report
    lines = [f"seed {setting.seed}: {len(setting.calls)} calls, {report.lasted_s:.1f} s"]
    for call in setting.calls:
        phone, model = "-".join(map(str, call.phone_ms)), "-".join(map(str, call.model_ms))
        lines.append(
            f"  call {call.number} rings at {call.starts_ms / 1000:.2f} s, "
            f"phone {phone} ms away, model {model} ms"
        )
    lines.append("what goes wrong:" if setting.plan.faults else "nothing goes wrong")
    struck = {strike.fault for strike in report.strikes}
    for fault in setting.plan.faults:
        note = "" if fault in struck else " (it never came to that)"
        lines.append(f"  {story(fault)}{note}")
    lines.append("what happens:")
    happenings = [
        *(one for seen in report.calls for one in _call(seen)),
        *_strikes(report.strikes),
    ]
    for at_s, text in sorted(happenings, key=lambda one: one[0]):
        lines.append(f"  {at_s:+9.3f} s  {text}")
    if not outcome.violations:
        lines.append("every invariant held")
    else:
        lines.append("what did not hold:")
        lines += [f"  {violation}" for violation in outcome.violations]
    lines.append(f"trace {outcome.trace_hash}")
    return lines


def _strikes(strikes: Iterable[Strike]) -> Iterator[tuple[float, str]]:
    """One line for each fault, however often it strikes."""
    by_fault: dict[Fault, list[Strike]] = {}
    for strike in strikes:
        by_fault.setdefault(strike.fault, []).append(strike)
    for fault, all_its in by_fault.items():
        whose = "" if fault.place == "node" else f"call {fault.call} "
        often = f", {len(all_its)} times in all" if len(all_its) > 1 else ""
        yield all_its[0].at_s, f"{whose}{fault.id} strikes{often}"


def _call(seen: CallSeen) -> Iterator[tuple[float, str]]:
    who = f"call {seen.call.number}"
    yield seen.rang_s, f"{who} rings"
    for stream in seen.streams:
        yield stream.opened_s, f"{who} stream opened"
        for at_s in stream.clears_s:
            yield at_s, f"{who} clear"
    for session in seen.sessions:
        yield session.opened_s, f"{who} model reached"
        if session.lost_s is not None:
            yield session.lost_s, f"{who} model lost"
    if seen.began_s is not None:
        for record in seen.records:
            for at_ms, text in _record(record):
                yield seen.began_s + at_ms / 1000, f"{who} {text}"
    if seen.over_s is not None:
        yield seen.over_s, f"{who} over: {_ending(seen.ending)}"
    if seen.finished_s is not None:
        problem = seen.report.problem if seen.report is not None else None
        yield seen.finished_s, f"{who} phone is done: {problem or 'nothing to complain of'}"


def _record(record: CallRecord) -> Iterator[tuple[int, str]]:
    for said in record.transcript:
        if said.began_ms is not None:
            yield said.began_ms, _said(said)
    for barge_in in record.barge_ins:
        heard = ", ".join(f"{item.heard_ms} of {item.received_ms} ms" for item in barge_in.items)
        yield barge_in.at_ms, f"barge-in: heard {heard}"
    for tool in record.tool_calls:
        if tool.finished_ms is not None:
            yield tool.finished_ms, f"tool {tool.name} {tool.outcome}"


def _said(said: Said) -> str:
    text = (said.text or "...")[:_WORDS_MOST]
    if said.who == "caller":
        return f"caller: {text}"
    cut = f", cut after {said.heard_ms} ms" if said.interrupted else ""
    return f"agent: {text}{cut}"


def _ending(why: Exit | None) -> str:
    if why is None:
        return "cancelled"
    fields = attrs.asdict(why, filter=lambda field, _: field.init and field.name not in _INNER)
    told = ", ".join(f"{name} {value}" for name, value in fields.items())
    return f"{type(why).__name__}{f' ({told})' if told else ''}"
