"""The seams of a call. A second carrier or a second engine is a new implementation of one of these.

Nothing inherits from a port: an implementation only has to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import attrs

if TYPE_CHECKING:
    from actors.control import CallControl
    from actors.messages import CarrierFact, CarrierOrder, SessionFact, SessionOrder
    from actors.policy.audit import AuditRow
    from actors.policy.journal import CallRecord


class Carrier(Protocol):
    """The phone side of one call, already open and authenticated.

    Resource handling: whoever made it runs it; the call only says goodbye with `aclose`.
    """

    async def receive(self) -> CarrierFact:
        """Wait for the next fact. One task only; cancellable.

        Raises:
            PeerGone: The carrier dropped the stream without saying that it is over.
            ProtocolError: It sent more nonsense than is worth listening to.

        """

    async def send(self, order: CarrierOrder) -> None:
        """Carry out one order. One task only; cancellable while the peer is stalled.

        A cancelled send spoils the connection: after it, only `aclose`.

        Raises:
            PeerGone: The stream is closed, or took longer than its bound to take the order.

        """

    async def hang_up(self) -> None:
        """End the phone call itself, and not only the stream. Idempotent; never raises PeerGone."""

    async def press(self, digits: str) -> None:
        """Send keys to the far end and return when they are sent. Cancellable.

        The stream may be opened anew for it (`StreamMoved`): nothing is to be playing.

        Args:
            digits: `0` to `9`, `*`, `#`, `A` to `D`, and `w` for half a second of waiting.

        Raises:
            CarrierRefused: The carrier cannot, or did not.

        """

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """Connect the caller to somebody else, and wait for what becomes of it. Cancellable.

        With `answered`, the caller has left this call for good. With anything else the caller is
        back, on a stream opened anew (`StreamMoved`).

        Raises:
            CarrierRefused: The carrier cannot, or did not; the caller never left.

        """

    def hide_keys(self, hidden: bool) -> None:
        """Keep the keys that come from now on out of whatever the carrier logs, or no longer."""

    async def aclose(self) -> None:
        """Close the stream. Idempotent, bounded, never raises because the peer is already gone."""


TransferOutcome = Literal["answered", "busy", "no-answer", "failed", "canceled"]
"""What became of a transfer. Source: `DialCallStatus`, "TwiML: Dial", Twilio docs."""


@attrs.frozen
class Transfer:
    """Whom to connect the caller to, and how."""

    to: str = attrs.field(repr=False)
    """A number in E.164, or a SIP URI."""
    caller_id: str | None = attrs.field(default=None, repr=False)
    """What the callee is shown; `None`: the carrier's own choice."""
    whisper: str | None = attrs.field(default=None, repr=False)
    """Said to the callee alone, before the two are connected. `None`: they are at once."""
    ring_s: float = 25.0
    """How long the callee's phone may ring."""


class Session(Protocol):
    """The model side of one call: full duplex, with or without turns.

    It may still be connecting when the call gets it: `send` waits until it is live. An engine
    without turns says nothing of speech or of responses, asks for functions by `ToolsAsked`, and
    takes `CreateResponse` as a nudge: `Plan.server_confirms` is False for it.
    Resource handling: the call says goodbye with `aclose`, and then no socket is left.
    """

    async def receive(self) -> SessionFact:
        """Wait for the next fact. One task only; cancellable. The first fact is `SessionLive`.

        Raises:
            SessionRefused: Key, quota, model, configuration or expiry: trying again is no use.
            PeerGone: The session dropped, or could not be reached.

        """

    async def send(self, order: SessionOrder) -> None:
        """Carry out one order, once live. From any task; cancellable while the peer is stalled.

        Raises:
            PeerGone: The session is closed, or took longer than its bound to take the order.

        """

    async def aclose(self) -> None:
        """Close the socket. Idempotent, bounded, never raises because the peer is already gone."""


class Tools(Protocol):
    """The functions a model may call."""

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """Run one function and return its result as JSON text. Cancellable.

        Args:
            name: As the model gave it.
            arguments: JSON text, as the model wrote it.
            call: What the function may do to the call it runs in; `None`: it runs in none.

        Raises:
            ToolRefused: There is no such function, or the arguments do not fit it.

        Whatever the function itself raises comes through unchanged.

        """

    def longest_s(self, name: str) -> float | None:
        """How long this function may take; `None`: as long as any other."""


class Voice(Protocol):
    """The gateway's own voice: no model that hears the caller has a part in it."""

    async def speech(self, words: str) -> bytes:
        """Make exactly these words into mu-law audio. Cancellable; bounded by itself.

        Raises:
            Unspoken: They cannot be had, or it is not certain that they are these words.

        """


class Audit(Protocol):
    """Where decisions about tools are written down."""

    async def write(self, *rows: AuditRow) -> None:
        """Return when all of them are safe from a crash, and not before; or none is. Cancellable.

        Cancelled, they may have been written.

        Raises:
            AuditFailed: They could not be written. What they decide must not happen then.

        """


class Recorder(Protocol):
    """Where the audio of one call goes. All positions are ms on the call's clock."""

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller said."""

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        """Write what the caller is going to hear, unless it is cut."""

    async def cut(self, at_ms: int) -> None:
        """Forget the agent's audio from here on: it was cleared before it was heard."""

    async def aclose(self) -> None:
        """Finish the recording. Idempotent."""


class CallStore(Protocol):
    """Where the records of calls go."""

    async def finish(self, record: CallRecord) -> None:
        """Write the one end record of a call. Called exactly once per call, under a deadline."""
