"""Today's code against yesterday's call: the recorded peers say once more what they said then.

Everything between the two sockets is the product as it is served; sockets, disk and clock are left
out. The peers are deaf: what today's code says differently changes nothing of what they said, so
what follows a first difference may only be its consequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import trio

from actors.wire.openai_session import SessionSettings
from gateway.lab.replaying.decisions import (
    Difference,
    Tolerance,
    decisions,
    differences,
    ended_ms,
    goodbyes,
)
from gateway.lab.replaying.recorded import RecordedFiller, word
from gateway.lab.replaying.recorded_line import RecordedLine
from gateway.lab.replaying.recorded_model import RecordedModels
from gateway.lab.replaying.recorded_phone import RecordedPhone
from gateway.lab.replaying.recorded_tools import RecordedTools
from gateway.lab.replaying.recorded_voice import RecordedVoice
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.virtual_time import VirtualClock
from gateway.records.flight import MemoryFlight, run_recorded_call
from gateway.records.flight_log import Entry, FlightLog, Lasting, NotAFlightLog
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from gateway.records.tap import Sessions
from gateway.session.lasting import LastingSession, Which
from gateway.session.realtime import RealtimeSession
from gateway.session.session_settings import suited_to
from gateway.twilio.media import TwilioCarrier

INSTANT_S: Final = 1e-6
"""Between what a peer says and what another one says at the same time: in virtual time, long
enough for all that follows from the first."""
PEERS: Final = {"phone.in", "phone.closed", "model.connect", "model.in", "model.closed", "tool"}
"""Where a log may say what a peer did, or a tool."""
CLOSED: Final = {"phone.closed", "model.closed"}
"""Where it says that somebody was left."""
GOES_ON_S: Final = 3.0
"""How long a call may last beyond its recorded end: its goodbyes, and then nobody says anything."""


@attrs.frozen
class Replay:
    """What became of a log when it was replayed."""

    decided: int
    """Decisions in the log."""
    differences: tuple[Difference, ...]
    """By time. Empty: today's code does what it did then."""
    went_on: bool
    """The call was not over where the log says it was."""


def replay(log: FlightLog, tolerance: Tolerance | None = None) -> Replay:
    """Run today's code against a recorded call. Not inside another run of trio.

    Raises:
        NotAFlightLog: The log ends before its call began.

    """
    if not any(word(entry, "phone.in") == "start" for entry in log.entries):
        raise NotAFlightLog("ends before its call began, so there is nothing to replay")
    stage = _Stage(log)
    run_seeded(stage.run, seed=0, clock=stage.clock)
    tolerance = tolerance or Tolerance()
    # What is under way when a call ends, or its log breaks off, is decided by nobody.
    until_ms = ended_ms(log.entries) - tolerance.at_ms
    then = decisions(log.entries, until_ms=until_ms)
    # A call that was killed at once may not even begin.
    again = stage.flight.read().entries if stage.flight.has_begun else ()
    if stage.went_on or not log.is_whole:  # Then its ending was ours.
        again = tuple(entry for entry in again if entry.place != "call")
    now = decisions(again, until_ms=until_ms)
    found = differences(then, now, tolerance, until_ms=until_ms)
    return Replay(len(then.taken), found, stage.went_on)


