"""What an edge or a lane raises when a call cannot go on."""

from __future__ import annotations

from typing import Final, Literal

import attrs

Peer = Literal["carrier", "session"]

FATAL_CODES: Final = frozenset(
    {
        "account_deactivated",
        "beta_api_shape_disabled",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "invalid_api_key",
        "model_not_found",
        "session_expired",
    }
)
"""Error codes of a session after which no retry on it can help. Source: the Realtime API's error
codes as the official SDK and public traces show them, November 2026."""


@attrs.frozen
class PeerGone(Exception):
    """The world closed a leg. That *we* closed it is never an error."""

    peer: Peer
    code: int | None
    """WebSocket close code; `None` when the connection just broke or fell silent."""
    reason: str

    def __str__(self) -> str:
        code = "" if self.code is None else f" ({self.code})"
        return f"{self.peer} is gone{code}: {self.reason}"


@attrs.frozen
class SessionRefused(Exception):
    """The session's server will not serve this call, and asking again would not help."""

    code: str
    """Its own word: `invalid_api_key`, `insufficient_quota`, `session_expired`, ..."""
    message: str

    def __str__(self) -> str:
        return f"the session was refused ({self.code}): {self.message}"


@attrs.frozen
class ProtocolError(Exception):
    """A peer sent what its protocol does not allow. Never quotes the peer's words."""

    peer: Peer
    what: str
    """What was wrong and where: `media.payload is not base64`."""

    def __str__(self) -> str:
        return f"{self.peer}: {self.what}"


@attrs.frozen
class LaneOverflow(Exception):
    """A lane that may lose nothing is full: one actor has stopped keeping up."""

    lane: str
    size: int

    def __str__(self) -> str:
        return f"lane {self.lane} is full at {self.size}"


@attrs.frozen
class ToolRefused(Exception):
    """A tool call cannot be run as the model asked for it. The reason is for the model."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.frozen
class EffectUnknown(ToolRefused):
    """A tool was run, and nobody knows whether it took effect. It must not be run again for it."""


@attrs.frozen
class Unspoken(Exception):
    """Words could not be made into speech, or not certainly these words."""

    reason: str

    def __str__(self) -> str:
        return f"not spoken: {self.reason}"


@attrs.frozen
class AuditFailed(Exception):
    """A decision could not be written down, and so must not take effect."""

    reason: str

    def __str__(self) -> str:
        return f"the audit log cannot be written: {self.reason}"


@attrs.frozen
class CarrierRefused(Exception):
    """The carrier did not do what it was asked to do to the call. The reason is for the model."""

    reason: str

    def __str__(self) -> str:
        return self.reason
