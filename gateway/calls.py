"""The live calls of this process: from the webhook that announces one to how it ended.

Each call has a nursery of its own, opened when its webhook arrives, in which its session already
connects while Twilio opens the stream. Whatever happens in one is kept from all others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol

import attrs
import structlog
import trio
from structlog.contextvars import bound_contextvars

from actors.errors import SessionRefused
from actors.exits import Crashed, Exit, Killed
from actors.ports import Carrier, Session
from actors.wire.twilio import Start
from gateway.barrier import Barrier
from gateway.configuration.agents import Agent
from gateway.twilio.outgoing import OutgoingCall
from gateway.twilio.tokens import TOKEN_TTL_S, StreamTokens

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TOKEN_PARAMETER: Final = "token"  # noqa: S105 (a name)
"""The name of the stream's parameter that carries its token."""

EXITS_KEPT: Final = 1000
"""Endings remembered for what Twilio asks after a stream. It asks within a second."""
EXIT_KEPT_S: Final = 600.0
ENDING_S: Final = 3.0
"""How long a call may take between closing its stream and having ended: its clean-up, and less
than the 15 s Twilio waits for a webhook."""


@attrs.frozen
class IncomingCall:
    """What the voice webhook says about a call. Nothing in it is proven but by its signature."""

    call_sid: str
    account_sid: str
    caller: str = attrs.field(default="", repr=False)
    """As Twilio wrote it: a number, `anonymous`, `client:...`, `sip:...` or nothing."""
    called: str = attrs.field(default="", repr=False)
    agent: Agent = attrs.field(factory=Agent, repr=False)
    """Who answers it, and goes on answering it, whatever becomes of the configuration."""
    direction: Literal["inbound", "outbound"] = "inbound"
    """`outbound`: `caller` is a number of ours, and `called` is whoever answered."""
    placed: OutgoingCall | None = attrs.field(default=None, repr=False)
    """What it is for, if an agent placed it."""


@attrs.frozen(eq=False)
class Offer:
    """A call that was announced: its stream may come, and its session is connecting."""

    incoming: IncomingCall
    token: str = attrs.field(repr=False)
    session: Session = attrs.field(repr=False)
    stream_sid: str | None = None
    """Twilio's name of its stream; `None` until that came."""

    @property
    def call_sid(self) -> str:
        """Twilio's name of the call."""
        return self.incoming.call_sid


Declined = Literal["busy", "over", "refused", "closing"]
"""Why a call is not taken: too many of them, this one was already (a replayed webhook), the
session's server will not have it, or the gateway is stopping."""

OpenSession = Callable[[IncomingCall, trio.Nursery], Session]
"""Start to connect a session in the given nursery, and return at once."""
RunCall = Callable[[Offer, Carrier], Awaitable[Exit]]


class Line(Carrier, Protocol):
    """A carrier that can go on over another stream of the same call."""

    def release(self) -> None:
        """The call is over: no stream of it is needed any more."""

    def caller_left(self) -> None:
        """The carrier says that the call is over."""

    def stream_failed(self, stream_sid: str | None) -> None:
        """The carrier says that it could not open this stream; `None`: or any it knows."""


@attrs.frozen
class Ended:
    """A call that is over."""

    incoming: IncomingCall
    why: Exit


@attrs.define(eq=False)
class _Live:
    """One call while its nursery is open."""

    incoming: IncomingCall
    token: str = attrs.field(repr=False)
    ready: trio.Event = attrs.field(factory=trio.Event)
    """The session is connecting, or never will: see `offer`."""
    settled: trio.Event = attrs.field(factory=trio.Event)
    """The call begins, or is not going to."""
    done: trio.Event = attrs.field(factory=trio.Event)
    """The answered call is over, and how it ended is known."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the running call: what of it is cancelled first."""
    offer: Offer | None = None
    """`None`: the session is refused, or crashed before it was there."""
    begun: tuple[Offer, Line] | None = None
    """What it runs with, once its stream came."""
    why: Exit | None = None
    """How it ended, if it said so itself."""


