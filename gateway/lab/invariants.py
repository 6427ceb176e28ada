"""What must be true of every call and of the whole gateway, whatever goes wrong.

Every complaint begins with the name of the promise that was broken:

* I1: nothing is left: no task, no socket, no call.
* I2: a call that began has exactly one end record, with a cause.
* I3: audio is conserved to the byte, in both directions.
* I4: what is over is gone within its bound.
* I5: nothing grows beyond its limit.
* I6: nobody hears audio of a response that is dead, or anything twice or out of order.
* I7: a tool call has at most one output and is run at most once.
* I8: nothing of one call appears in another.
* I9: no secret and no spoken word is in any log, and no error without a cause.
* I10: what the phone sees makes sense.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from actors.call import Limits
from actors.messages import HANGUP, ULAW_BYTES_PER_MS
from actors.policy.playout import QUEUED_MAX_BYTES
from actors.policy.record import CallRecord
from gateway.lab.evidence import CallSeen, NodeReport, SessionSeen, StreamSeen
from gateway.lab.fault_plan import Fault, Place, Strike, Striker
from gateway.lab.faulty_line import spoils_audio
from gateway.lab.tagged_voice import CALLS, Run, Side, Tagged, Unreadable
from gateway.store import to_json

TEARDOWN_S: Final = 0.25
"""From the loss of a leg, or a hang-up, until nothing of the call is left."""
RECORD_BYTES: Final = 2 * 2**20
_ROUNDING_S: Final = 0.002
"""Records tell whole milliseconds."""
_LIMITS: Final = Limits()
_SETTLED_S: Final = 1.0
"""Beyond its deadline: by then the output of a tool is on its way."""

_CHANCE_MS: Final = 10
"""Audio that lost half a millisecond reads as anything, but not for so long."""
_DAMAGE: Final = {"truncate", "corrupt", "inject"}
_SLOW: Final[frozenset[Place]] = frozenset({"store", "recorder", "tool"})


def _open_files() -> int:
    """How many file descriptors this process has; 0 where nobody tells."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


@attrs.define(eq=False)
class TaskCount(trio.abc.Instrument):
    """Counts what a run of trio costs the process. Made before the run, asked after it."""

    tasks: int = attrs.field(default=0, init=False)
    """Tasks there are."""
    peak: int = attrs.field(default=0, init=False)
    """Most tasks there ever were."""
    steps: int = attrs.field(default=0, init=False)
    """Turns that tasks took."""
    _threads: int = attrs.field(factory=threading.active_count, init=False)
    _files: int = attrs.field(factory=_open_files, init=False)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        del task
        self.tasks += 1
        self.peak = max(self.peak, self.tasks)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        del task
        self.tasks -= 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        del task
        self.steps += 1

    def complaints(self) -> Iterator[str]:
        """What is left of the run."""
        if self.tasks:
            yield f"I1 the process: {self.tasks} tasks are left"
        if (threads := threading.active_count() - self._threads) > 0:
            yield f"I1 the process: {threads} threads are left"
        if (files := _open_files() - self._files) > 0:
            yield f"I1 the process: {files} files are left open"


def check(
    report: NodeReport, striker: Striker | None = None, tasks: TaskCount | None = None
) -> list[str]:
    """Find everything that is wrong, in words; nothing when all is well.

    Args:
        report: Of a simulation that is over.
        striker: What went wrong as planned; by default what the report says of it.
        tasks: What counted the run's tasks.

    """
    if striker is not None:
        report = attrs.evolve(report, strikes=tuple(striker.log))
    return [
        *(tasks.complaints() if tasks is not None else ()),
        *report.violations,
        *_left_over(report),
        *report.intruders,
        *_logged(report),
        *_limits_kept(report),
        *_mixed_up(report),
    ]


