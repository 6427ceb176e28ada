"""One connection to a model after another: how each is opened, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

import attrs
import structlog
import trio

from actors.errors import PeerGone, SessionRefused
from actors.messages import SessionFact, SessionLive, SessionOrder
from actors.wire.openai_session import SessionSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Which = Literal["first", "fallback"]
"""The agent's own model, or the one that answers when that cannot be had."""

SILENT: Final = "silent"
EXPIRING: Final = "expiring"
SERVER_ERROR: Final = "server_error"
OUR_WORDS: Final = frozenset({SILENT, EXPIRING, SERVER_ERROR})
"""Why a session was given up that had not gone by itself."""


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
    """How long a session may say nothing in the middle of a response. Deltas come every 50 ms; a
    model that reasons hard begins after seconds."""
    unanswered_s: float = 10.0
    """The same until it begins one that it owes. It was asked twice by then, and the call would
    give up soon."""
    failures: int = 2
    """Responses in a row that a session may fail at for reasons of its server's own. The first is
    asked for again; after the second the session itself is taken to be at fault. One that follows
    such a session, and has said nothing yet, is not asked twice."""
    filler_s: float = 0.5
    """Of silence before the filler line is said: most successors have answered soon after."""
    answering_s: float = 0.75
    """The same when the successor is there, and about to answer."""
    again_s: float = 5.0
    """Of silence before it is said again."""


DEFAULT_BOUNDS: Final = Bounds()


class One(Protocol):
    """One connection to a model: a `Session`, and what it takes to begin in the middle."""

    settings: SessionSettings
    heard_s: float
    """When its server gave its last sign of life, on trio's clock."""

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
class Spare:
    """A session that is live. It takes over, or waits to."""

    session: One
    which: Which
    live: SessionLive


@attrs.define(eq=False)
class Opening:
    """Opens connections, and knows what the next one is asked to be.

    Args:
        open_one: Makes a connection that is not running yet.
        settings: What the next of them is asked to be.
        has_fallback: Whether `open_one` knows a fallback.

    """

    open_one: OpenOne
    settings: SessionSettings
    has_fallback: bool
    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    """Of all connections, once there is one."""

    def choices(self, first: Which) -> tuple[Which, ...]:
        """What to try, in this order."""
        if not self.has_fallback:
            return ("first",)
        return (first, "fallback") if first == "first" else ("fallback", "first")

    def new(self, which: Which) -> One:
        """Make a connection that is not running yet."""
        return self.open_one(self.settings, which)

    async def open(self, session: One, which: Which) -> Spare:
        """Let a connection run until it is live.

        Raises:
            PeerGone: It cannot be reached.
            SessionRefused: It will not have us.

        """
        if self.nursery is None:
            raise AssertionError("opened outside of `run`")
        self.nursery.start_soon(session.run, name="session.socket")
        try:
            live = await session.receive()
            if not isinstance(live, SessionLive):
                raise PeerGone("session", None, "did not say first that it is live")  # noqa: TRY301
        except (PeerGone, SessionRefused) as error:
            log.warning("session.not_opened", which=which, code=code_of(error))
            raise
        return Spare(session, which, live)


def code_of(error: PeerGone | SessionRefused) -> str:
    """One word for the record, and never the peer's own beyond its codes."""
    if isinstance(error, SessionRefused):
        return error.code
    if error.code is not None:
        return str(error.code)
    return error.reason if error.reason in OUR_WORDS else "broken"
