"""Why a call ended: one value per call, and it says which side ended it."""

from __future__ import annotations

from typing import Literal

import attrs

from actors.errors import LaneOverflow, Peer, PeerGone, ProtocolError, SessionRefused

Side = Literal["caller", "agent", "carrier", "session", "gateway"]


@attrs.frozen
class CallerHungUp:
    """The carrier said the stream is over."""

    side: Side = attrs.field(default="caller", init=False)


@attrs.frozen
class AgentHungUp:
    """The model called `hangup` and its goodbye was waited for."""

    reason: str
    goodbye_heard: bool
    """False: the last mark never came and the bounded wait ended instead."""
    tool_call_id: str = attrs.field(default="", eq=False, repr=False)
    """The request, whose output is the last thing the session is sent."""
    side: Side = attrs.field(default="agent", init=False)


@attrs.frozen
class Transferred:
    """The caller was connected to somebody else, who answered."""

    side: Side = attrs.field(default="agent", init=False)


@attrs.frozen
class PeerLost:
    """A leg dropped, fell silent, or broke its protocol beyond repair."""

    peer: Peer
    code: int | None
    reason: str

    @property
    def side(self) -> Side:
        """The leg that was lost."""
        return self.peer


@attrs.frozen
class Refused:
    """The session's server refused to serve: key, quota, model, configuration, expiry."""

    code: str
    message: str
    side: Side = attrs.field(default="session", init=False)


@attrs.frozen
class Stalled:
    """A control lane was full: an actor stopped keeping up."""

    lane: str
    size: int
    side: Side = attrs.field(default="gateway", init=False)


@attrs.frozen
class Crashed:
    """A bug in one actor. Its traceback is in the log."""

    actor: str
    error: str
    """The type and message of the exception."""
    side: Side = attrs.field(default="gateway", init=False)


@attrs.frozen
class TimedOut:
    """The call reached its longest allowed length, or cost as much as it may."""

    limit_s: float
    """The length; for its cost, how long it was then."""
    cause: Literal["length", "cost"] = "length"
    side: Side = attrs.field(default="gateway", init=False)


@attrs.frozen
class Killed:
    """Whoever runs the call cancelled it: shutdown, or the connection's handler went away."""

    side: Side = attrs.field(default="gateway", init=False)


Exit = (
    CallerHungUp
    | AgentHungUp
    | Transferred
    | PeerLost
    | Refused
    | Stalled
    | Crashed
    | TimedOut
    | Killed
)


def explain(error: Exception, *, actor: str) -> Exit:
    """Turn what an actor raised into why the call ended."""
    match error:
        case ExceptionGroup(exceptions=errors):
            # The tool executor's nursery wraps what its lanes raise. A bug explains the rest.
            endings = [explain(one, actor=actor) for one in errors]
            return next((why for why in endings if isinstance(why, Crashed)), endings[0])
        case PeerGone(peer, code, reason):
            return PeerLost(peer, code, reason)
        case ProtocolError(peer, what):
            return PeerLost(peer, None, what)
        case SessionRefused(code, message):
            return Refused(code, message)
        case LaneOverflow(lane, size):
            return Stalled(lane, size)
        case _:
            return Crashed(actor, f"{type(error).__name__}: {error}")


def loggable(why: Exit) -> dict[str, object]:
    """An ending's name, side and codes; not the words of a peer or of a model."""
    words = {"reason", "message", "error", "tool_call_id", "side"}
    fields = attrs.asdict(why, filter=lambda field, _: field.name not in words)
    return {"ending": type(why).__name__, "side": why.side, **fields}
