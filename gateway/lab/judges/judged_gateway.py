"""I1, I5, I8 and I9 of a whole gateway: what is left of it, its limits, its logs and records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from actors.call import Limits
from actors.policy.playout import QUEUED_MAX_BYTES
from gateway.lab.faults.fault_plan import Place, Strike
from gateway.lab.judges.evidence import CallSeen, NodeReport
from gateway.records.store import to_json

RECORD_BYTES: Final = 2 * 2**20
_LIMITS: Final = Limits()


def judge_gateway(report: NodeReport) -> Iterator[str]:
    """Complain about a gateway whose calls are all over."""
    yield from _left_over(report)
    yield from report.intruders
    yield from _logged(report)
    yield from _limits_kept(report)
    yield from _mixed_up(report)


def _left_over(report: NodeReport) -> Iterator[str]:
    if report.open_sockets:
        yield f"I1 the gateway: {report.open_sockets} sockets are left"
    if report.live_calls:
        yield f"I1 the gateway: {report.live_calls} calls are left"
    for task in report.tasks_left:
        yield f"I1 the gateway: a task is left: {task}"


def _limits_kept(report: NodeReport) -> Iterator[str]:
    sizes = {"speech": _LIMITS.speech_frames, "recording": _LIMITS.recording_messages}
    orders = {"to_carrier": _LIMITS.orders, "to_session": _LIMITS.orders}
    for event in report.events:
        if event.get("event") != "call.ended":
            continue
        for lane, peak in event["lane_peaks"].items():
            if peak > (sizes | orders).get(lane, _LIMITS.facts):
                yield f"I5 {event.get('call_sid')}: lane {lane} held {peak}"
        if event["held_peak_bytes"] > QUEUED_MAX_BYTES:
            yield f"I5 {event.get('call_sid')}: {event['held_peak_bytes']} bytes were held back"
    for seen in report.calls:
        for record in seen.records:
            size = len(to_json(record))
            if size > RECORD_BYTES:
                yield f"I5 call {seen.call.number}: its record has {size} bytes"


_TOKEN: Final = re.compile(r"[A-Za-z0-9_]{3,}")


def _tokens(text: str) -> set[str]:
    return set(_TOKEN.findall(text))


def _words(seen: CallSeen) -> set[str]:
    """Words of a call that are nowhere by chance, for they have a digit in them.

    What was said, and what tools were called with.
    """
    calls = [
        str(item.call.arguments)
        for answer in seen.call.scenario.model.answers
        for item in answer.items
        if item.call is not None
    ]
    said = " ".join([*seen.agent_voice.lines, *seen.caller_voice.lines, *calls])
    return {word for word in _tokens(said) if any(map(str.isdigit, word)) and not word.isdigit()}


_TOOLS_OWN: Final = "tool.failed"
"""What a function raises is its own affair."""


def _logged(report: NodeReport) -> Iterator[str]:
    secrets = [secret for secret in report.secrets if secret]
    lines = {
        line
        for seen in report.calls
        for line in (*seen.agent_voice.lines, *seen.caller_voice.lines)
        if len(line) > 8
    }
    words = set[str]().union(*(_words(seen) for seen in report.calls))
    numbers = {seen.call_sid: seen.call.number for seen in report.calls}
    for event in report.events:
        text = _as_text(event)
        name = event.get("event")
        if any(secret in text for secret in secrets):
            yield f"I9 {name}: a secret was logged"
        if words & _tokens(text) or any(line in text for line in lines):
            yield f"I9 {name}: what somebody said was logged"
        if event.get("level") in ("error", "critical") and name != _TOOLS_OWN:
            number = numbers.get(str(event.get("call_sid")))
            if not _explains(report.strikes, str(name), number):
                yield f"I9 call {number}: {name}: {_tail(event)}"


_EXPLAINED_BY: Final[Mapping[str, frozenset[Place]]] = {
    "actor.crashed": frozenset({"phone.down", "model.up"}),
    "call.goodbye_failed": frozenset({"store", "phone.down", "model.up"}),
    "call.session_crashed": frozenset({"model.open", "model.up"}),
}
"""Errors that are logged when the gateway's own code met one at one of these places."""


def _explains(strikes: Iterable[Strike], name: str, number: int | None) -> bool:
    """Whether an error was to be expected."""
    places = _EXPLAINED_BY.get(name, frozenset())
    return any(
        strike.fault.do == "raise" and strike.fault.place in places and strike.fault.call == number
        for strike in strikes
    )


def _mixed_up(report: NodeReport) -> Iterator[str]:
    """Look for the names and words of every call in the records of all others."""
    owners: dict[str, int] = {}
    for seen in report.calls:
        own = {seen.call_sid, *(stream.stream_sid for stream in seen.streams)} | _words(seen)
        for word in sorted(own):
            # A word that two calls share, because they follow one scenario, tells nothing.
            owners[word] = -1 if word in owners else seen.call.number
    for seen in report.calls:
        for record in seen.records:
            for word in sorted(_tokens(to_json(record).decode())):
                owner = owners.get(word, -1)
                if owner not in (-1, seen.call.number):
                    yield f"I8 call {seen.call.number}: its record holds {word} of call {owner}"


def _as_text(event: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value!r}" for key, value in event.items())


def _tail(event: Mapping[str, Any]) -> str:
    """The last line of a traceback, which names the error."""
    told = event.get("traceback") or event.get("message") or event.get("error") or ""
    return str(told).strip().rpartition("\n")[2][:200]
