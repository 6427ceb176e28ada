"""What happened on a rehearsed line: the truth that a gateway's beliefs are held against."""

from __future__ import annotations

from typing import Literal

import attrs

LineEnding = Literal[
    "caller_hung_up", "ended_by_carrier", "closed_by_server", "redirected", "ended_by_api"
]
"""`redirected`: the carrier was told to go on with another document, and took the stream away.
`ended_by_api`: it was told to end the call."""


@attrs.frozen
class Said:
    """The caller says something."""

    text: str
    at_ms: int
    """When its first frame begins."""
    ended_ms: int
    """When its last frame ends, unless the call is over before."""


@attrs.frozen
class Pressed:
    """The caller presses a key."""

    digit: str
    at_ms: int


@attrs.frozen
class Cut:
    """The server asked for `clear`."""

    at_ms: int
    cleared_bytes: int
    """Of audio that was received and will never be heard."""
    marks: int
    """How many marks came back without having been reached."""


@attrs.frozen
class MarkTaken:
    """What became of a mark."""

    name: str
    queued_ms: int
    echoed_ms: float | None = None
    """`None`: the stream was over before."""
    flushed: bool = False
    """It came back because of `clear`, not because it was reached."""


@attrs.frozen
class Warned:
    """The server sent something that Twilio drops."""

    at_ms: int
    code: int
    what: str


@attrs.frozen
class LineEnded:
    """The stream is over."""

    at_ms: int
    ending: LineEnding
    unplayed_bytes: int
    """Agent audio that was queued and will never be heard."""


LineFact = Said | Pressed | Cut | Warned | LineEnded