@attrs.define(eq=False)
class _Stage:
    """Where a call is played again: the peers of the log, and between them the product."""

    log: FlightLog
    clock: VirtualClock = attrs.field(factory=VirtualClock, init=False)
    flight: MemoryFlight = attrs.field(factory=MemoryFlight, init=False)
    went_on: bool = attrs.field(default=False, init=False)
    _phone: RecordedPhone = attrs.field(init=False)
    _line: RecordedLine = attrs.field(init=False)
    _models: RecordedModels = attrs.field(init=False)
    _tools: RecordedTools = attrs.field(init=False)
    _flights: Sessions = attrs.field(init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _began_s: float = attrs.field(default=0.0, init=False)

    async def run(self) -> None:
        """Play the call to its end, or to where the log breaks off."""
        self._began_s = trio.current_time()
        self._phone = RecordedPhone(self.log, self._now_ms)
        self._models = RecordedModels(self.log, self._now_ms)
        self._tools = RecordedTools.of(self.log, self._now_ms)
        self._flights = Sessions(self.flight)
        header, plan = self.log.header, self.log.header.plan()
        session: RealtimeSession | LastingSession
        if header.lasting is None:
            session = self._open_one(header.session, "first")
        else:
            session = self._lasting(header.lasting)
            plan = attrs.evolve(plan, observer=session.memory.note)
        carrier = TwilioCarrier(
            self._phone.receive,
            self._phone.send,
            self._phone.hang_up if self._phone.hangs_up_by_rest else None,
        )
        self._line = RecordedLine(carrier)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            nursery.start_soon(self._play)
            with self._scope:
                await carrier.introduce()
                await run_recorded_call(
                    plan,
                    self._line,
                    session,
                    tools=self._tools,
                    recorder=MemoryRecorder(),
                    store=MemoryStore(),
                    limits=header.limits,
                    voice=RecordedVoice.of(self.log),
                )
            nursery.cancel_scope.cancel("the call is over")

    def _lasting(self, lasting: Lasting) -> LastingSession:
        """A session like the one that the call had, with its clock and its line."""
        header = self.log.header
        began_ms = next(e.at_ms for e in self.log.entries if word(e, "phone.in") == "start")

        def wall_s() -> float:
            return (lasting.unix_s or 0.0) + (self._now_ms() - began_ms) / 1000

        return LastingSession(
            open_one=self._open_one,
            settings=header.session,
            fallback_model=lasting.fallback_model,
            line=RecordedFiller.of(self.log).line,
            wall_s=None if lasting.unix_s is None else wall_s,
            bounds=lasting.bounds,
            patience=header.patience,
            flight=self.flight,
        )

    def _open_one(self, settings: SessionSettings, which: Which) -> RealtimeSession:
        header = self.log.header
        if header.lasting is not None:
            model = header.lasting.fallback_model if which == "fallback" else None
            settings = suited_to(settings, model or header.facts.model)
        return RealtimeSession(
            self._models.next().connect, settings, header.patience, flight=self._flights.next()
        )

    async def _play(self) -> None:
        """Let everybody do what they did, when they did it."""
        killed_at = _killed_at(self.log)
        stalls = _stalls(self.log)
        stall_ms, resumed_ms = next(stalls)
        said: tuple[str, int] | None = None
        for number, entry in enumerate(self.log.entries):
            if number == killed_at:
                await self._until(entry.at_ms)
                await trio.sleep(INSTANT_S)
                self._scope.cancel("as it was then")
                return
            while entry.at_ms > stall_ms:
                await self._until(stall_ms)
                await trio.sleep(INSTANT_S)
                # As for a process that was stopped: all that is due is due at once.
                self.clock.jump(max(0.0, resumed_ms - self._now_ms()) / 1000)
                stall_ms, resumed_ms = next(stalls)
            leg = entry.place.partition(".")[0], entry.session
            if entry.place not in PEERS:
                said = None
                continue
            # A peer that said two things at once was read twice before anybody answered.
            after_s = 0.0 if said == leg else INSTANT_S
            at_s = self._began_s + entry.at_ms / 1000
            await trio.sleep_until(max(at_s, trio.current_time() + after_s))
            said = leg
            match leg[0]:
                case "tool":
                    self._line.say(entry)
                    self._tools.say(number)
                case "model":
                    self._models.say(entry)
                case _:
                    self._line.say(entry)
                    self._phone.say(entry)
        if self.log.is_whole:
            await trio.sleep(GOES_ON_S)
            self.went_on = True
        self._scope.cancel("the log ends here")

    async def _until(self, at_ms: float) -> None:
        await trio.sleep_until(self._began_s + at_ms / 1000)

    def _now_ms(self) -> float:
        return (trio.current_time() - self._began_s) * 1000


def _stalls(log: FlightLog) -> Iterator[tuple[float, float]]:
    """From when to when the whole gateway stood still, one after the other, for ever."""
    for number, entry in enumerate(log.entries):
        match entry.place, entry.content:
            case "flight", ["stood still", float() | int() as late_ms]:
                before = (other.at_ms for other in reversed(log.entries[:number]))
                began_ms = next((at_ms for at_ms in before if at_ms <= entry.at_ms - late_ms), 0.0)
                yield began_ms, entry.at_ms
            case _:
                pass
    while True:
        yield float("inf"), float("inf")


def _killed_at(log: FlightLog) -> int | None:
    """Which entry is the first goodbye of a call that whoever ran it cancelled. `None`: nobody."""
    match log.entries[-1]:
        case Entry(_, "call", ["ended", {"exit": "Killed"}]):
            closed = (one for one in goodbyes(log.entries) if log.entries[one].place in CLOSED)
            return next(closed, len(log.entries) - 1)
        case _:
            return None
