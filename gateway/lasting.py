"""A session that outlives its connections: another one takes over, and is told all that was said.

A session of the Realtime API ends after 60 minutes, and sooner when its socket dies. The call has
this one from its first word to its last. It opens its successors, tells them what it remembers,
gives them what the caller said meanwhile, and says a line of its own while there is none.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

import attrs
import structlog
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import (
    LOCAL,
    ULAW_BYTES_PER_MS,
    AgentSaid,
    AppendAudio,
    CallerTranscript,
    CancelResponse,
    ChangeSession,
    CreateResponse,
    DeleteItem,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    ResponseFinished,
    ReturnToolOutput,
    SessionFact,
    SessionLive,
    SessionLost,
    SessionMoved,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    TextAdded,
    ToolAnswered,
    TruncateItem,
)
from actors.policy.floor import Floor
from actors.policy.memory import Memory
from actors.wire.openai_history import create_item, delete_item, short_call_id
from actors.wire.openai_session import SessionSettings
from gateway.realtime import DEFAULT_PATIENCE, Patience
from gateway.speech_ring import SpeechRing
from gateway.tap import Flight

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Which = Literal["first", "fallback"]
"""The agent's own model, or the one that answers when that cannot be had."""

LOOK_EVERY_S: Final = 0.05
"""How often it is looked whether the moment has come, while a change of sessions is under way."""

SETTLED_MS: Final = 1_000
"""Audio before the end of the old session that the new one hears again: a voice that had just
begun is heard from its beginning."""

HEARS_WITHIN_S: Final = 2.0
"""By when a session that was given the caller's turn has said that it hears one."""

REPLAY_BYTES: Final = 8_000 * ULAW_BYTES_PER_MS
"""In one event. The API takes 15 MiB."""

SILENT: Final = "silent"
EXPIRING: Final = "expiring"

GOES_ON: Final = "This is the same phone call, going on. Do not greet again."
CUT_OFF: Final = (
    "Your last words were cut off. The caller heard them up to here: {words!r} "
    "Go on from there, and do not repeat them."
)


@attrs.frozen
class Bounds:
    """What a change of sessions lives under."""

    restarts: int = 5
    """Sessions that may be lost in one call. Who loses more has a line that carries none."""
    recover_s: float = 10.0
    """From a loss to its successor. The caller has heard the filler, and waits."""
    pauses_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Before each attempt. The first is at once: most losses are one broken connection."""
    age_s: float = 55 * 60.0
    """After so long a session is replaced, whatever it says of its end. Source: "Realtime
    conversations", OpenAI docs: 60 minutes at most."""
    early_s: float = 300.0
    """Before its end; or a fifth of its life, if that is less. To find a quiet moment in."""
    forced_s: float = 30.0
    """Before its end, or a tenth of its life: then it is replaced, quiet or not."""
    retry_s: float = 20.0
    """Until another attempt to open a successor, as long as nobody misses it."""
    silent_s: float = 15.0
    """How long a session that owes a response may say nothing. Deltas come every 50 ms; a model
    that reasons hard begins after seconds."""
    filler_s: float = 0.5
    """Of silence before the filler line is said: most successors have answered soon after."""
    answering_s: float = 0.75
    """The same when the successor is there, and about to answer."""
    again_s: float = 5.0
    """Of silence before it is said again."""


DEFAULT_BOUNDS: Final = Bounds()
LONGEST_S: Final = 24 * 3600.0
"""A session that says it lasts longer does not know the time."""


class One(Protocol):
    """One connection to a model: a `Session`, and what it takes to begin in the middle."""

    settings: SessionSettings

    async def run(self) -> None:
        """Connect, and stay connected until closed. Never raises because of the peer."""

    async def receive(self) -> SessionFact:
        """See the `Session` port."""

    async def send(self, order: SessionOrder) -> None:
        """See the `Session` port."""

    async def send_event(self, text: str) -> None:
        """Send one client event as it stands, once live."""

    async def aclose(self) -> None:
        """See the `Session` port."""


OpenOne = Callable[[SessionSettings, Which], One]


@attrs.frozen
class _Spare:
    """A session that is live, and has not taken over yet."""

    session: One
    which: Which
    live: SessionLive


def _no_line() -> tuple[bytes, str] | None:
    return None