@attrs.define(eq=False)
class Calls:
    """Admits, holds and forgets calls.

    Args:
        open_session: See `OpenSession`. May raise `SessionRefused`.
        run_call: Runs one call to its end. Whatever it raises ends this call only.
        tokens: The book of stream tokens; shared with nobody.
        max_concurrent: Calls announced or running at a time.
        answer_s: How long an announced call waits for its stream.
        is_recorded: Whether a call was already answered, by an earlier run of this process too.
            A signature never expires, and the book of tokens forgets.

    """

    open_session: OpenSession
    run_call: RunCall
    tokens: StreamTokens
    max_concurrent: int = 100
    answer_s: float = TOKEN_TTL_S
    is_recorded: Callable[[str], bool] = lambda _: False
    _live: dict[str, _Live] = attrs.field(factory=dict, init=False)
    _ended: OrderedDict[str, tuple[float, Ended]] = attrs.field(factory=OrderedDict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _admitting: bool = attrs.field(default=True, init=False)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the parent of all calls, until cancelled or closed."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def stop_admitting(self) -> None:
        """From now on decline every new call; those announced or running go on."""
        self._admitting = False

    def close(self) -> None:
        """End every call at once. The end of `serve`."""
        self.stop_admitting()
        for live in self._live.values():
            # Before its session goes, or the call would believe that the model left it.
            live.scope.cancel("the gateway stops")
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel("the gateway stops")

    @property
    def ready(self) -> bool:
        """Whether one more call would be taken."""
        return (
            self._nursery is not None and self._admitting and len(self._live) < self.max_concurrent
        )

    def __len__(self) -> int:
        return len(self._live)

    async def offer(self, incoming: IncomingCall) -> Offer | Declined:
        """Announce a call: mint its token and begin to connect its session.

        A repeated webhook of a live call gets the very same offer.
        """
        live = self._live.get(incoming.call_sid)
        if live is None:
            if self._nursery is None or not self._admitting:
                return "closing"
            if self.is_recorded(incoming.call_sid):
                log.warning("call.declined", reason="it was answered before")
                return "over"
            if len(self._live) >= self.max_concurrent:
                log.warning("call.declined", reason="busy", limit=self.max_concurrent)
                return "busy"
        token = self.tokens.mint(incoming.call_sid, incoming.account_sid, trio.current_time())
        if token is None:
            return "over"
        if live is None:
            if self._nursery is None:
                raise AssertionError("checked above")
            live = self._live[incoming.call_sid] = _Live(incoming, token)
            self._nursery.start_soon(self._hold, live, name=f"call {incoming.call_sid}")
        await live.ready.wait()
        return live.offer or "refused"

    def answer(self, start: Start) -> Offer | Line | str:
        """Match a stream to its call, once.

        Returns:
            The offer, for the first stream of an announced call: `begin` comes next. The line of
            a live call, for another stream of it. Or why there is neither.

        """
        token = dict(start.parameters).get(TOKEN_PARAMETER, "")
        flaw = self.tokens.redeem(token, start.call_sid, start.account_sid, trio.current_time())
        if flaw is not None:
            return f"the token is {flaw}"
        live = self._live.get(start.call_sid)
        if live is not None and live.begun is not None and not live.done.is_set():
            return live.begun[1]
        if live is None or live.offer is None or live.settled.is_set():
            return "the call is over"
        return attrs.evolve(live.offer, stream_sid=start.stream_sid)

    def abandon(self, call_sid: str) -> None:
        """Give up a call whose stream has not come: its caller is gone. Else nothing happens."""
        live = self._live.get(call_sid)
        if live is not None:
            live.settled.set()

    def begin(self, offer: Offer, line: Line) -> None:
        """Run an answered call, in the nursery of its own; `line.release` says when it is over."""
        live = self._live.get(offer.call_sid)
        if live is None or live.settled.is_set():
            line.release()  # Its session crashed, or the gateway stopped, just now.
            return
        live.begun = offer, line
        live.settled.set()

    def kill(self, call_sid: str, reason: str) -> None:
        """End a call that runs, at once. Else nothing happens."""
        live = self._live.get(call_sid)
        if live is not None and live.begun is not None:
            live.scope.cancel(reason)

    def line(self, call_sid: str) -> Line | None:
        """The line of a call that runs."""
        live = self._live.get(call_sid)
        return None if live is None or live.begun is None else live.begun[1]

    def another_token(self, call_sid: str, ttl_s: float) -> str | None:
        """Let one more stream into a call that runs; `None`: it does not."""
        if self.line(call_sid) is None:
            return None
        return self.tokens.mint_another(call_sid, trio.current_time(), ttl_s)

    def new_key(self) -> str:
        """Make a name that nobody can guess."""
        return self.tokens.random_bytes(24).hex()

    async def how_ended(self, call_sid: str) -> Exit | None:
        """How a call ended, waiting for it a little; `None` when nobody knows."""
        ended = await self.ended(call_sid)
        return None if ended is None else ended.why

    async def ended(self, call_sid: str) -> Ended | None:
        """What is known of a call that is over, waiting for its end a little.

        Twilio asks as soon as its stream is closed, and a call closes it before it is over.
        """
        live = self._live.get(call_sid)
        if live is not None and live.begun is not None:
            with trio.move_on_after(ENDING_S):
                await live.done.wait()
        entry = self._ended.get(call_sid)
        return None if entry is None else entry[1]

    async def _hold(self, live: _Live) -> None:
        """One call's nursery, from its webhook to its end."""
        sid = live.incoming.call_sid
        barrier = Barrier("call.session_crashed")
        crash = Barrier("call.crashed")
        try:
            with bound_contextvars(call_sid=sid), barrier:
                async with trio.open_nursery() as nursery:
                    await self._wait_out(live, nursery, crash)
        finally:
            # All at once, so that nobody finds a call whose session is gone.
            if live.begun is not None:
                failure = crash.failure or barrier.failure
                why = live.why or (Killed() if failure is None else _crash(failure))
                self._remember(sid, Ended(live.incoming, why))
                live.begun[1].release()
            live.done.set()
            live.settled.set()
            live.ready.set()
            del self._live[sid]
            self.tokens.end(sid, trio.current_time())

    async def _wait_out(self, live: _Live, nursery: trio.Nursery, crash: Barrier) -> None:
        try:
            session = self.open_session(live.incoming, nursery)
        except SessionRefused as error:
            log.warning("session.refused", code=error.code)
            return
        live.offer = Offer(live.incoming, live.token, session)
        live.ready.set()
        log.info("call.offered")
        with trio.move_on_after(self.answer_s):
            await live.settled.wait()
        live.settled.set()
        if live.begun is None:
            # Its stream never came, or its caller did not wait.
            log.info("call.abandoned")
        else:
            with crash, live.scope:
                live.why = await self.run_call(*live.begun)
            live.begun[1].release()
        # The call closes its session itself; this is for the call that never was, or crashed.
        await session.aclose()
        nursery.cancel_scope.cancel("the call is over")

    def _remember(self, call_sid: str, ended: Ended) -> None:
        now_s = trio.current_time()
        self._ended[call_sid] = (now_s, ended)
        while self._ended:
            at_s, _ = next(iter(self._ended.values()))
            if len(self._ended) <= EXITS_KEPT and at_s > now_s - EXIT_KEPT_S:
                break
            self._ended.popitem(last=False)


def _crash(failure: Exception) -> Crashed:
    return Crashed("call", f"{type(failure).__name__}: {failure}")