def judge_call(seen: CallSeen, log: Sequence[Strike]) -> list[str]:
    """Find what is wrong with one call, once it is over and before its audio is forgotten.

    Args:
        seen: The call.
        log: What went wrong as planned, in the whole simulation and up to now.

    """
    faults = [one.fault for one in log]
    judge = _Judge(
        seen,
        [fault for fault in faults if fault.place != "node" and fault.call == seen.call.number],
        [fault for fault in faults if fault.place == "node"],
    )
    number = seen.call.number
    return [f"{name} call {number}: {what}" for name, what in judge.complaints()]


Complaint = tuple[str, str]


class _Judge:
    def __init__(self, seen: CallSeen, faults: list[Fault], node: list[Fault]) -> None:
        self.seen = seen
        self.faults = faults
        self.jumped = any(fault.do == "jump" and fault.detail != "wall" for fault in node)
        self.stopped = any(fault.do == "stop" for fault in node)

    def complaints(self) -> Iterator[Complaint]:
        if self.seen.is_running:
            yield "I1", f"something of it is still there: {self.seen.open_sockets} sockets"
        yield from self._recorded()
        yield from self._conserved()
        if not self.jumped:
            yield from self._torn_down()
        yield from self._played()
        yield from self._appended()
        yield from self._tools()
        yield from self._phone()

    def _struck(self, *places: Place) -> list[Fault]:
        return [fault for fault in self.faults if fault.place in places]

    def _damaged(self, *places: Place) -> bool:
        """Whether what came over a line could differ from what was said, in more than order."""
        return any(fault.do in _DAMAGE for fault in self._struck(*places))

    def _spoilt(self, *places: Place) -> bool:
        return any(spoils_audio(fault) or fault.do in _DAMAGE for fault in self._struck(*places))

    # The record.

    def _recorded(self) -> Iterator[Complaint]:
        count = len(self.seen.records)
        due = int(self.seen.began_s is not None)
        failed = [one for one in self._struck("store") if one.do in ("raise", "hang", "delay")]
        if count != due and not (failed and count < due):
            yield "I2", f"it has {count} end records instead of {due}"
        for record in self.seen.records:
            if self.seen.ending is not None and record.ending != self.seen.ending:
                yield "I2", f"its record says {record.ending} and not {self.seen.ending}"

    def _conserved(self) -> Iterator[Complaint]:
        for record in self.seen.records:
            yield from _balance(record)
            audio = record.audio
            streams, sessions = self.seen.streams, self.seen.sessions
            appended = sum(session.appended.count for session in sessions)
            if appended != audio.appended_bytes:
                yield "I3", f"{appended} bytes were appended, recorded {audio.appended_bytes}"
            received = sum(session.received_bytes for session in sessions)
            if received != audio.received_bytes and not self._damaged("model.down"):
                yield "I3", f"the model sent {received} bytes, recorded {audio.received_bytes}"
            if len(streams) != 1:
                continue
            (stream,) = streams
            played = stream.played.count + stream.refused_bytes
            if played != audio.played_bytes:
                yield "I3", f"{played} bytes were played, recorded {audio.played_bytes}"
            if stream.caller_bytes != audio.caller_bytes and not self._damaged("phone.up"):
                yield (
                    "I3",
                    f"the phone sent {stream.caller_bytes} bytes, recorded {audio.caller_bytes}",
                )

    # The end.

    def _torn_down(self) -> Iterator[Complaint]:
        seen = self.seen
        if seen.began_s is None or seen.over_s is None:
            return
        held_up = any(
            fault.do in ("hang", "delay", "half_close") for fault in self.faults
        ) or self._struck(*_SLOW)
        bound_s = (_LIMITS.cleanup_s if held_up else 0.0) + TEARDOWN_S + _ROUNDING_S
        closed = [stream.done_s for stream in seen.streams]
        closed += [session.done_s for session in seen.sessions]
        gone_s = max([seen.over_s, *(at_s for at_s in closed if at_s is not None)])
        for record in seen.records:
            ended_s = seen.began_s + record.duration_ms / 1000
            if gone_s - ended_s > bound_s:
                yield "I4", f"gone {1000 * (gone_s - ended_s):.0f} ms after its end"
            told_s = self._told_s()
            if told_s is not None and ended_s - max(told_s, seen.began_s) > TEARDOWN_S:
                yield "I4", f"ended {1000 * (ended_s - told_s):.0f} ms after a leg was gone"

    def _told_s(self) -> float | None:
        """When the gateway first knew that it was over."""
        told = [stream.told_s for stream in self.seen.streams]
        told += [session.lost_s for session in self.seen.sessions if session.live_s is not None]
        known = [at_s for at_s in told if at_s is not None]
        return min(known, default=None)

    # Audio.

    def _played(self) -> Iterator[Complaint]:
        lossy = self._spoilt("model.down")
        for stream in self.seen.streams:
            runs = stream.played.runs()
            yield from self._whose(runs, "agent", "was played", spoilt=lossy)
            yield from _forward(runs, "played", gaps=lossy, repeats=lossy)
            yield from _cleared(stream, runs)
            if not self.jumped:
                for session in self.seen.sessions:
                    yield from _dead(stream, session, runs)
        heard = [run for _, run in self.seen.heard]
        cuts = self.seen.report is not None and bool(self.seen.report.cuts)
        # Deltas end anywhere within a millisecond: out of order, they cannot be read.
        lossy = lossy or self._spoilt("phone.down")
        yield from self._whose(heard, "agent", "was heard", spoilt=lossy)
        yield from _forward(heard, "heard", gaps=lossy or cuts, repeats=lossy)

    def _appended(self) -> Iterator[Complaint]:
        spoilt = self._damaged("phone.up")
        # A record that was never written cannot say what was dropped.
        lossy = (
            self._spoilt("phone.up")
            or not self.seen.records
            or any(
                record.drops[f"caller_bytes_{why}"]
                for record in self.seen.records
                for why in ("late", "overflowed", "unsent")
            )
        )
        for session in self.seen.sessions:
            runs = session.appended.runs()
            yield from self._whose(runs, "caller", "was appended", spoilt=spoilt)
            yield from _forward(runs, "appended", gaps=lossy or self.jumped, repeats=spoilt)

    def _whose(
        self, runs: Iterable[Run], side: Side, what: str, *, spoilt: bool
    ) -> Iterator[Complaint]:
        for run in runs:
            if isinstance(run, Unreadable) and not spoilt:
                yield "I8", f"{run.lasts_ms} ms {what} that nobody said"
            elif isinstance(run, Tagged) and (
                run.call != self.seen.call.number % CALLS or run.side != side
            ):
                if spoilt and run.to_ms - run.from_ms < _CHANCE_MS:
                    continue
                yield "I8", f"audio of the {run.side} of call {run.call} {what}"

    # The rest.

    def _tools(self) -> Iterator[Complaint]:
        asked: set[str] = set()
        for session in self.seen.sessions:
            ends = (session.lost_s, session.closing_s, session.done_s)
            end_s = min((at_s for at_s in ends if at_s is not None), default=inf)
            for tool_call_id, outputs in session.outputs.items():
                if outputs > 1:
                    yield "I7", f"{tool_call_id} got {outputs} outputs"
            for tool_call_id, (name, at_s) in session.asked.items():
                if name == HANGUP:
                    continue
                asked.add(tool_call_id)
                lived_s = end_s - at_s
                patience_s = inf if self.jumped else _LIMITS.tool_s + _SETTLED_S
                if not session.outputs[tool_call_id] and lived_s > patience_s:
                    yield "I7", f"{tool_call_id} got no output in {lived_s:.0f} s"
            if not self._struck("model.up"):
                for violation in session.model.violations:
                    if not violation.startswith("the script"):
                        yield "I7", f"the model says: {violation}"
        if len(self.seen.tools.runs) > len(asked):
            runs = len(self.seen.tools.runs)
            yield "I7", f"{runs} tools were run, and {len(asked)} asked for"

    def _phone(self) -> Iterator[Complaint]:
        report = self.seen.report
        if report is None:
            yield "I10", "the phone never came back"
            return
        # Nobody hung up, in some conversations: that is nobody's fault.
        endless = report.stream_ended == "ended_by_carrier"
        expected = self.faults or self.stopped or self.jumped or endless
        if report.problem is not None and not expected:
            yield "I10", report.problem
        if report.warnings and not self._struck("phone.down"):
            yield "I10", f"Twilio dropped something: {report.warnings[0].what}"
        if len(set(self.seen.answers)) > 1 and not self.stopped:
            kinds = {b"<Stream" in answer for answer in self.seen.answers}
            if kinds == {True}:
                yield "I10", "a repeated webhook got another answer"


