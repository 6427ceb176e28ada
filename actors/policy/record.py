"""The end record of one call, as values: what `call.json` is made of. Pure, and no behaviour.

Times named `..._ms` are whole milliseconds since the call began, on the call's one clock, unless
a field says it is a length. A field that is `None` (`null` in JSON) was never learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from actors.exits import Exit
from actors.messages import ResponseStatus, Usage


@attrs.frozen(kw_only=True)
class CallFacts:
    """What is known about a call before its first word."""

    call_sid: str
    stream_sid: str
    account_sid: str
    from_number: str = attrs.field(repr=False)
    to_number: str = attrs.field(repr=False)
    agent: str
    """Name of the agent that answered."""
    model: str
    voice: str
    started_at: str
    """UTC, ISO 8601: the moment that `..._ms` counts from."""
    agent_version: str = ""
    """A hash of the agent's settings, instructions and tools when the call began."""
    direction: Literal["inbound", "outbound"] = "inbound"
    """`outbound`: we called. Then `from_number` is ours, and `to_number` is whoever answered."""
    task: str | None = attrs.field(default=None, repr=False)
    """What a call that the agent placed is for."""
    placed_by: str | None = None
    """The call in which it was asked for."""


@attrs.frozen(kw_only=True)
class Said:
    """One utterance, by either side.

    What the caller heard of the agent is an estimate: `heard_ms` is measured by marks, and the
    text is divided in the same proportion, between words.
    """

    who: Literal["caller", "agent"]
    began_ms: int | None
    """When speech began on the line. `None`: an item of the agent's that was never played."""
    ended_ms: int | None
    """When it was over, or cut. `None`: never played, or the call ended while the caller spoke."""
    item_id: str
    text: str | None
    """`None`: the recogniser never delivered it."""
    heard: str | None = None
    """The agent's words that reached the caller. `None` for the caller's own."""
    unheard: str | None = None
    """The agent's words that did not. Empty when all of it was heard; `None` for the caller's."""
    heard_ms: int | None = None
    """Length that reached the caller. `None` for the caller's own."""
    received_ms: int | None = None
    """Length that the session had delivered. `None` for the caller's own."""
    interrupted: bool = False
    """The caller spoke over it, or it was dropped because the caller spoke."""


@attrs.frozen(kw_only=True)
class ToolRun:
    """One tool call."""

    tool_call_id: str
    name: str
    arguments: str | None
    """JSON text as the model wrote it."""
    output: str | None
    """JSON text as the model was given it."""
    outcome: str | None
    """`returned`, `failed`, `refused`, `timed_out`, `interrupted`; `None`: the call ended first."""
    started_ms: int | None
    """`None`: its body never ran."""
    finished_ms: int | None


@attrs.frozen(kw_only=True)
class CutItem:
    """How much of one item reached the caller before a barge-in. Lengths, not moments."""

    item_id: str
    heard_ms: int
    received_ms: int


@attrs.frozen(kw_only=True)
class BargeInRecord:
    """The caller spoke over the agent."""

    at_ms: int
    items: tuple[CutItem, ...]
    """In the order of playout."""


@attrs.frozen(kw_only=True)
class TurnRecord:
    """How long the caller waited for an answer. The two latencies are lengths."""

    caller_stopped_ms: int
    """When the caller's voice ended: the silence window of the detector is already taken off."""
    first_audio_ms: int | None
    """From then to the first audio given to the carrier. `None`: never answered."""
    first_heard_ms: int | None
    """From then to the moment when the caller began to hear it, as its first mark tells."""
    item_id: str
    """The caller's item."""


@attrs.frozen(kw_only=True)
class ResponseRecord:
    """One response of the model."""

    response_id: str
    purpose: str | None
    """`greeting`, `tools`, `retry`; `None`: the session answered by itself."""
    started_ms: int | None
    finished_ms: int | None
    """When generation was over. Its audio may play on."""
    status: ResponseStatus | None
    """`None`: the call ended first."""
    reason: str | None
    usage: Usage | None


