"""The tools of a flight log: they do to the call what they did, and answer as they answered.

When they do it goes by the log, and not by a clock of their own: whether the caller pressed a key
before or after a tool waited for keys is the order of two lines, which may be the same instant.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import attrs
import trio

from actors.control import CallControl
from actors.errors import AuditFailed, CarrierRefused, ToolRefused, Unspoken
from actors.ports import Transfer
from gateway.lab.replaying.recorded import APART_MS, raised
from gateway.records.flight_log import FlightLog

LATE_S: Final = 0.01
"""How much longer a deed may take today, if it came to an end of its own then. Half a tolerance:
the tool's answer waits for it."""

AT_ONCE: Final = frozenset({"collect"})
"""Deeds that are over when they were over, and not a moment later: the keys that follow are
somebody else's."""

KNOWN: Final = {"Unspoken": Unspoken, "AuditFailed": AuditFailed}
"""Failures of ours that a call may treat in a way of their own."""


@attrs.define(eq=False)
class _Moment:
    """One line of the log, which a replay comes to."""

    at_ms: float
    """Since the log began."""
    passed: trio.Event = attrs.field(factory=trio.Event)


@attrs.frozen
class _Pace:
    """When a run that was recorded does what it did."""

    late_ms: float
    """So much later than then it began today."""
    now_ms: Callable[[], float]
    """Since the log began."""

    async def until(self, moment: _Moment) -> None:
        """Wait for a line of the log; or, from another beginning, as long as then."""
        if abs(self.late_ms) <= APART_MS:
            await moment.passed.wait()
        else:
            await trio.sleep(max(0.0, moment.at_ms + self.late_ms - self.now_ms()) / 1000)


@attrs.define(eq=False)
class _Deed:
    """Something that a tool did to its call."""

    verb: str
    how: list[Any]
    began: _Moment
    ended: _Moment | None = None
    outcome: str | None = None
    """`None`: nobody knows, or the log is of an offhook that did not say."""

    async def do(self, call: CallControl, pace: _Pace) -> None:
        """Do it again, when it was done, and for no longer than it took."""
        await pace.until(self.began)
        async with trio.open_nursery() as nursery:
            if self.ended is not None:
                nursery.start_soon(self._cut, self.ended, pace, nursery.cancel_scope)
            with suppress(CarrierRefused, ToolRefused, Unspoken):
                await self._act(call)
            nursery.cancel_scope.cancel("it is done")

    async def _cut(self, ended: _Moment, pace: _Pace, scope: trio.CancelScope) -> None:
        await pace.until(ended)
        if self.verb not in AT_ONCE and self.outcome != "cancelled":
            await trio.sleep(LATE_S)
        scope.cancel("as it was then")

    async def _act(self, call: CallControl) -> None:
        match self.verb, self.how:
            case "change", [instructions, language]:
                call.change(instructions=instructions, language=language)
            case "press", [str(digits)]:
                await call.press(digits)
            case "transfer", _:
                # Whom to is in no log; the recorded carrier knows what became of it.
                await call.transfer(Transfer("+10"))
            case "say", [str(words)]:
                await call.say(words)
            case "approve", [str(tool_call_id)]:
                await call.approve(tool_call_id)
            case "confirm", [str(question), float() | int() as within_s]:
                await call.confirm(question, within_s=within_s)
            case "collect", [int(most), end_key, float() | int() as first_s, between_s, *others]:
                private, fresh = [*others, False][:2]  # An old log has not the second.
                await call.collect_digits(
                    most=most,
                    end_key=end_key,
                    first_s=first_s,
                    between_s=between_s,
                    private=private,
                    fresh=fresh,
                )
            case _:
                pass  # A deed of a later version.


@attrs.define(eq=False)
class _ToolRun:
    """A recorded run of a tool."""

    began_ms: float
    ended: _Moment | None = None
    """`None`: it was still running when the log, or the call, ended."""
    outcome: str = ""
    text: str = ""
    deeds: list[_Deed] = attrs.field(factory=list[_Deed])

    async def again(self, call: CallControl | None, pace: _Pace) -> str:
        """Let it happen once more. See the `Tools` port."""
        async with trio.open_nursery() as nursery:
            if call is not None:
                for deed in self.deeds:
                    # What nobody saw the end of, ends with its run.
                    deed.ended = deed.ended or self.ended
                    nursery.start_soon(deed.do, call, pace)
            if self.ended is None or self.outcome == "cancelled":
                await trio.sleep_forever()
            else:
                await pace.until(self.ended)
        match self.outcome:
            case "returned":
                return self.text
            case "refused":
                raise ToolRefused(self.text)
            case _ if self.text in KNOWN:
                raise KNOWN[self.text]("as it was then")
            case _:
                # By its name, which is what the model is told.
                raise raised(self.text)


@attrs.define(eq=False)
class RecordedTools:
    """Tools that do and answer as they did. Fits the `Tools` port."""

    now_ms: Callable[[], float]
    """Since the log began."""
    _runs: defaultdict[tuple[str, str], deque[_ToolRun]]
    _moments: dict[int, _Moment]
    """By number of the line."""
    _longest_s: dict[str, float]
    """By name, of those who say so themselves."""

    @classmethod
    def of(cls, log: FlightLog, now_ms: Callable[[], float]) -> RecordedTools:
        """Read them off a log."""
        runs: dict[int, _ToolRun] = {}
        by_call: defaultdict[tuple[str, str], deque[_ToolRun]] = defaultdict(deque)
        moments: dict[int, _Moment] = {}
        longest: dict[str, float] = {}
        for line, entry in enumerate(log.entries):
            if entry.place != "tool":
                continue
            moment = moments[line] = _Moment(entry.at_ms)
            match entry.content:
                case ["begin", int(number), str(name), str(arguments), *rest]:
                    runs[number] = _ToolRun(entry.at_ms)
                    by_call[name, arguments].append(runs[number])
                    match rest:
                        case [int() | float() as longest_s, *_]:
                            longest[name] = longest_s
                        case _:
                            pass  # As long as any other; or the log is of before there were such.
                case ["does", int(number), str(verb), *how] if number in runs:
                    runs[number].deeds.append(_Deed(verb, how, moment))
                case ["did", int(number), str(verb), *rest] if number in runs:
                    _end_deed(runs[number], verb, rest, moment)
                case ["end", int(number), str(outcome), str(text)] if number in runs:
                    run = runs[number]
                    run.ended, run.outcome, run.text = moment, outcome, text
                case _:
                    pass
        return cls(now_ms, by_call, moments, longest)

    def say(self, line: int) -> None:
        """The replay has come to this line of the log."""
        if line in self._moments:
            self._moments[line].passed.set()

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        await trio.lowlevel.checkpoint()
        waiting = self._runs[name, arguments]
        if not waiting:
            raise ToolRefused("the flight log has no such run")
        run = waiting.popleft()
        return await run.again(call, _Pace(self.now_ms() - run.began_ms, self.now_ms))

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        return self._longest_s.get(name)


def _end_deed(run: _ToolRun, verb: str, rest: list[Any], moment: _Moment) -> None:
    """Note when the oldest deed of this kind that goes on came to its end."""
    for deed in run.deeds:
        if deed.verb == verb and deed.ended is None:
            deed.ended = moment
            deed.outcome = rest[0] if rest and isinstance(rest[0], str) else None
            return
