"""A call as a picture that a person can read: both voices, and what happened between them. Pure.

A short call is one strip of time; a longer one is laid out in several, like the staves of a score,
each with the words that were spoken in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from actors.policy.record import CallRecord, Moment, Said, ToolRun
from gateway.records.svg import clock, document, line_of, path, rect, short, span, text

WIDTH: Final = 1280
GUTTER: Final = 84
"""Room for the names of the lanes."""
MARGIN: Final = 16
PLOT: Final = WIDTH - GUTTER - 2 * MARGIN
"""Width of the strip of time."""
STRIP_MS: Final = 60_000
"""A strip of a longer call: 19 px a second, at which a short word is still a visible bar."""
SHORTEST_MS: Final = 10_000
STRIPS_MAX: Final = 120
"""Two hours. What comes later is only in the record."""
WORDS_MAX: Final = 150
"""Lines of words under one strip; a minute of ordinary talk has about fifteen."""
LINE_CHARS: Final = 148
CHAR_PX: Final = 6.4
"""Width of a character of small print, nearly enough."""

HEADER: Final = 88
CALLER_Y: Final = 30
AGENT_Y: Final = 66
RESPONSES_Y: Final = 96
TOOLS_Y: Final = 116
TOOL_ROW: Final = 13
TOOL_ROWS: Final = 2
"""Tools that run at the same time are drawn below each other; a third over the second."""
MARKS_Y: Final = 147
EVENTS_Y: Final = 164
STRIP: Final = 180
LINE: Final = 17
WORDS_X: Final = GUTTER + 130
EVENT_CHARS: Final = 48
PRESSES_MS: Final = 3000
"""Keys of the caller's that are no further apart are written together."""
GAPS: Final = {"StreamLeft": "StreamMoved", "SessionLost": "SessionMoved"}
"""What takes the phone, or the model, out of the call, and what brings it back."""


def draw(record: CallRecord) -> str:
    """Draw a call as SVG, whole and on its own."""
    body = list(_header(record))
    top = HEADER
    for strip in _strips(record):
        body.append(f'<g transform="translate({GUTTER} {top})">')
        body.extend(_strip(record, strip))
        body.append("</g>")
        top += STRIP
        lines = list(_words(record, strip))
        for number, spans in enumerate(lines):
            body.append(line_of(top + 12 + number * LINE, spans))
        top += len(lines) * LINE + 26
    return document(f"Call {record.call_sid}", WIDTH, top, body)


@attrs.frozen
class _Strip:
    """A stretch of the call, and how it maps to pixels."""

    begin_ms: int
    end_ms: int
    last: bool

    def x(self, at_ms: int) -> float:
        """Where a moment lies; at an edge when it lies outside."""
        inside = min(max(at_ms, self.begin_ms), self.end_ms) - self.begin_ms
        return round(inside * PLOT / (self.end_ms - self.begin_ms), 1)

    def has(self, at_ms: int) -> bool:
        """Whether a moment belongs to this strip, and to no other."""
        return self.begin_ms <= at_ms and (self.last or at_ms < self.end_ms)

    def bar(
        self, kind: str, span_ms: tuple[int, int], y: float, height: float, *, tip: str
    ) -> Iterator[str]:
        """Draw as much of a span as lies in this strip."""
        begin_ms, end_ms = span_ms
        if begin_ms < self.end_ms and end_ms > self.begin_ms:
            yield rect(kind, self.x(begin_ms), self.x(end_ms), y, height, tip=tip)