def _balance(record: CallRecord) -> Iterator[Complaint]:
    """See `AudioTotals`."""
    audio, drops = record.audio, record.drops
    filled = drops["caller_ms_filled_with_silence"] * ULAW_BYTES_PER_MS
    gone = sum(drops[f"caller_bytes_{why}"] for why in ("late", "overflowed", "unsent"))
    missing = audio.caller_bytes + filled - audio.appended_bytes - gone
    if missing:
        yield "I3", f"{missing} bytes of the caller's are unaccounted for"
    names = ("late", "clipped", "withdrawn", "unsent")
    gone = sum(drops[f"agent_bytes_{why}"] for why in names)
    padded = drops["agent_bytes_padded"]
    missing = audio.received_bytes + padded - audio.played_bytes - gone
    if missing:
        yield "I3", f"{missing} bytes of the agent's are unaccounted for"


def _forward(runs: Iterable[Run], what: str, *, gaps: bool, repeats: bool) -> Iterator[Complaint]:
    """Every line from its beginning, without a hole, and never again."""
    ends: dict[int, int] = {}
    for run in runs:
        if not isinstance(run, Tagged):
            continue
        expected_ms = ends.get(run.line, 0)
        if run.from_ms < expected_ms and not repeats:
            yield "I6", f"line {run.line} was {what} again from {run.from_ms} ms"
        elif run.from_ms > expected_ms and not gaps:
            yield "I6", f"{run.from_ms - expected_ms} ms of line {run.line} were never {what}"
        ends[run.line] = run.to_ms


