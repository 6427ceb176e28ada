"""The flight recorder: everything that crosses both sockets of a call, into a file of its own.

Who notes something returns at once: lines wait in bounded memory, and a worker thread compresses
and appends them about once a second. A slow or full disk costs the log, never the call.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

import attrs
import orjson
import structlog
import trio

from actors.call import Limits, Plan, run_call
from actors.control import CONFIRM_S, CallControl, Reply
from actors.errors import CarrierRefused, ToolRefused
from actors.exits import Exit, Killed
from actors.policy.record import CallFacts, CallRecord
from actors.ports import (
    CallStore,
    Carrier,
    Recorder,
    Session,
    Tools,
    Transfer,
    TransferOutcome,
    Voice,
)
from actors.tools import RanUnasked
from gateway.records.flight_log import (
    FlightLog,
    Lasting,
    compress,
    header_of,
    parse,
    write_entry,
    write_header,
)
from gateway.records.store import make_private
from gateway.records.tap import Content, Flight, Place, Tap, from_phone
from gateway.records.tapped_voice import TappedVoice
from gateway.session.lasting import LastingSession
from gateway.session.realtime import RealtimeSession
from gateway.twilio.media import Tapped

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE_NAME: Final = "flight.jsonl.zst"
EVERY_S: Final = 1.0
"""What a crash may cost. Sooner, and small frames compress badly."""
LOOK_EVERY_S: Final = 0.25
"""How often it is looked whether the process stood still, and was not only idle."""
STOOD_STILL_S: Final = 0.15
"""So late, and it did: a line has 50 frames a second, and 200 ms of audio in hand."""
FLUSH_BYTES: Final = 64 * 1024
"""Or when so much is waiting: a burst of the model's."""
WAITING_MAX_BYTES: Final = 4 * 2**20
"""For a disk that does not keep up: minutes of events, or with audio the longest answer there is
(200 s, 2.2 MB in base64) and half a minute of line."""
CONTENT_MAX_BYTES: Final = 64 * 2**20
"""In one file, before compression. An hour without audio is 20 MB, ten minutes with it 25 MB."""
FINISH_S: Final = 0.5
"""For the rest of a log, when its call is over. It is one write of some KiB as a rule."""