@attrs.frozen(kw_only=True)
class MarksRecord:
    """The carrier's echoes."""

    sent: int
    echoed: int
    """Of all that were sent: behind audio, into an empty buffer, and those that were cleared."""
    heard_at_ms: tuple[int, ...]
    """When echoes told that more of an item was heard. Thinned out in long calls: for a picture,
    not for arithmetic."""


@attrs.frozen(kw_only=True)
class AudioTotals:
    """How much audio passed, in ms and to the byte of mu-law.

    Nothing is lost without a name; with the names of `CallRecord.drops`, and F for 8 times
    `caller_ms_filled_with_silence`:

        caller_bytes + F = appended_bytes + caller_bytes_late + caller_bytes_overflowed
                           + caller_bytes_unsent
        (of which `caller_bytes_unheard` went as silence, that the session was not to hear them)
        received_bytes + agent_bytes_padded = played_bytes + agent_bytes_late
                           + agent_bytes_clipped + agent_bytes_withdrawn + agent_bytes_unsent
    """

    caller_ms: int
    """Came off the line."""
    appended_ms: int
    """Was given to the session, silence for gaps included."""
    received_ms: int
    """Came from the session."""
    played_ms: int
    """Was given to the carrier."""
    caller_bytes: int = 0
    appended_bytes: int = 0
    received_bytes: int = 0
    played_bytes: int = 0


@attrs.frozen(kw_only=True)
class Moment:
    """Something else that happened: a key, a hang-up that was asked for, an order to forget."""

    at_ms: int
    what: str
    """The message: `KeyPressed`, `HangupAsked`, `Clear`, `TruncateItem`, ..."""
    detail: str


@attrs.frozen(kw_only=True)
class LeftOut:
    """What the bounds on a record's size kept out of it. All zero in any ordinary call."""

    entries: int
    characters: int


@attrs.frozen(kw_only=True)
class CallRecord:
    """The end record of one call. `call.json` has these fields, in this order, as its top level.

    `ending` becomes an object with the name of the exit, its side, and its own fields:
    `{"exit": "PeerLost", "side": "session", "peer": "session", "code": 1011, "reason": "..."}`.
    """

    call_sid: str
    stream_sid: str
    account_sid: str
    from_number: str = attrs.field(repr=False)
    to_number: str = attrs.field(repr=False)
    agent: str
    agent_version: str = ""
    """A hash of everything that made it what it was."""
    direction: Literal["inbound", "outbound"] = "inbound"
    """`outbound`: we called. Then `from_number` is ours, and `to_number` is whoever answered."""
    task: str | None = attrs.field(default=None, repr=False)
    """What a call that the agent placed is for."""
    placed_by: str | None = None
    """The call in which it was asked for."""
    model: str
    voice: str
    session_id: str | None
    """The session's own name for itself. `None`: it never became live."""
    started_at: str
    """UTC, ISO 8601."""
    duration_ms: int
    """Length."""
    ending: Exit
    transcript: tuple[Said, ...]
    """In the order in which people spoke, not in which the words arrived."""
    tool_calls: tuple[ToolRun, ...]
    barge_ins: tuple[BargeInRecord, ...]
    turns: tuple[TurnRecord, ...]
    responses: tuple[ResponseRecord, ...]
    usage: Usage
    """The sum of all responses, in tokens."""
    cost_usd: float | None = None
    """Of `usage`, by list price. `None`: nobody knows what this model costs."""
    prices_as_of: str | None = None
    """The day of those prices, ISO 8601."""
    marks: MarksRecord
    audio: AudioTotals
    moments: tuple[Moment, ...]
    drops: Mapping[str, int]
    """What was received and not passed on, and what was put in its place, by name.

    `agent_bytes_cut` is what the caller did not hear; `agent_bytes_withdrawn` the part of it that
    the carrier was never given. `..._unsent` was still on its way when the call ended.
    """
    refused_orders: Mapping[str, int]
    """Orders the session refused, by its error code."""
    left_out: LeftOut