def _strips(record: CallRecord) -> list[_Strip]:
    duration_ms = max(record.duration_ms, 1)
    if duration_ms <= STRIP_MS * 5 // 4:
        return [_Strip(0, max(SHORTEST_MS, -(-duration_ms // 1000) * 1000), last=True)]
    count = min(STRIPS_MAX, -(-duration_ms // STRIP_MS))
    return [
        _Strip(number * STRIP_MS, (number + 1) * STRIP_MS, last=number == count - 1)
        for number in range(count)
    ]


def _header(record: CallRecord) -> Iterator[str]:
    facts = [
        f"{record.from_number} → {record.to_number}",
        f"agent {record.agent}",
        f"{record.model}, {record.voice}",
        f"{record.started_at[:19].replace('T', ' ')} UTC",
        clock(record.duration_ms),
        f"ended by the {record.ending.side} ({type(record.ending).__name__})",
    ]
    waits_ms = sorted(turn.first_audio_ms for turn in record.turns if turn.first_audio_ms)
    if waits_ms:
        facts.append(f"answers after {waits_ms[len(waits_ms) // 2]} ms (median)")
    yield text("title", MARGIN, 28, short(f"Call {record.call_sid}", 120))
    yield text("fact", MARGIN, 48, short("  ·  ".join(facts), 175))
    x = float(MARGIN)
    for kind, label in (
        ("caller", "caller speaks"),
        ("agent", "agent, heard"),
        ("unheard", "agent, cut: never heard"),
        ("response", "response being generated"),
        ("tool", "tool running"),
    ):
        yield rect(kind, x, x + 18, 60, 9)
        yield text("small", x + 23, 68, label)
        x += 38 + len(label) * CHAR_PX
    yield path("barge", f"M{x} 57v14")
    yield text("small", x + 8, 68, "barge-in")
    x += 28 + len("barge-in") * CHAR_PX
    yield path("wait", f"M{x} 65h18")
    yield text("small", x + 23, 68, "from end of speech to first audio sent")
    x += 38 + len("from end of speech to first audio sent") * CHAR_PX
    yield rect("gap", x, x + 18, 60, 9)
    yield text("small", x + 23, 68, "no phone, or no model")


def _strip(record: CallRecord, strip: _Strip) -> Iterator[str]:
    yield from _axis(strip, record.duration_ms)
    yield from _gaps(record, strip)
    yield from _lost(record, strip)
    yield from _voices(record, strip)
    yield from _latencies(record, strip)
    yield from _responses(record, strip)
    yield from _tools(record, strip)
    ticks = [f"M{strip.x(at)} {MARKS_Y}v9" for at in record.marks.heard_at_ms if strip.has(at)]
    if ticks:
        yield path("mark", "".join(ticks))
    yield from _events(record, strip)
    yield from _barge_ins(record, strip)


def _axis(strip: _Strip, duration_ms: int) -> Iterator[str]:
    if strip.last and duration_ms < strip.end_ms:
        yield rect("after", strip.x(duration_ms), PLOT, 16, STRIP - 24)
    step_ms = 1000 if strip.end_ms - strip.begin_ms <= 20_000 else 5000
    for at_ms in range(strip.begin_ms, strip.end_ms + 1, step_ms):
        yield path("grid", f"M{strip.x(at_ms)} 16V{STRIP - 6}")
        yield text("tick", strip.x(at_ms), 11, clock(at_ms))
    for name, y in (
        ("caller", CALLER_Y + 13),
        ("agent", AGENT_Y + 13),
        ("responses", RESPONSES_Y + 9),
        ("tools", TOOLS_Y + 11),
        ("marks", MARKS_Y + 8),
        ("events", EVENTS_Y + 8),
    ):
        yield text("lane", -10, y, name)
    for y in (CALLER_Y + 18, AGENT_Y + 18):
        yield path("base", f"M0 {y}H{PLOT}")


def _gaps(record: CallRecord, strip: _Strip) -> Iterator[str]:
    """Draw the times in which the call was without its phone, or without its model."""
    for number, moment in enumerate(record.moments):
        back = GAPS.get(moment.what)
        if back is not None:
            later = record.moments[number + 1 :]
            end_ms = next((one.at_ms for one in later if one.what == back), record.duration_ms)
            span_ms = moment.at_ms, max(moment.at_ms + 1, end_ms)
            who = "the phone" if back == "StreamMoved" else "the model"
            tip = f"without {who} for {span_ms[1] - span_ms[0]} ms"
            yield from strip.bar("gap", span_ms, 16, MARKS_Y - 20, tip=tip)


def _events(record: CallRecord, strip: _Strip) -> Iterator[str]:
    free_x = 0.0
    for at_ms, label in _labels(record):
        if strip.has(at_ms):
            x = strip.x(at_ms)
            yield rect("event", x, x + 2, EVENTS_Y, 10, tip=f"{clock(at_ms, tenths=True)} {label}")
            if x >= free_x:  # Else it is there to be pointed at.
                shown = short(label, EVENT_CHARS)
                free_x = x + 5 + len(shown) * CHAR_PX
                if free_x > PLOT:
                    yield text("small end", x - 4, EVENTS_Y + 8, shown)
                else:
                    yield text("small", x + 5, EVENTS_Y + 8, shown)


def _labels(record: CallRecord) -> Iterator[tuple[int, str]]:
    """What happened beside the talk. Keys that were pressed in a row are one label."""
    pressed, began_ms, latest_ms = "", 0, 0
    for moment in record.moments:
        if pressed and (moment.what != "KeyPressed" or moment.at_ms > latest_ms + PRESSES_MS):
            yield began_ms, f"caller presses {pressed}"
            pressed = ""
        if moment.what == "KeyPressed":
            began_ms = began_ms if pressed else moment.at_ms
            pressed, latest_ms = pressed + moment.detail, moment.at_ms
        elif (label := _label(moment)) is not None:
            yield moment.at_ms, label
    if pressed:
        yield began_ms, f"caller presses {pressed}"


def _label(moment: Moment) -> str | None:
    match moment.what:
        case "KeysSent":
            return f"agent presses {moment.detail}"
        case "TransferEnded":
            return f"transfer: {moment.detail}"
        case "SessionLost":
            return f"session lost: {moment.detail}"
        case "SessionMoved":
            return f"next session: {moment.detail.partition(' ')[0]}"
        case "ChangeSession":
            return f"changed: {moment.detail}"
        case "AddText" if moment.detail.startswith("system: "):
            return f"told: {moment.detail.removeprefix('system: ')}"
        case "HangupAsked":
            return f"hang-up asked: {moment.detail}"
        case _:
            return None


def _voices(record: CallRecord, strip: _Strip) -> Iterator[str]:
    next_ms: dict[str, int] = {}
    for number, said in reversed(list(enumerate(record.transcript, 1))):
        if said.began_ms is None:
            continue
        # The next item is given to the carrier before this one's last mark is back.
        end_ms = _end(said.began_ms, said.ended_ms, record.duration_ms)
        end_ms = max(said.began_ms + 1, min(end_ms, next_ms.get(said.who, end_ms)))
        next_ms[said.who] = said.began_ms
        yield from _voice(said, number, (said.began_ms, end_ms), strip)


def _voice(said: Said, number: int, span_ms: tuple[int, int], strip: _Strip) -> Iterator[str]:
    y = CALLER_Y if said.who == "caller" else AGENT_Y
    words = (said.text if said.who == "caller" else said.heard) or ""
    when = f"{clock(span_ms[0], tenths=True)} to {clock(span_ms[1], tenths=True)}"
    for box in strip.bar(said.who, span_ms, y, 18, tip=f"{number}. {when}: {words or '(no text)'}"):
        yield box
        left, right = strip.x(span_ms[0]), strip.x(span_ms[1])
        fits = int((right - left - 6) / CHAR_PX)
        if fits >= len(str(number)):
            label = short(f"{number} {words}", fits) if fits > 6 else str(number)
            yield text("in", left + 4, y + 13, label)


def _lost(record: CallRecord, strip: _Strip) -> Iterator[str]:
    """Draw what would have followed on each cut, had nobody spoken, up to what did follow."""
    next_ms = record.duration_ms + STRIP_MS
    for said in reversed(record.transcript):
        if said.who == "caller" or said.began_ms is None:
            continue
        begin_ms = _end(said.began_ms, said.ended_ms, record.duration_ms)
        end_ms = min(next_ms, begin_ms + (said.received_ms or 0) - (said.heard_ms or 0))
        next_ms = said.began_ms
        if end_ms > begin_ms:
            tip = f"never heard: {said.unheard}"
            yield from strip.bar("unheard", (begin_ms, end_ms), AGENT_Y + 4, 10, tip=tip)


def _latencies(record: CallRecord, strip: _Strip) -> Iterator[str]:
    y = (CALLER_Y + 18 + AGENT_Y) // 2
    for turn in record.turns:
        if turn.first_audio_ms is not None and strip.has(turn.caller_stopped_ms):
            left = strip.x(turn.caller_stopped_ms)
            right = strip.x(turn.caller_stopped_ms + turn.first_audio_ms)
            yield path("wait", f"M{left} {CALLER_Y + 18}V{y}H{right}V{AGENT_Y}")
            if right > PLOT - 50:
                yield text("waited end", left - 4, y + 3, f"{turn.first_audio_ms} ms")
            else:
                yield text("waited", right + 4, y + 3, f"{turn.first_audio_ms} ms")


def _responses(record: CallRecord, strip: _Strip) -> Iterator[str]:
    for one in record.responses:
        begin_ms = one.finished_ms if one.started_ms is None else one.started_ms
        if begin_ms is not None:
            kind = "failed" if one.status == "failed" else "response"
            words = one.response_id, one.purpose, one.status or "unfinished", one.reason
            span_ms = begin_ms, _end(begin_ms, one.finished_ms, record.duration_ms)
            tip = ", ".join(word for word in words if word)
            yield from strip.bar(kind, span_ms, RESPONSES_Y, 11, tip=tip)


def _tools(record: CallRecord, strip: _Strip) -> Iterator[str]:
    busy_ms, free_x = [0] * TOOL_ROWS, [0.0] * TOOL_ROWS
    for run in record.tool_calls:
        begin_ms = run.finished_ms if run.started_ms is None else run.started_ms
        if begin_ms is None:
            continue
        end_ms = _end(begin_ms, run.finished_ms, record.duration_ms)
        free = (row for row in range(TOOL_ROWS) if busy_ms[row] <= begin_ms)
        row = next(free, TOOL_ROWS - 1)
        busy_ms[row] = end_ms
        y = TOOLS_Y + row * TOOL_ROW
        yield from strip.bar("tool", (begin_ms, end_ms), y, TOOL_ROW - 2, tip=_describe(run))
        x = strip.x(end_ms)
        if strip.has(end_ms) and x >= free_x[row]:
            label = short(f"{run.name} {end_ms - begin_ms} ms", 40)
            free_x[row] = x + 5 + len(label) * CHAR_PX
            if free_x[row] > PLOT:
                yield text("small end", strip.x(begin_ms) - 5, y + 9, label)
            else:
                yield text("small", x + 5, y + 9, label)


def _barge_ins(record: CallRecord, strip: _Strip) -> Iterator[str]:
    free_x = 0.0
    for cut in record.barge_ins:
        if strip.has(cut.at_ms):
            x = strip.x(cut.at_ms)
            heard_ms = sum(item.heard_ms for item in cut.items)
            received_ms = sum(item.received_ms for item in cut.items)
            label = f"barge-in: {heard_ms} of {received_ms} ms heard"
            yield path("barge", f"M{x} 16V{MARKS_Y + 9}")
            width = len(label) * CHAR_PX
            if x >= free_x:  # Two labels at one place are none.
                free_x = x + width
                if free_x > PLOT:
                    yield text("barged end", x - 4, 25, label)
                else:
                    yield text("barged", x + 4, 25, label)


def _words(record: CallRecord, strip: _Strip) -> Iterator[list[str]]:
    """Yield the lines that were spoken in this strip, each as its spans."""
    latest_ms = shown = left_out = 0
    for number, said in enumerate(record.transcript, 1):
        # What was never played stands with what came before it.
        latest_ms = latest_ms if said.began_ms is None else said.began_ms
        if not strip.has(latest_ms):
            continue
        if shown >= WORDS_MAX:
            left_out += 1
        else:
            shown += 1
            yield _spans(said, number)
    if left_out:
        yield [span("small", f"… and {left_out} more, in call.json")]


def _spans(said: Said, number: int) -> list[str]:
    when = "unplayed" if said.began_ms is None else clock(said.began_ms, tenths=True)
    head = [
        span("small", str(number), x=GUTTER),
        span("small", when, x=GUTTER + 28),
        span(f"words-{said.who} who", said.who, x=GUTTER + 82),
    ]
    heard = (said.text if said.who == "caller" else said.heard) or ""
    unheard = said.unheard or ""
    if not heard and not unheard:
        return [*head, span("small", "(no text)", x=WORDS_X)]
    heard = short(heard, LINE_CHARS - min(len(unheard), LINE_CHARS // 3))
    lost = short(unheard, LINE_CHARS - len(heard))
    if not heard:
        return [*head, span("lost", lost, x=WORDS_X)]
    head.append(span(f"words-{said.who}", heard, x=WORDS_X))
    return [*head, " ", span("lost", lost)] if lost else head


def _describe(run: ToolRun) -> str:
    result = f" → {run.output}" if run.output else ""
    return f"{run.name}({run.arguments or ''}) {run.outcome or 'unfinished'}{result}"


def _end(begin_ms: int, end_ms: int | None, duration_ms: int) -> int:
    """Where a span ends that may have been open when the call ended; never nowhere."""
    return max(begin_ms + 1, duration_ms if end_ms is None else end_ms)