def _cleared(stream: StreamSeen, runs: Iterable[Run]) -> Iterator[Complaint]:
    """What was begun before a `clear` never comes after it."""
    begins: dict[int, int] = {}
    for run in runs:
        if not isinstance(run, Tagged):
            continue
        at_bytes = run.at_ms * ULAW_BYTES_PER_MS
        begun = begins.setdefault(run.line, at_bytes)
        last = at_bytes + (run.to_ms - run.from_ms) * ULAW_BYTES_PER_MS
        if any(begun < clear < last for clear in stream.clears_bytes):
            yield "I6", f"line {run.line} went on behind a clear"


def _dead(stream: StreamSeen, session: SessionSeen, runs: Iterable[Run]) -> Iterator[Complaint]:
    """Once the caller speaks, nothing of what was known until then is played."""
    for run in runs:
        response_id = session.lines.get(run.line) if isinstance(run, Tagged) else None
        if not isinstance(run, Tagged) or response_id is None:
            continue
        known_s = session.responses_s.get(response_id)
        last_s = stream.played.at_s(run.at_ms + run.to_ms - run.from_ms - 1)
        for spoke_s in session.speech_started_s:
            if known_s is not None and known_s < spoke_s < last_s - _ROUNDING_S / 2:
                late_ms = 1000 * (last_s - spoke_s)
                yield "I6", f"line {run.line} was played {late_ms:.0f} ms after the caller spoke"


# The whole gateway.


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
            if not _explains(report.strikes, number):
                yield f"I9 call {number}: {name}: {_tail(event)}"


def _explains(strikes: Iterable[Strike], number: int | None) -> bool:
    """Whether an error was to be expected."""
    return any(
        (strike.fault.do == "raise" or strike.fault.place == "tool")
        and number in (None, strike.fault.call)
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
