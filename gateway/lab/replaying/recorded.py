"""What a flight log says of those a call had to do with: how they failed, and how tools answered.

Pure but for the tools, which take as long as they took.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any, Final, Literal

import attrs
import trio

from actors.control import CallControl
from actors.errors import CarrierRefused, ToolRefused
from actors.messages import ULAW_SILENCE
from actors.ports import Transfer
from gateway.records.flight_log import Entry, FlightLog
from gateway.web.client_socket import MESSAGE_MAX_BYTES

APART_MS: Final = 100.0
"""How far from its time a peer fails, if it is sent fewer or more messages today."""

LAST_DEED_S: Final = 1e-4
"""So that what a tool did last is done before it returns, if that was the same moment."""


def word(entry: Entry, place: str) -> object:
    """The first word of an entry at this place."""
    content = entry.content
    return content[0] if entry.place == place and isinstance(content, list) and content else None


def recorded_audio(audio: object) -> str:
    """The recorded base64, or silence of the recorded length."""
    if isinstance(audio, int):
        size = max(0, min(audio, MESSAGE_MAX_BYTES))  # A log may come from anybody.
        return b64encode(ULAW_SILENCE * size).decode("ascii")
    return str(audio)


def raised(name: str) -> Exception:
    """An exception of that name: what a log keeps of one."""
    error: Exception = type(name, (Exception,), {})()
    return error


@attrs.define(eq=False)
class RecordedFiller:
    """The line that a call said itself, whenever it asked for one."""

    _lines: deque[tuple[bytes, str]]

    @classmethod
    def of(cls, log: FlightLog) -> RecordedFiller:
        """Read it off a log."""
        lines: deque[tuple[bytes, str]] = deque()
        for entry in log.entries:
            match entry.place, entry.content:
                case "line", ["is", int() | str() as audio, str(words)]:
                    with suppress(ValueError):  # A log may come from anybody.
                        lines.append((b64decode(recorded_audio(audio)), words))
                case _:
                    pass
        return cls(lines)

    def line(self) -> tuple[bytes, str] | None:
        """What it was, this time; the last one for every further time."""
        if len(self._lines) > 1:
            return self._lines.popleft()
        return self._lines[0] if self._lines else None


@attrs.define(eq=False)
class Troubles:
    """How sending to one peer came to an end, if it did: after how many messages, and when."""

    _taken: int = 0
    """Messages that were taken before."""
    _from_ms: float = float("inf")
    """When the first was sent that was not."""
    _error: Exception | None = None
    """What sending that one raised; `None`: it was never taken."""
    _sent: int = attrs.field(default=0, init=False)

    @classmethod
    def of(cls, log: FlightLog, leg: Literal["phone", "model"]) -> Troubles:
        """Read them off a log."""
        taken = 0
        for entry in log.entries:
            taken += entry.place == f"{leg}.out"
            match entry.place.removeprefix(leg), entry.content:
                case ".closed", ["stalled", float() | int() as waited_ms]:
                    return cls(taken, entry.at_ms - waited_ms)
                case ".closed", ["raised", str(name)]:
                    return cls(taken, entry.at_ms, raised(name))
                case ".closed", ["broken"] if leg == "phone":  # A model's is read, not found.
                    return cls(taken, entry.at_ms, BrokenPipeError())
                case _:
                    pass
        return cls()

    async def befall(self, now_ms: float) -> None:
        """Let one more message be taken, or wait for ever, or raise what was raised.

        Which one it is that fails goes by number, if the time is about right, else by time.
        """
        await trio.lowlevel.checkpoint()
        is_due = now_ms > self._from_ms - APART_MS and self._sent >= self._taken
        if not is_due and now_ms <= self._from_ms + APART_MS:
            self._sent += 1
        elif self._error is not None:
            raise self._error
        else:
            await trio.sleep_forever()


@attrs.define(eq=False)
class _ToolRun:
    """A recorded run of a tool."""

    began_ms: float
    lasted_ms: float | None = None
    """`None`: it was still running when the log, or the call, ended."""
    outcome: str = ""
    text: str = ""
    deeds: list[_Deed] = attrs.field(factory=list["_Deed"])


@attrs.define(eq=False)
class _Deed:
    """Something that it did to the call."""

    at_ms: float
    """Since the run began."""
    verb: str
    how: list[Any]
    until_ms: float = float("inf")
    """When it was done."""

    async def do(self, call: CallControl) -> None:
        """Do it again, at its time from now on, and for no longer than it took."""
        await trio.sleep(self.at_ms / 1000)
        match self.verb, self.how:
            case "change", [instructions, language]:
                call.change(instructions=instructions, language=language)
            case "press", [str(digits)]:
                with suppress(CarrierRefused), trio.move_on_after(self._lasts_s):
                    await call.press(digits)
            case "transfer", _:
                # Whom to is in no log; the recorded carrier knows what became of it.
                with suppress(CarrierRefused), trio.move_on_after(self._lasts_s):
                    await call.transfer(Transfer("+10"))
            case "collect", [int(most), end_key, float() | int() as first_s, between_s, private]:
                with suppress(CarrierRefused), trio.move_on_after(self._lasts_s):
                    await call.collect_digits(
                        most=most,
                        end_key=end_key,
                        first_s=first_s,
                        between_s=between_s,
                        private=private,
                    )
            case _:
                pass  # A deed of a later version.

    @property
    def _lasts_s(self) -> float:
        return (self.until_ms - self.at_ms) / 1000


@attrs.define(eq=False)
class RecordedTools:
    """Tools that answer as they did, after as long as it took. Fits the `Tools` port."""

    _runs: defaultdict[tuple[str, str], deque[_ToolRun]]

    @classmethod
    def of(cls, log: FlightLog) -> RecordedTools:
        """Read them off a log."""
        runs: dict[int, _ToolRun] = {}
        by_call: defaultdict[tuple[str, str], deque[_ToolRun]] = defaultdict(deque)
        for entry in log.entries:
            match entry.place, entry.content:
                case "tool", ["begin", int(number), str(name), str(arguments)]:
                    runs[number] = _ToolRun(entry.at_ms)
                    by_call[name, arguments].append(runs[number])
                case "tool", ["does", int(number), str(verb), *how] if number in runs:
                    run = runs[number]
                    run.deeds.append(_Deed(entry.at_ms - run.began_ms, verb, how))
                case "tool", ["did", int(number), str(verb)] if number in runs:
                    run = runs[number]
                    done = [deed for deed in run.deeds if deed.verb == verb]
                    if done:
                        done[-1].until_ms = entry.at_ms - run.began_ms
                case "tool", ["end", int(number), str(outcome), str(text)] if number in runs:
                    run = runs[number]
                    run.lasted_ms = entry.at_ms - run.began_ms
                    run.outcome, run.text = outcome, text
                case _:
                    pass
        return cls(by_call)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        await trio.lowlevel.checkpoint()
        waiting = self._runs[name, arguments]
        if not waiting:
            raise ToolRefused("the flight log has no such run")
        run = waiting.popleft()
        async with trio.open_nursery() as deeds:
            if call is not None:
                for deed in run.deeds:
                    deeds.start_soon(deed.do, call)
            if run.lasted_ms is None or run.outcome == "cancelled":
                await trio.sleep_forever()
            await trio.sleep(run.lasted_ms / 1000 + LAST_DEED_S)
            deeds.cancel_scope.cancel("as it was then")
        match run.outcome:
            case "returned":
                return run.text
            case "refused":
                raise ToolRefused(run.text)
            case _:
                # By its name, which is what the model is told.
                raise raised(run.text)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        del name
        return None
