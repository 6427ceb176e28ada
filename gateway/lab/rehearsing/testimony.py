"""What the witnesses of a rehearsed call say: the caller's ear, and the model's server. Pure.

Here `expect` is held against what was really heard and sent; `verdict` has the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from gateway.lab.openai.conversation import Json
from gateway.lab.rehearsing.expectation import Expectation
from gateway.lab.rehearsing.hearing import HeardLine
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.key_ear import KeyEar
from gateway.lab.twilio.twiml_reader import Say

LEAST_GAP_MS: Final = 20
"""Playout begins with a frame: what is shorter is no gap."""


@attrs.frozen(kw_only=True)
class Testimony:
    """What was seen of one call at the other ends of its lines."""

    heard: tuple[HeardLine, ...] = ()
    """Lines of the agent's that the caller's ear recognised."""
    sessions: tuple[tuple[Json, ...], ...] = ()
    """Client events of every session of the model's, in order; without the caller's audio."""
    audit: tuple[str, ...] | None = None
    """Rows of the audit log, each as `event tool`; `None`: nobody looked."""
    messages: tuple[str, ...] | None = None
    """The texts of messages that were taken, likewise."""
    left_behind: tuple[tuple[str, bytes], ...] = attrs.field(default=(), repr=False)
    """Everything that the call wrote into files and logs, and where."""


def judge_testimony(expect: Expectation, report: CallReport, testimony: Testimony) -> Iterator[str]:
    """Complain about what was heard and sent."""
    yield from _of_ear(expect, report, testimony)
    yield from _of_sessions(expect, testimony)
    yield from _of_traces(expect, testimony)
    if testimony.audit is not None:
        yield from missing_patterns("audit", expect.audit, testimony.audit)
        yield from _found("unaudited", expect.unaudited, testimony.audit)
    if testimony.messages is not None:
        yield from missing_patterns("messages", expect.messages, testimony.messages)


def missing_patterns(key: str, patterns: Sequence[str], texts: Iterable[str]) -> Iterator[str]:
    """Complain about the first pattern that is not found behind those before it."""
    whole, at = "\n".join(texts), 0
    for pattern in patterns:
        found = re.compile(pattern, re.IGNORECASE).search(whole, at)
        if found is None:
            behind = " behind what came before it" if at else ""
            yield f"`{key}`: {pattern!r} is not in {_shown(whole)}{behind}"
            return
        at = found.end()


def not_part(key: str, wanted: object, given: object) -> Iterator[str]:
    """Complain about everything in `wanted` that is otherwise in `given`."""
    if isinstance(wanted, Mapping) and isinstance(given, Mapping):
        for name, value in wanted.items():
            if name in given:
                yield from not_part(f"{key}.{name}", value, given[name])
            else:
                there = ", ".join(map(str, given)) or "nothing"
                yield f"`{key}.{name}` is missing; there is: {there}"
    elif isinstance(wanted, list) and isinstance(given, list | tuple):
        if len(wanted) != len(given):
            yield f"`{key}` has {len(given)} entries, not {len(wanted)}"
        for index, (one, other) in enumerate(zip(wanted, given, strict=False)):
            yield from not_part(f"{key}[{index}]", one, other)
    elif wanted != given:
        yield f"`{key}` is {given!r}, not {wanted!r}"


def texts_told(events: Iterable[Json]) -> Iterator[str]:
    """The texts and the tool outputs that a session was given."""
    for event in events:
        match event:
            case {"type": "conversation.item.create", "item": {"output": str(output)}}:
                yield output
            case {"type": "conversation.item.create", "item": {"content": list(parts)}}:
                yield from (str(part["text"]) for part in parts if "text" in part)
            case _:
                pass


def _of_ear(expect: Expectation, report: CallReport, testimony: Testimony) -> Iterator[str]:
    words = [line.words for line in testimony.heard if line.words]
    words += [verb.text for verb in report.verbs if isinstance(verb, Say)]
    yield from missing_patterns("heard", expect.heard, words)
    yield from _found("unheard", expect.unheard, words)
    if expect.max_gap_ms is not None:
        for text, gap_ms in _gaps(report):
            if gap_ms > expect.max_gap_ms:
                yield (
                    f"`max_gap_ms`: after {text!r} the caller heard nothing for {gap_ms:.0f} ms, "
                    f"more than {expect.max_gap_ms}"
                )
    if expect.pressed is not None:
        keys = report.pressed_by_agent or KeyEar().hear(report.heard_ulaw)
        if keys != expect.pressed:
            yield f"`pressed`: the other end was sent {keys or 'no keys'}, not {expect.pressed}"


def _of_sessions(expect: Expectation, testimony: Testimony) -> Iterator[str]:
    sessions = testimony.sessions
    if expect.sessions is not None and len(sessions) != expect.sessions:
        yield f"`sessions`: there were {len(sessions)}, not {expect.sessions}"
    updates = [
        event["session"]
        for events in sessions
        for event in events
        if event.get("type") == "session.update"
    ]
    if not updates:
        if expect.session or expect.changed or expect.instructions:
            yield "no session was ever configured"
    else:
        yield from not_part("session", expect.session, updates[0])
        yield from not_part("changed", expect.changed, updates[-1])
        words = str(updates[0].get("instructions", ""))
        yield from missing_patterns("instructions", expect.instructions, [words])
    told = [list(texts_told(events)) for events in sessions]
    yield from missing_patterns("told", expect.told, [text for texts in told for text in texts])
    yield from missing_patterns("primed", expect.primed, told[-1] if told else [])
    everything = (orjson.dumps(event).decode() for events in sessions for event in events)
    yield from _found("untold", expect.untold, everything)


def _of_traces(expect: Expectation, testimony: Testimony) -> Iterator[str]:
    traces = list(testimony.left_behind)
    for events in testimony.sessions:
        traces += [(f"{event.get('type')} to the model", orjson.dumps(event)) for event in events]
    for text in expect.nowhere:
        where = dict.fromkeys(name for name, trace in traces if text.encode() in trace)
        if where:
            yield f"`nowhere`: {text!r} is in {', '.join(where)}"


def _found(key: str, patterns: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    whole = "\n".join(texts)
    for pattern in patterns:
        if (found := re.search(pattern, whole, re.IGNORECASE)) is not None:
            yield f"`{key}`: {pattern!r} is there all the same: {found.group()!r}"


def _gaps(report: CallReport) -> Iterator[tuple[str, float]]:
    """How long the caller heard nothing, from the end of an utterance and until the next one.

    What comes before the next utterance is the caller's own silence, and what comes before the end
    of the call is nobody's.
    """
    begins = [*(said.at_ms for said in report.said), math.inf]
    for said, again_ms in zip(report.said, begins[1:], strict=True):
        silent_ms: float = said.ended_ms
        for piece in report.heard:
            if piece.at_ms >= again_ms:
                break
            if piece.end_ms > silent_ms + LEAST_GAP_MS:
                yield said.text, max(0.0, piece.at_ms - silent_ms)
                silent_ms = piece.end_ms


def _shown(text: str) -> str:
    line: Any = " / ".join(text.split("\n"))
    return repr(line if len(line) <= 300 else line[:300] + "...")