def new_private_file(path: Path) -> FileIO:
    """Make a file that nobody else on this machine may read.

    Raises:
        OSError: It cannot be made; or it is there, and then it is another call's.

    """
    make_private(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return FileIO(os.open(path, flags, 0o600), "w")


@attrs.define(eq=False)
class FileFlight:
    """A `Flight` in a file. One per call, made when its session begins to connect.

    Nothing is written before `begin`: a call that never was leaves no folder.
    """

    path: Path
    with_audio: bool = False
    open_file: Callable[[Path], FileIO] = new_private_file
    waiting_max_bytes: int = WAITING_MAX_BYTES
    content_max_bytes: int = CONTENT_MAX_BYTES
    _began_s: float = attrs.field(factory=trio.current_time, init=False)
    _has_begun: bool = attrs.field(default=False, init=False)
    _lines: deque[bytes] = attrs.field(factory=deque[bytes], init=False)
    """On their way to disk. The call appends, one thread takes."""
    _taken_bytes: int = attrs.field(default=0, init=False)
    """All that ever left `_lines`. Only the thread adds."""
    _noted_bytes: int = attrs.field(default=0, init=False)
    """All that ever went into `_lines`. Only the call adds."""
    _lost: int = attrs.field(default=0, init=False)
    """Entries without room since the last one that had it."""
    _is_over: bool = attrs.field(default=False, init=False)
    """Closed or full: nothing more is noted."""
    _is_closed: bool = attrs.field(default=False, init=False)
    _is_broken: bool = attrs.field(default=False, init=False)
    """The disk will not have it: nothing more is noted or written."""
    _due: trio.Event = attrs.field(factory=trio.Event, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(1), init=False
    )
    """One thread at a time: an abandoned one still finishes before the next begins."""
    _file: FileIO | None = attrs.field(default=None, init=False)
    """Only the thread's."""

    def note(self, place: Place, content: Content, session: int = 1) -> None:
        """See `Tap`. Without room the entry is counted as lost; the log says how many were."""
        if self._is_over or self._is_broken:
            return
        line = write_entry(self._now_ms(), place, content, session)
        # How a call ended always has room: it is one line, and without it nothing is complete.
        has_room = self._waiting_bytes + len(line) <= self.waiting_max_bytes
        if not has_room and place != "call":
            self._lost += 1
            return
        if self._lost:
            self._put(write_entry(self._now_ms(), "flight", ["lost", self._lost]))
            self._lost = 0
        if self._noted_bytes + len(line) > self.content_max_bytes:
            self._put(write_entry(self._now_ms(), "flight", ["full"]))
            self._is_over = True
            return
        self._put(line)
        if self._waiting_bytes >= FLUSH_BYTES:
            self._due.set()

    def begin(self, header: bytes) -> None:
        """See `Flight`."""
        if not self._has_begun:
            self._has_begun = True
            self._noted_bytes += len(header)
            self._lines.appendleft(header)

    async def run(self) -> None:
        """See `Flight`."""
        while True:  # noqa: ASYNC913 (it waits, or writes what is due)
            until_s = trio.current_time() + EVERY_S
            while not self._due.is_set() and trio.current_time() < until_s:
                await look_once(self, self._due)
            self._due = trio.Event()
            if self._has_begun and self._lines:
                await self._in_thread()

    async def aclose(self) -> None:
        """See `Flight`. Cancelled, it ends in its thread."""
        self._is_over = True
        if self._has_begun and not self._is_closed:
            self._is_closed = True
            await self._in_thread()

    @property
    def _waiting_bytes(self) -> int:
        return self._noted_bytes - self._taken_bytes

    def _now_ms(self) -> float:
        return (trio.current_time() - self._began_s) * 1000

    def _put(self, line: bytes) -> None:
        self._noted_bytes += len(line)
        self._lines.append(line)

    async def _in_thread(self) -> None:
        try:
            await trio.to_thread.run_sync(
                self._write, abandon_on_cancel=True, limiter=self._limiter
            )
        except RuntimeError as error:  # This system has no thread left. No log is worth a call.
            self._abandon(error)

    def _write(self) -> None:
        """Append what is waiting. Runs in a thread; never raises because of the disk.

        Whoever finds the log closed closes the file: on a slow disk, that is an earlier thread
        than the one that was to write the end, and that nobody had the time to wait for.
        """
        try:
            while self._lines and not self._is_broken:
                self._append(self._take())
            if self._is_closed and self._file is not None:
                self._file.close()
        except (OSError, MemoryError) as error:
            self._abandon(error)

    def _abandon(self, error: Exception) -> None:
        self._is_broken = True
        self._lines.clear()
        # Without the path, which names the call twice.
        words = error.strerror if isinstance(error, OSError) else error
        log.warning("flight.abandoned", error=f"{type(error).__name__}: {words}")
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _take(self) -> bytes:
        taken: list[bytes] = []
        while self._lines:
            taken.append(self._lines.popleft())
            self._taken_bytes += len(taken[-1])
        return b"".join(line + b"\n" for line in taken)

    def _append(self, text: bytes) -> None:
        """Write one whole frame: it can be read whatever happens to the next."""
        if self._file is None:
            self._file = self.open_file(self.path)
        rest = memoryview(compress(text))
        while rest:
            rest = rest[self._file.write(rest) :]


@attrs.define(eq=False)
class MemoryFlight:
    """A `Flight` that keeps everything: virtual time has no place for threads.

    One that does not keep anything takes the same turns, so that the same happens beside it.
    """

    with_audio: bool = False
    keeps: bool = True
    lines: list[bytes] = attrs.field(factory=list[bytes], init=False)
    _began_s: float | None = attrs.field(default=None, init=False)
    _header: bytes = attrs.field(default=b"", init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    def note(self, place: Place, content: Content, session: int = 1) -> None:
        """See `Tap`."""
        if not self.keeps:
            return
        now_s = trio.current_time()
        self._began_s = now_s if self._began_s is None else self._began_s
        if not self._is_closed:
            at_ms = (now_s - self._began_s) * 1000
            self.lines.append(write_entry(at_ms, place, content, session))

    def begin(self, header: bytes) -> None:
        """See `Flight`."""
        self._header = header

    async def run(self) -> None:
        """See `Flight`. There is nothing to put away."""
        while True:
            await look_once(self, trio.Event())

    async def aclose(self) -> None:
        """See `Flight`."""
        self._is_closed = True
        await trio.lowlevel.checkpoint()

    @property
    def has_begun(self) -> bool:
        """Whether its call has."""
        return bool(self._header)

    def text(self) -> bytes:
        """What a file would hold, before compression."""
        return b"".join(line + b"\n" for line in [self._header, *self.lines])

    def read(self) -> FlightLog:
        """The log, once the call has begun."""
        return parse(self.text())


async def look_once(tap: Tap, due: trio.Event) -> None:
    """Wait a little, or until `due`, and tell `tap` if that took much longer: nothing else ran."""
    look_s = trio.current_time() + LOOK_EVERY_S
    with trio.move_on_at(look_s):
        await due.wait()
    late_s = trio.current_time() - look_s
    if late_s >= STOOD_STILL_S:
        tap.note("flight", ["stood still", round(late_s * 1000)])


@attrs.frozen(eq=False)
class TappedCall:
    """A call as one run of a tool sees it, and somebody who is told what the tool does to it.

    Of keys that come in, and of whom a caller is transferred to, nobody is told.
    """

    call: CallControl
    tap: Tap
    run: int
    """The number of the tool's run."""

    @property
    def facts(self) -> CallFacts:
        """See `CallControl`."""
        return self.call.facts

    @property
    def tool_call_id(self) -> str:
        """See `CallControl`."""
        return self.call.tool_call_id

    async def say(self, words: str) -> bool:
        """See `CallControl`."""
        with self._told("say", words) as deed:
            deed.result = heard = await self.call.say(words)
        return heard

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        """See `CallControl`."""
        with self._told("confirm", question, within_s) as deed:
            deed.result = reply = await self.call.confirm(question, within_s=within_s)
        return reply

    async def press(self, digits: str) -> None:
        """See `CallControl`."""
        with self._told("press", digits):
            await self.call.press(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """See `CallControl`."""
        with self._told("transfer") as deed:
            deed.result = outcome = await self.call.transfer(to)
        return outcome

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        """See `CallControl`."""
        with self._told("collect", most, end_key, first_s, between_s, private, fresh):
            return await self.call.collect_digits(
                most=most,
                end_key=end_key,
                first_s=first_s,
                between_s=between_s,
                private=private,
                fresh=fresh,
            )

    async def approve(self, tool_call_id: str) -> str:
        """See `CallControl`."""
        with self._told("approve", tool_call_id):
            return await self.call.approve(tool_call_id)

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`."""
        self.call.change(instructions=instructions, language=language)
        self.tap.note("tool", ["does", self.run, "change", instructions, language])

    @contextmanager
    def _told(self, verb: str, *how: object) -> Iterator[_Deed]:
        self.tap.note("tool", ["does", self.run, verb, *how])
        deed = _Deed()
        try:
            yield deed
            deed.outcome = "returned"
        finally:
            if deed.outcome is None:
                deed.outcome, _ = _how_it_ended(sys.exc_info()[1])
            self.tap.note("tool", ["did", self.run, verb, deed.outcome, deed.result])


@attrs.define(eq=False)
class _Deed:
    """What became of something that a tool did to its call."""

    outcome: str | None = None
    """In the words of a run's. `None`: it is being done."""
    result: str | bool | None = None
    """Never the caller's keys."""


@attrs.define(eq=False)
class TappedTools:
    """Tools, and somebody who is told of every run and how it ended."""

    tools: Tools
    tap: Tap
    _runs: int = attrs.field(default=0, init=False)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        self._runs += 1
        number = self._runs
        begins: list[object] = ["begin", number, name, arguments, self.longest_s(name)]
        self.tap.note("tool", begins)
        outcome, text = "failed", ""
        try:
            tapped = None if call is None else TappedCall(call, self.tap, number)
            text = await self.tools.run(name, arguments, tapped)
            outcome = "returned"
        finally:
            if outcome == "failed":
                outcome, text = _how_it_ended(sys.exc_info()[1])
            self.tap.note("tool", ["end", number, outcome, text])
        return text

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        return self.tools.longest_s(name)


def _how_it_ended(error: BaseException | None) -> tuple[str, str]:
    """What became of a tool that returned nothing, and what may be said about it.

    Not the words of an exception that is not ours: they may be a secret of the tool's own.
    """
    match error:
        case ToolRefused(reason) | CarrierRefused(reason):
            return "refused", reason
        case trio.Cancelled():
            return "cancelled", trio.Cancelled.__name__
        case BaseExceptionGroup() if error.subgroup(trio.Cancelled) is not None:
            # A tool's own nursery brings its failures and our cancellation together.
            return "cancelled", trio.Cancelled.__name__
        case _:  # `SystemExit` too.
            return "failed", type(error).__name__


@attrs.define(eq=False)
class TappedStore:
    """A store, and what it was told of how the call ended: a cancelled call returns nothing."""

    store: CallStore
    ending: Exit = attrs.field(factory=Killed, init=False)

    async def finish(self, record: CallRecord) -> None:
        """See the `CallStore` port."""
        self.ending = record.ending
        await self.store.finish(record)


async def run_recorded_call(
    plan: Plan,
    carrier: Carrier,
    session: Session,
    *,
    tools: Tools,
    recorder: Recorder,
    store: CallStore,
    limits: Limits | None = None,
    voice: Voice | None = None,
    ran_unasked: RanUnasked | None = None,
) -> Exit:
    """`run_call`, with its flight log if the session has one.

    Resource handling: as `run_call`, and the log is finished too, within `FINISH_S`.
    """
    limits = limits or Limits()
    flight = _begun(plan, carrier, session, limits)
    if flight is None:
        return await run_call(
            plan,
            carrier,
            session,
            tools=tools,
            recorder=recorder,
            store=store,
            limits=limits,
            voice=voice,
            ran_unasked=ran_unasked,
        )
    tapped = TappedStore(store)
    try:
        return await run_call(
            plan,
            carrier,
            session,
            tools=TappedTools(tools, flight),
            recorder=recorder,
            store=tapped,
            limits=limits,
            voice=None if voice is None else TappedVoice(voice, flight),
            ran_unasked=ran_unasked,
        )
    finally:
        flight.note("call", ["ended", exit_to_json(tapped.ending)])
        with trio.move_on_after(FINISH_S, shield=True) as patience:
            await flight.aclose()
        if patience.cancelled_caught:
            log.warning("flight.unfinished", after_s=FINISH_S)


def _begun(plan: Plan, carrier: Carrier, session: Session, limits: Limits) -> Flight | None:
    """Begin the session's flight log, and tap the carrier.

    Returns:
        The log. `None`: there is none, or the peers are of another make and could not be replayed.

    """
    if not isinstance(session, RealtimeSession | LastingSession):
        return None
    if not isinstance(carrier, Tapped):
        return None
    flight = session.flight
    if flight is None:
        return None
    with_audio = flight.with_audio
    lasting = None
    if isinstance(session, LastingSession):
        unix_s = None if session.wall_s is None else session.wall_s()
        lasting = Lasting(session.bounds, session.fallback_model, unix_s)
    header = header_of(
        plan, session.settings, session.patience, limits, lasting, with_audio=with_audio
    )
    try:
        flight.begin(write_header(header))
    except orjson.JSONEncodeError:
        # Something that is no JSON, in a tool's schema perhaps. No log is worth a call.
        log.warning("flight.not_begun")
        return None
    flight.note("phone.in", from_phone(carrier.start, with_audio=False))
    carrier.tap = flight
    return flight


def exit_to_json(why: Exit) -> dict[str, object]:
    """An ending, as a log has it."""
    fields = attrs.asdict(why, filter=lambda field, _: field.init)
    return {"exit": type(why).__name__, **fields}
