"""A session that outlives its connections: another one takes over, and is told all that was said.

A session of the Realtime API ends after 60 minutes, and sooner when its socket dies. The call has
this one from its first word to its last. It opens its successors, tells them what it remembers,
gives them what the caller said meanwhile, and says a line of its own while there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import (
    AppendAudio,
    ApproveRun,
    CallerTranscript,
    CancelResponse,
    ChangeSession,
    CommitAudio,
    CreateResponse,
    DeleteItem,
    ItemAudio,
    ResponseFinished,
    ReturnToolOutput,
    SessionFact,
    SessionOrder,
    SpeechStarted,
    TruncateItem,
)
from actors.policy.floor import Floor
from actors.policy.memory import Memory
from actors.wire.openai_session import SessionSettings
from gateway.records.tap import Flight
from gateway.session.connections import (
    DEFAULT_BOUNDS,
    SERVER_ERROR,
    SILENT,
    Bounds,
    One,
    Opening,
    OpenOne,
    Which,
)
from gateway.session.filling import Filling, Line
from gateway.session.realtime import DEFAULT_PATIENCE, Patience
from gateway.session.rehearing import Rehearing
from gateway.session.retelling import Retelling
from gateway.session.rotation import Rotation
from gateway.session.seat import Seat
from gateway.session.succession import Succession

__all__ = ["DEFAULT_BOUNDS", "Bounds", "LastingSession", "Line", "OpenOne", "Which"]


def _no_line() -> Line | None:
    return None


@attrs.define(eq=False, kw_only=True)
class LastingSession:
    """A `Session` over one connection after another. Start `run` in a nursery.

    Resource handling: `run` owns all connections; `aclose` ends it and waits for it.
    Error handling: `receive` and `send` raise only when there is no session to be had any more.

    Args:
        open_one: Makes a connection that is not running yet.
        settings: What the first of them is asked to be.
        fallback_model: What answers when the first model cannot be had, if `open_one` knows one.
        memory: Is told what the journal is told, by whoever runs the call.
        line: The audio of the filler, mu-law, and its words; `None`: there is none.
        wall_s: Unix time, to compare with what a session says of its end.
        bounds: See `Bounds`.
        patience: Of the connections, for the flight log.
        flight: Likewise.

    """

    open_one: OpenOne
    settings: SessionSettings
    fallback_model: str | None = None
    memory: Memory = attrs.field(factory=Memory)
    line: Callable[[], Line | None] = _no_line
    wall_s: Callable[[], float] | None = None
    bounds: Bounds = DEFAULT_BOUNDS
    patience: Patience = DEFAULT_PATIENCE
    flight: Flight | None = None

    _seat: Seat = attrs.field(factory=Seat, init=False)
    _floor: Floor = attrs.field(factory=Floor, init=False)
    _opening: Opening = attrs.field(init=False)
    _retelling: Retelling = attrs.field(init=False)
    _rehearing: Rehearing = attrs.field(init=False)
    _filling: Filling = attrs.field(init=False)
    _succession: Succession = attrs.field(init=False)
    _rotation: Rotation = attrs.field(init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _is_running: bool = attrs.field(default=False, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        seat, floor, memory, bounds = self._seat, self._floor, self.memory, self.bounds
        has_fallback = self.fallback_model is not None
        self._opening = Opening(self.open_one, self.settings, has_fallback)
        self._retelling = Retelling(memory)
        self._rehearing = Rehearing(commits_turns=self.settings.turn_detection is None)
        self._filling = Filling(seat, memory, bounds, self.line, self.flight)
        self._succession = Succession(
            seat, self._opening, floor, self._retelling, self._rehearing, self._filling, bounds
        )
        self._rotation = Rotation(
            seat, self._opening, self._succession, floor, memory, bounds, self.wall_s
        )

    async def run(self) -> None:
        """Connect, and stay connected until `aclose`. Cancellable; never raises for a peer."""
        self._is_running = True
        try:
            with self._scope:
                async with trio.open_nursery() as self._opening.nursery:
                    await self._succession.begin()
                    while True:
                        await self._rotation.keep()
        finally:
            self._seat.fail(PeerGone("session", None, "closed"))
            self._ended.set()

    async def receive(self) -> SessionFact:
        """See the `Session` port."""
        seat = self._seat
        while not seat.facts:  # noqa: ASYNC913 (it waits below, or has a fact)
            if seat.failure is not None:
                await trio.lowlevel.checkpoint()
                raise seat.failure
            if seat.current is None:
                await seat.wait()
            else:
                await self._listen(seat.current)
        return seat.facts.popleft()

    async def send(self, order: SessionOrder) -> None:
        """See the `Session` port. While there is no session, orders wait, and audio is kept."""
        if isinstance(order, AppendAudio):
            await self._speak(order)
            return
        seat = self._seat
        turn = self._rehearing.commit() if isinstance(order, CommitAudio) else 0
        while True:  # noqa: ASYNC913 (every way through waits, or returns)
            if isinstance(order, CreateResponse | ApproveRun) and order.losses < seat.losses:
                await trio.lowlevel.checkpoint()
                return  # It was lost on its way. A response is wished for again; nothing else.
            if turn and self._rehearing.has_committed(turn):
                await trio.lowlevel.checkpoint()
                return  # A successor was told of it when it took over.
            if seat.failure is not None:
                await trio.lowlevel.checkpoint()
                raise seat.failure
            session = seat.current
            if session is None or seat.is_held:
                self._filling.owes = self._filling.owes or isinstance(order, CreateResponse)
                await seat.wait()
                continue
            try:
                await self._obey(session, order)
            except (PeerGone, SessionRefused) as error:
                self._succession.lose(session, error)
            else:
                return

    async def aclose(self) -> None:
        """See the `Session` port."""
        self._succession.is_closing = True
        spare = self._seat.spare
        async with trio.open_nursery() as closing:
            for session in (self._seat.current, spare.session if spare else None):
                if session is not None:
                    closing.start_soon(session.aclose)
        self._scope.cancel("the session is closed")
        if self._is_running:
            with trio.move_on_after(2 * self.patience.close_s, shield=True):
                await self._ended.wait()

    # Facts.

    async def _listen(self, session: One) -> None:
        """Wait for one fact of this session, or until something else is to be told."""
        seat, scope = self._seat, trio.CancelScope()
        seat.listening, scope.deadline = scope, self._silent_at_s()
        with scope:
            try:
                self._take(session, await session.receive())
            except (PeerGone, SessionRefused) as error:
                self._succession.lose(session, error)
        seat.listening = None
        if trio.current_time() >= scope.deadline and not seat.facts:
            self._succession.lose(session, PeerGone("session", None, SILENT))

    def _silent_at_s(self) -> float:
        """When a session that says nothing from now on has said nothing for too long."""
        if not self._floor.owes:
            return float("inf")
        is_begun = self._floor.active is not None
        patience_s = self.bounds.silent_s if is_begun else self.bounds.unanswered_s
        return trio.current_time() + patience_s

    def _take(self, session: One, fact: SessionFact) -> None:
        """Pass a fact on, as the call understands it."""
        if session is not self._seat.current and not isinstance(fact, CallerTranscript):
            return
        match fact:
            case ResponseFinished() if self._succession.is_at_fault(fact):
                # The call is told that it was lost, and not that it failed.
                self._succession.lose(session, PeerGone("session", None, SERVER_ERROR))
                return
            case SpeechStarted() | ItemAudio() | ResponseFinished(tool_calls=()):
                self._filling.owes = False
            case _:
                pass
        fact = self._rehearing.in_call(fact)
        self._floor.take(fact)
        self._seat.facts.append(fact)

    # Orders.

    async def _speak(self, order: AppendAudio) -> None:
        seat = self._seat
        while seat.current is None and seat.failure is None and not seat.losses:
            await seat.wait()  # For the first session, the caller's lane waits.
        if seat.failure is not None:
            await trio.lowlevel.checkpoint()
            raise seat.failure
        self._rehearing.add(order.payload)
        session = seat.current
        if session is None:
            await trio.lowlevel.checkpoint()
            return  # A successor gets it from what is kept.
        try:
            await session.send(order)
            if session is seat.current:
                self._rehearing.sent()
        except (PeerGone, SessionRefused) as error:
            self._succession.lose(session, error)
            if seat.failure is not None:
                raise seat.failure from None

    async def _obey(self, session: One, order: SessionOrder) -> None:
        """Carry an order out, or leave it, where it is about another session."""
        seat = self._seat
        match order:
            case CancelResponse(response_id) if not self._floor.is_ours(response_id):
                await trio.lowlevel.checkpoint()
            case TruncateItem(item_id) | DeleteItem(item_id) if self._retelling.is_told(item_id):
                await self._retelling.amend(session, item_id, order)
            case ReturnToolOutput(tool_call_id) if self._retelling.is_answered(tool_call_id):
                await trio.lowlevel.checkpoint()
            case ReturnToolOutput(tool_call_id, output, refuses=refuses):
                known = self._retelling.call_id(tool_call_id)
                # This session has asked for no leave, and knows of a call that was made.
                refuses = refuses and not self._retelling.is_called(tool_call_id)
                await session.send(ReturnToolOutput(known, output, refuses=refuses))
            case ChangeSession():
                await session.send(order)
                self._opening.settings = session.settings
            case CreateResponse():
                self._floor.orders(order)
                if seat.listening is not None and seat.listening.deadline == float("inf"):
                    seat.listening.deadline = self._silent_at_s()
                await session.send(order)
            case _:
                await session.send(order)