@attrs.define(eq=False, kw_only=True)
class LastingSession:
    """A `Session` over one connection after another. Start `run` in a nursery.

    Resource handling: `run` owns all connections; `aclose` ends it and waits for it.
    Error handling: `receive` and `send` raise only when there is no session to be had any more.

    Args:
        open_one: Makes a connection that is not running yet.
        settings: What the first of them is asked to be.
        has_fallback: Whether `open_one` knows a fallback.
        memory: Is told what the journal is told, by whoever runs the call.
        line: The audio of the filler, mu-law, and its words; `None`: there is none.
        wall_s: Unix time, to compare with what a session says of its end.
        bounds: See `Bounds`.
        patience: Of the connections, for the flight log.
        flight: Likewise.

    """

    open_one: OpenOne
    settings: SessionSettings
    has_fallback: bool = False
    memory: Memory = attrs.field(factory=Memory)
    line: Callable[[], tuple[bytes, str] | None] = _no_line
    wall_s: Callable[[], float] | None = None
    bounds: Bounds = DEFAULT_BOUNDS
    patience: Patience = DEFAULT_PATIENCE
    flight: Flight | None = None
    losses: int = attrs.field(default=0, init=False)
    """Sessions that were lost."""
    moves: int = attrs.field(default=0, init=False)
    """Sessions that took over."""

    _floor: Floor = attrs.field(factory=Floor, init=False)
    _ring: SpeechRing = attrs.field(factory=SpeechRing, init=False)
    _facts: deque[SessionFact] = attrs.field(factory=deque[SessionFact], init=False)
    _current: One | None = attrs.field(default=None, init=False)
    _which: Which = attrs.field(default="first", init=False)
    _base_ms: int = attrs.field(default=0, init=False)
    """Where the audio of the current session begins in all of the call's."""
    _adopted: _Spare | None = attrs.field(default=None, init=False)
    """The current session, or the latest."""
    _spare: _Spare | None = attrs.field(default=None, init=False)
    _is_held: bool = attrs.field(default=False, init=False)
    """A successor is being told: what is ordered now is for it."""
    _failure: PeerGone | SessionRefused | None = attrs.field(default=None, init=False)
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set, and replaced, when anything of the above changed."""
    _listening: trio.CancelScope | None = attrs.field(default=None, init=False)
    _rotation: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _told: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    """Items of earlier sessions, and what the current one calls them; empty: it has none."""
    _order: list[str] = attrs.field(factory=list[str], init=False)
    """The ids of all that the current session was told, in order."""
    _answered: set[str] = attrs.field(factory=set[str], init=False)
    """Tool calls whose outputs the current session was told of."""
    _aliases: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    """Turns that a second session heard, and how the call knows them."""
    _again: deque[str] = attrs.field(factory=deque[str], init=False)
    """Turns that the current session is to hear again, oldest first."""
    _spliced_ms: int = attrs.field(default=0, init=False)
    """Up to here, what it hears was said before."""
    _owed: bool = attrs.field(default=False, init=False)
    """A loss has left the caller waiting."""
    _silent_since_s: float = attrs.field(default=0.0, init=False)
    _tells: int = attrs.field(default=0, init=False)
    _lines: int = attrs.field(default=0, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _is_running: bool = attrs.field(default=False, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    # The port.

    async def run(self) -> None:
        """Connect, and stay connected until `aclose`. Cancellable; never raises for a peer."""
        self._is_running = True
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    await self._begin()
                    while True:
                        await self._keep(self._adopted)
        finally:
            self._fail(PeerGone("session", None, "closed"))
            self._ended.set()

    async def receive(self) -> SessionFact:
        """See the `Session` port."""
        while not self._facts:  # noqa: ASYNC913 (it waits below, or has a fact)
            if self._failure is not None:
                await trio.lowlevel.checkpoint()
                raise self._failure
            session = self._current
            if session is None:
                await self._stirred.wait()
                continue
            await self._listen(session)
        return self._facts.popleft()

    async def send(self, order: SessionOrder) -> None:
        """See the `Session` port. While there is no session, orders wait, and audio is kept."""
        if isinstance(order, AppendAudio):
            await self._speak(order)
            return
        while True:
            if isinstance(order, CreateResponse) and order.losses < self.losses:
                await trio.lowlevel.checkpoint()
                return  # It was lost on its way, and is wished for again.
            if self._failure is not None:
                await trio.lowlevel.checkpoint()
                raise self._failure
            session = self._current
            if session is None or self._is_held:
                self._owed = self._owed or isinstance(order, CreateResponse)
                await self._stirred.wait()
                continue
            try:
                await self._obey(session, order)
            except (PeerGone, SessionRefused) as error:
                self._lose(session, error)
            else:
                return

    async def aclose(self) -> None:
        """See the `Session` port."""
        self._is_closing = True
        sessions = [self._current, self._spare.session if self._spare else None]
        async with trio.open_nursery() as closing:
            for session in sessions:
                if session is not None:
                    closing.start_soon(session.aclose)
        self._scope.cancel("the session is closed")
        if self._is_running:
            with trio.move_on_after(2 * self.patience.close_s, shield=True):
                await self._ended.wait()

    # Facts.

    async def _listen(self, session: One) -> None:
        """Wait for one fact of this session, or until something else is to be told."""
        silent_s = self.bounds.silent_s
        since_s = trio.current_time()
        deadline = since_s + silent_s if self._floor.owes else float("inf")
        with trio.CancelScope(deadline=deadline) as self._listening:
            try:
                self._take(session, await session.receive())
            except (PeerGone, SessionRefused) as error:
                self._lose(session, error)
        self._listening = None
        if trio.current_time() >= deadline and session is self._current and not self._facts:
            self._lose(session, PeerGone("session", None, SILENT))

    def _take(self, session: One, fact: SessionFact) -> None:
        """Pass a fact on, as the call understands it."""
        if session is not self._current and not isinstance(fact, CallerTranscript):
            return
        match fact:
            case SpeechStarted(item_id, start_ms):
                start_ms += self._base_ms
                if self._again and start_ms < self._spliced_ms:
                    self._aliases[item_id] = self._again.popleft()
                fact = SpeechStarted(self._aliases.get(item_id, item_id), start_ms)
                self._owed = False
            case SpeechStopped(item_id, end_ms):
                fact = SpeechStopped(self._aliases.get(item_id, item_id), end_ms + self._base_ms)
            case CallerTranscript(item_id, text):
                fact = CallerTranscript(self._aliases.get(item_id, item_id), text)
            case ItemAudio() | ResponseFinished(tool_calls=()):
                self._owed = False
            case _:
                pass
        self._floor.take(fact)
        self._facts.append(fact)

    def _give(self, *facts: SessionFact) -> None:
        """Tell the call something of our own."""
        self._facts.extend(facts)
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()
        if self._listening is not None:
            self._listening.cancel("there is something to tell")

    # Orders.

    async def _speak(self, order: AppendAudio) -> None:
        while self._current is None and self._failure is None and not self.losses:
            await self._stirred.wait()  # For the first session, the caller's lane waits.
        if self._failure is not None:
            await trio.lowlevel.checkpoint()
            raise self._failure
        self._ring.add(order.payload)
        session = self._current
        if session is None:
            await trio.lowlevel.checkpoint()
            return  # A successor gets it from the ring.
        try:
            await session.send(order)
        except (PeerGone, SessionRefused) as error:
            self._lose(session, error)
            if self._failure is not None:
                raise self._failure from None

    async def _obey(self, session: One, order: SessionOrder) -> None:
        """Carry an order out, or leave it, where it is about another session."""
        match order:
            case CancelResponse(response_id) if not self._floor.is_ours(response_id):
                await trio.lowlevel.checkpoint()
            case TruncateItem(item_id) | DeleteItem(item_id) if (
                item_id in self._told or item_id.startswith(LOCAL)
            ):
                await self._amend(session, item_id, order)
            case ReturnToolOutput(tool_call_id) if tool_call_id in self._answered:
                await trio.lowlevel.checkpoint()
            case ReturnToolOutput(tool_call_id, output) if self.moves:
                await session.send(ReturnToolOutput(self._call_id(tool_call_id), output))
            case ChangeSession():
                await session.send(order)
                self.settings = session.settings
            case CreateResponse():
                self._floor.orders(order)
                await session.send(order)
            case _:
                await session.send(order)

    def _call_id(self, tool_call_id: str) -> str:
        short = short_call_id(tool_call_id)
        return short if short in self._order else tool_call_id

    async def _amend(self, session: One, item_id: str, order: TruncateItem | DeleteItem) -> None:
        """Correct what a session was told of an item that another one made."""
        told = self._told.get(item_id, "")
        if not told:
            await trio.lowlevel.checkpoint()
            return
        place = self._order.index(told)
        before = self._order[place - 1] if place else "root"
        heard = ""
        if isinstance(order, TruncateItem):
            heard = self.memory.heard(item_id, up_to_ms=order.audio_end_ms)
        del self._order[place]
        self._told[item_id] = ""
        await session.send_event(delete_item(told))
        if heard:
            name = self._told[item_id] = self._new_name()
            self._order.insert(place, name)
            await session.send_event(create_item(AgentSaid(item_id, heard), name, before))

    def _new_name(self) -> str:
        self._tells += 1
        return f"again_{self._tells}"

    # Losing sessions.

    def _lose(self, session: One, error: PeerGone | SessionRefused) -> None:
        """This session is gone: look for another, or say that there is none. Idempotent."""
        if session is not self._current or self._failure is not None:
            return
        if not self._may_recover(error):
            self._fail(error)
            return
        self._change(session, error)

    def _change(self, session: One, error: PeerGone | SessionRefused) -> None:
        floor, nursery = self._floor, self._nursery
        if nursery is None:
            raise AssertionError("a session without a nursery")
        self._current = None
        self._rotation.cancel("its session is gone")
        self.losses += 1
        lost = SessionLost(_code(error), floor.said, bool(floor.unheard))
        log.warning("session.lost", code=lost.code, losses=self.losses)
        facts: list[SessionFact] = [lost]
        if floor.active is not None:
            facts.append(ResponseFinished(floor.active, "cancelled", "session_lost"))
        # What was said to its end is not missed; what is wished for all the same says so itself.
        self._owed = floor.owes and floor.said != "all"
        self._silent_since_s = trio.current_time()
        floor.lost()
        nursery.start_soon(session.aclose)
        nursery.start_soon(self._recover, error)
        nursery.start_soon(self._fill, self.losses, self.line())
        self._give(*facts)

    def _may_recover(self, error: PeerGone | SessionRefused) -> bool:
        if self._is_closing or self.losses >= self.bounds.restarts:
            return False
        if isinstance(error, SessionRefused) and error.code != "session_expired":
            return self.has_fallback and self._which == "first"
        return True

    def _fail(self, error: PeerGone | SessionRefused) -> None:
        if self._failure is None:
            self._failure = error
            self._current = None
            self._stir()

    async def _begin(self) -> None:
        """Open the first session, or the fallback."""
        failure: PeerGone | SessionRefused = PeerGone("session", None, "closed")
        for which in self._choices("first"):
            session = self.open_one(self.settings, which)
            # Already, so that `aclose` finds it.
            self._spare = _Spare(session, which, SessionLive(""))
            try:
                spare = await self._open(session, which)
            except (PeerGone, SessionRefused) as error:
                failure = failure if which == "fallback" else error
                continue
            self._spare = None
            self._adopt(spare, 0)
            moved = [SessionMoved(spare.live.session_id, "fallback")]
            self._give(spare.live, *(moved if which == "fallback" else ()))
            return
        self._fail(failure)

    def _choices(self, first: Which) -> tuple[Which, ...]:
        if not self.has_fallback:
            return ("first",)
        return (first, "fallback") if first == "first" else ("fallback", "first")

    async def _open(self, session: One, which: Which) -> _Spare:
        """Let a connection run until it is live.

        Raises:
            PeerGone: It cannot be reached.
            SessionRefused: It will not have us.

        """
        if self._nursery is None:
            raise AssertionError("opened outside of `run`")
        self._nursery.start_soon(session.run, name="session.socket")
        try:
            live = await session.receive()
            if not isinstance(live, SessionLive):
                raise PeerGone("session", None, "did not say first that it is live")  # noqa: TRY301
        except (PeerGone, SessionRefused) as error:
            log.warning("session.not_opened", which=which, code=_code(error))
            raise
        return _Spare(session, which, live)

    async def _recover(self, error: PeerGone | SessionRefused) -> None:
        """Find a successor for a session that was lost, within the bound; or give up."""
        refused = {self._which} if isinstance(error, SessionRefused) else set[Which]()
        if _code(error) == "session_expired":
            refused.clear()
        with trio.move_on_after(self.bounds.recover_s):
            for pause_s in self.bounds.pauses_s:
                await trio.sleep(pause_s)
                for which in self._choices(self._which):
                    if which in refused:
                        continue
                    try:
                        spare = self._spare or await self._open(
                            self.open_one(self.settings, which), which
                        )
                        self._spare = None
                        await self._take_over(spare, lost=True)
                    except PeerGone:
                        continue
                    except SessionRefused:
                        refused.add(which)
                        continue
                    return
        self._fail(error)

    # Taking over.

    async def _take_over(self, spare: _Spare, *, lost: bool) -> bool:
        """Tell a session all that was said, and go on in it. False: it was not the moment.

        Raises:
            PeerGone: It is gone already.

        """
        floor, session = self._floor, spare.session
        changes = self.memory.changes
        told, order, answered = await self._tell(session)
        turns = [turn.item_id for turn in floor.unheard]
        starts_ms = [turn.start_ms for turn in floor.unheard]
        end_ms = self._ring.end_bytes // ULAW_BYTES_PER_MS
        from_ms = min([max(floor.stopped_ms, end_ms - SETTLED_MS), *starts_ms])
        base = at = self._ring.clamp(from_ms * ULAW_BYTES_PER_MS)
        while at < self._ring.end_bytes:
            heard = self._ring.read(at)[:REPLAY_BYTES]
            await session.send(AppendAudio(b64encode(heard).decode("ascii")))
            at += len(heard)
        if not lost and not (self._is_quiet and changes == self.memory.changes):
            return False
        # No checkpoint from here on: nothing slips between the two sessions.
        before = self._current
        self._told, self._order, self._answered = told, order, answered
        self._again, self._spliced_ms = deque(turns), at // ULAW_BYTES_PER_MS
        self.moves += 1
        which_before = self._which
        self._adopt(spare, base // ULAW_BYTES_PER_MS)
        cause = "lost" if lost else "expiring"
        if spare.which != which_before:
            cause = "fallback"
        live = [spare.live] if lost else []
        log.info("session.moved", cause=cause, session_id=spare.live.session_id)
        self._give(*live, SessionMoved(spare.live.session_id, cause))
        if self._nursery is not None:
            if before is not None:
                self._nursery.start_soon(before.aclose)
            if turns:
                self._nursery.start_soon(self._make_sure_it_hears, session, turns[-1])
        return True

    async def _tell(self, session: One) -> tuple[dict[str, str], list[str], set[str]]:
        """Tell a session everything that it has not heard and is not going to hear."""
        floor, memory = self._floor, self.memory
        remembered = memory.items(without=frozenset(turn.item_id for turn in floor.unheard))
        told = dict.fromkeys(memory.agent_items(), "")
        order: list[str] = []
        answered: set[str] = set()
        texts: list[str] = []
        for one in remembered:
            order.append(self._new_name())
            texts.append(create_item(one, order[-1]))
            if isinstance(one, AgentSaid):
                told[one.item_id] = order[-1]
            elif isinstance(one, ToolAnswered):
                answered.add(one.tool_call_id)
        if any(isinstance(one, AgentSaid) for one in remembered):
            words = memory.cut_off()
            note = GOES_ON if not words else f"{GOES_ON} {CUT_OFF.format(words=words[-200:])}"
            order.append(self._new_name())
            texts.append(create_item(TextAdded("system", note), order[-1]))
        for text in texts:
            await session.send_event(text)
        return told, order, answered

    def _adopt(self, spare: _Spare, base_ms: int) -> None:
        self._current, self._which, self._base_ms = spare.session, spare.which, base_ms
        self._is_held = False
        self._rotation = trio.CancelScope()
        self._adopted = spare

    async def _make_sure_it_hears(self, session: One, item_id: str) -> None:
        """Whoever was speaking stops, also where a new session hears nothing in what they said."""
        await trio.sleep(HEARS_WITHIN_S)
        if session is self._current and self._again:
            self._again.clear()
            end_ms = self._ring.end_bytes // ULAW_BYTES_PER_MS
            stopped = SpeechStopped(item_id, end_ms)
            self._floor.take(stopped)
            self._give(stopped)

    # Before a session ends.

    def _lasts_s(self, live: SessionLive) -> float:
        """How long a session is going to be there, as far as one knows."""
        longest_s = self.bounds.age_s + self.bounds.early_s
        if live.expires_at_s is None or self.wall_s is None:
            return longest_s
        left_s = live.expires_at_s - self.wall_s()
        return min(longest_s, left_s) if 1.0 < left_s < LONGEST_S else longest_s

    async def _keep(self, spare: _Spare | None) -> None:
        """See to a session until another has taken over."""
        if spare is not None:
            await self._rotate(spare, self._rotation)
        while self._adopted is spare:
            await self._stirred.wait()

    async def _rotate(self, spare: _Spare, scope: trio.CancelScope) -> None:
        """Replace a session before it ends, at a quiet moment if there is one."""
        lasts_s = self._lasts_s(spare.live)
        began_s = trio.current_time()
        early_s = min(self.bounds.early_s, lasts_s / 5)
        forced_s = min(self.bounds.forced_s, lasts_s / 10)
        until_s = began_s + lasts_s - forced_s
        with scope:
            await trio.sleep(lasts_s - early_s)
            while trio.current_time() < until_s:
                if await self._replace(spare.session, until_s):
                    return
                await trio.sleep(min(self.bounds.retry_s, early_s / 10))
            if self._current is spare.session:
                log.info("session.not_quiet", losses=self.losses)
                self._change(spare.session, PeerGone("session", None, EXPIRING))

    async def _replace(self, session: One, until_s: float) -> bool:
        """Open a successor, wait for a quiet moment, and change over. False: it did not work."""
        try:
            if self._spare is None:
                opened = self.open_one(self.settings, self._which)
                self._spare = await self._open(opened, self._which)
            while not self._is_quiet:
                await trio.sleep(LOOK_EVERY_S)
                if trio.current_time() >= until_s:
                    return False
            spare, self._is_held = self._spare, True
            self._spare = None
            if await self._take_over(spare, lost=False):
                return True
            await spare.session.aclose()
        except (PeerGone, SessionRefused) as error:
            log.info("session.not_replaced", code=_code(error))
            self._spare = None
        finally:
            if self._current is session and self._is_held:
                self._is_held = False
                self._stir()
        return False

    @property
    def _is_quiet(self) -> bool:
        """Whether the caller would not notice a change of sessions, nor the call miss anything."""
        return (
            self._floor.is_quiet
            and not self._facts
            and not self.memory.is_playing
            and not self.memory.tools_run
        )

    # While there is none.

    async def _fill(self, loss: int, line: tuple[bytes, str] | None) -> None:
        """Say the filler line when the caller would wait in silence for what a loss took away."""
        if line is None:
            return
        waits_s, said = self.bounds.filler_s, False
        while self.losses == loss and self._failure is None:
            if self._current is not None and not self._owed:
                return
            now_s = trio.current_time()
            if self.memory.is_playing or not self._owed:
                self._silent_since_s = now_s
            elif not said and self._current is not None:
                waits_s = self.bounds.answering_s
            if now_s - self._silent_since_s >= waits_s - 1e-6:
                line = line if not said else self.line() if self._current is None else None
                if line is None:
                    return
                self._say(*line)
                self._silent_since_s, waits_s, said = now_s, self.bounds.again_s, True
            await trio.sleep(LOOK_EVERY_S)

    def _say(self, ulaw: bytes, words: str) -> None:
        self._lines += 1
        name, item_id = f"{LOCAL}{self._lines}", f"{LOCAL}{self._lines}_item"
        log.info("session.filled", losses=self.losses)
        self._give(
            ItemTranscript(item_id, words),
            ItemAudio(name, item_id, ulaw),
            ItemAudioDone(name, item_id),
        )


def _code(error: PeerGone | SessionRefused) -> str:
    """One word for the record, and never the peer's own beyond its codes."""
    if isinstance(error, SessionRefused):
        return error.code
    if error.code is not None:
        return str(error.code)
    return error.reason if error.reason in (SILENT, EXPIRING) else "broken"
