"""What actors say to each other: facts in the past tense, orders in the imperative.

Every message is a frozen value without behaviour; nothing mutable travels in one.
Audio is G.711 mu-law at 8 kHz, mono, unless a name says otherwise.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

ULAW_BYTES_PER_MS: Final = 8
"""G.711 mu-law at 8 kHz, mono: one byte per sample."""

FRAME_MS: Final = 20
FRAME_BYTES: Final = FRAME_MS * ULAW_BYTES_PER_MS
"""Twilio sends and plays audio in frames of 20 ms: 160 bytes."""

ULAW_SILENCE: Final = b"\xff"
"""One sample of digital zero. Source: ITU-T G.711 (0x7F is minus zero, and audible nowhere)."""

ToolOutcome = Literal["returned", "failed", "refused", "timed_out", "interrupted"]
ResponseStatus = Literal["completed", "cancelled", "incomplete", "failed"]

LOCAL: Final = "local_"
"""How the ids of what the session knows nothing of begin: key tones, filler lines. No order about
them may reach it."""

HANGUP: Final = "hangup"
"""The name of the one tool that is the call's own, and in nobody's registry."""

# Facts about the carrier leg.


@attrs.frozen
class CallerAudio:
    """The caller's voice, as it came off the line."""

    payload: str
    """Base64 of `ulaw`, exactly as the carrier sent it, so that it can travel on untouched."""
    ulaw: bytes
    line_ms: int
    """Where this frame begins on the carrier's own clock, in ms since its stream began."""


@attrs.frozen
class KeyPressed:
    """The caller pressed a key: `0` to `9`, `*`, `#`, `A` to `D`."""

    digit: str


@attrs.frozen
class MarkEchoed:
    """The carrier played, or was told to clear, everything before this mark."""

    name: str


@attrs.frozen
class StreamStopped:
    """The carrier says the stream is over: the caller hung up, or the call was moved elsewhere."""


# Facts about the session leg.


@attrs.frozen
class SessionLive:
    """The session confirmed the configuration that was asked for. Audio may flow."""

    session_id: str
    expires_at_s: float | None = None
    """Unix time at which the session will be ended by its server, if it said so."""


@attrs.frozen
class SpeechStarted:
    """The session heard the caller begin to speak."""

    item_id: str
    """The conversation item that this speech is going to be."""
    audio_start_ms: int
    """Position in the caller audio this session was sent, in ms from its first byte."""


@attrs.frozen
class SpeechStopped:
    """The session heard the caller stop, its silence window included."""

    item_id: str
    audio_end_ms: int
    """Position in the caller audio this session was sent, in ms from its first byte."""


@attrs.frozen
class CallerTranscript:
    """What the caller said, by a recogniser that is not the model. May arrive late, or never."""

    item_id: str
    text: str


@attrs.frozen
class ResponseStarted:
    """The session began to generate a response."""

    response_id: str
    purpose: str | None = None
    """What `CreateResponse.purpose` asked for, or `None` when the session began by itself."""
    number: int | None = None
    """Of the `CreateResponse` it obeys."""


@attrs.frozen
class ItemAudio:
    """The model produced more audio for a conversation item. Not yet sent to the carrier."""

    response_id: str
    item_id: str
    ulaw: bytes
    """Any length: not aligned to frames."""


@attrs.frozen
class ItemAudioDone:
    """The model has produced all the audio this item will ever have."""

    response_id: str
    item_id: str


@attrs.frozen
class ItemTranscript:
    """More of the words of an item. Runs ahead of its audio."""

    item_id: str
    text: str


@attrs.frozen
class ToolCall:
    """The model asks for a function to be run: with `ResponseFinished`, `ToolsAsked`, or both."""

    tool_call_id: str
    name: str
    arguments: str
    """JSON text as the model wrote it; cut short when the response was."""
    needs_approval: bool = False
    """The session runs it by itself, once it has our leave."""


@attrs.frozen
class ToolsAsked:
    """Functions are asked for while the session talks or listens.

    It has no responses, or waits for our leave.
    """

    tool_calls: tuple[ToolCall, ...]


@attrs.frozen
class Usage:
    """What one response is billed for, in tokens. Source: `response.done`, OpenAI Realtime."""

    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    cached_text_tokens: int = 0
    """Part of `input_text_tokens`."""
    cached_audio_tokens: int = 0
    """Part of `input_audio_tokens`."""
    output_text_tokens: int = 0
    output_audio_tokens: int = 0


@attrs.frozen
class ResponseFinished:
    """The session will generate no more of a response. Its audio may still be playing."""

    response_id: str
    status: ResponseStatus
    reason: str | None = None
    """`turn_detected`, `max_output_tokens`, an error code, ...: the session's own word."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    number: int | None = None
    """Of the `CreateResponse` it obeyed."""
    runs: tuple[str, ...] = ()
    """Ids of `RanElsewhere` that it asked for, and said nothing after."""


@attrs.frozen
class RanElsewhere:
    """The session had a tool run by itself, and knows what came of it."""

    run_id: str
    name: str
    arguments: str
    """JSON text as the model wrote it."""
    outcome: Literal["returned", "failed"]
    output: str
    """JSON text."""
    tool_call_id: str | None = None
    """Of the `ToolCall` that got our leave. `None`: none was asked for."""
    is_certain: bool = True
    """A tool that says so itself has failed. Of others nobody knows whether they took effect."""


@attrs.frozen
class ToolOutputAccepted:
    """The output of a tool call is part of the conversation; responses from now on know it."""

    tool_call_id: str


@attrs.frozen
class OrderRefused:
    """The session refused an order and carries on."""

    code: str
    """`response_cancel_not_active`, `conversation_already_has_active_response`, ..."""


@attrs.frozen
class SessionLost:
    """The session is gone and another one is being opened in its place, in the same call.

    Whatever it was asked for and did not finish is void. Between this and the next `SessionLive`,
    orders wait; the words of `CreateResponse` that were under way have to be ordered again.
    """

    code: str
    """A close code, `silent`, `expired`, ...: for the record."""
    said: Literal["nothing", "part", "all"] = "nothing"
    """How much audio of the response that was being made had come. It is played to its end."""
    hears_again: bool = False
    """The caller's latest turn was not understood yet: the next session is given it to hear, and
    answers it as if it was being said now. It counts as speech until a `SpeechStopped` comes."""


@attrs.frozen
class SessionMoved:
    """The conversation goes on in another session, which was told all of it. Nothing is void."""

    session_id: str
    cause: str
    """`expiring`, `lost`, `fallback`."""


# Facts about the carrier leg while a call is moved about by the agent's own will.


@attrs.frozen
class StreamLeft:
    """The call is being moved about by the carrier at our word: nothing can be played or heard."""


@attrs.frozen
class StreamMoved:
    """The carrier opened another stream into the same call. Its audio follows on the old one's.

    What had been queued at the carrier is lost, and none of its marks will be echoed.
    """

    stream_sid: str


# Orders to the carrier.


@attrs.frozen
class Play:
    """Queue audio at the carrier. A multiple of `FRAME_BYTES`."""

    ulaw: bytes


@attrs.frozen
class Mark:
    """Echo this name when everything queued before it has been played, or cleared."""

    name: str


@attrs.frozen
class Clear:
    """Forget everything queued and not yet played."""


# Orders to the session.


@attrs.frozen
class AppendAudio:
    """Hear this caller audio, which follows on what was appended before."""

    payload: str
    """Base64 of mu-law."""


@attrs.frozen
class CreateResponse:
    """Begin a response. Only the turns actor gives this order."""

    purpose: str
    """`greeting`, `tools`, `keys`, `silence`, `retry`, ...: see `ResponseStarted.purpose`."""
    instructions: str | None = None
    """Replaces the session's instructions for this one response."""
    number: int = attrs.field(default=0, eq=False)
    """Which order this is; comes back with the response."""
    losses: int = attrs.field(default=0, eq=False)
    """How many `SessionLost` there had been when it was given: another one makes it void."""


@attrs.frozen
class CancelResponse:
    """Stop generating. Only the turns actor gives this order."""

    response_id: str


@attrs.frozen
class TruncateItem:
    """Remember that the caller heard only the beginning of this item."""

    item_id: str
    audio_end_ms: int


@attrs.frozen
class DeleteItem:
    """Forget an item of which the caller heard nothing."""

    item_id: str


@attrs.frozen
class ReturnToolOutput:
    """The one output of a tool call."""

    tool_call_id: str
    output: str
    """JSON text."""
    refuses: bool = attrs.field(default=False, kw_only=True)
    """It asked for our leave, and does not get it."""


@attrs.frozen
class ApproveRun:
    """Have a tool run that waits for our leave. Once, and never again."""

    tool_call_id: str
    losses: int = attrs.field(default=0, eq=False)
    """As of `CreateResponse`: the next session knows nothing of it."""


@attrs.frozen
class AddText:
    """Make this text part of the conversation. Begins no response."""

    role: Literal["user", "system"]
    text: str


@attrs.frozen
class CommitAudio:
    """Take the caller's turn for finished: for a session that does not listen for turns itself."""


@attrs.frozen
class ChangeSession:
    """Go on with other instructions. `None` leaves as it is; formats and voice never change."""

    instructions: str | None = None
    language: str | None = None
    """ISO 639-1, of what the caller speaks from now on."""


# What was said in a call, as another session of it is told.


@attrs.frozen
class CallerSaid:
    """A turn of the caller's."""

    text: str | None
    """`None`: there is no transcript of it."""


@attrs.frozen
class AgentSaid:
    """What the caller heard of an item, or is going to."""

    item_id: str
    text: str


@attrs.frozen
class ToolAsked:
    """A tool call that the model made."""

    tool_call_id: str
    name: str
    arguments: str
    """JSON text as the model wrote it."""


@attrs.frozen
class ToolAnswered:
    """What became of it."""

    tool_call_id: str
    output: str
    """JSON text."""


@attrs.frozen
class TextAdded:
    """Text that was made part of the conversation."""

    role: Literal["user", "system"]
    text: str


Remembered = CallerSaid | AgentSaid | ToolAsked | ToolAnswered | TextAdded

# Between the actors of one call.


@attrs.frozen
class BargedIn:
    """The caller spoke over playout; playout is being cleared."""

    items: tuple[ItemCut, ...]
    """Every item that was cut, in the order of playout. Never empty."""


@attrs.frozen
class ItemCut:
    """How much of an interrupted item reached the caller."""

    item_id: str
    heard_ms: int
    """0: nothing, and the item is deleted rather than truncated."""
    received_ms: int
    """How much audio the session had delivered for it."""


@attrs.frozen
class PlayoutStarted:
    """The first audio of an item was handed to the carrier."""

    item_id: str
    response_id: str
    heard_from_ms: int | None = None
    """On the call's clock: when the caller begins to hear it, behind what is still playing."""


@attrs.frozen
class ItemHeard:
    """The carrier echoed the mark behind this much of an item: the caller heard it."""

    item_id: str
    heard_ms: int
    whole: bool
    """This was the last mark of an item that will have no more audio."""


@attrs.frozen
class PlayoutIdle:
    """Everything that was received has been heard, by the marks or by the clock."""

    by_mark: bool
    """False: the last mark is overdue and the clock had to say it."""


@attrs.frozen
class ToolStarted:
    """A tool's body began to run."""

    tool_call_id: str
    name: str


@attrs.frozen
class ToolFinished:
    """A tool call has its output."""

    tool_call_id: str
    name: str
    outcome: ToolOutcome
    output: str
    """JSON text for the model."""


@attrs.frozen
class ToolWaits:
    """A tool waits for the carrier, or for the caller. It is not slow."""

    tool_call_id: str


@attrs.frozen
class ToolWentOn:
    """It waits no more."""

    tool_call_id: str


@attrs.frozen
class OutputsReturned:
    """Every tool call of one response has its output, and the model should speak about them."""

    tool_call_ids: tuple[str, ...]


@attrs.frozen
class ResponseWanted:
    """Somebody wants the model to speak, as soon as there is room for it."""

    order: CreateResponse
    about: frozenset[str] = frozenset()
    """What a response has to know of to count as this one; empty: any that begins from now on.
    A name that is nobody's tool call: no other will do."""


@attrs.frozen
class CollectionEnded:
    """A tool waits for no more keys of the caller's."""


@attrs.frozen
class KeysSent:
    """Keys were sent to the far end, at the agent's wish."""

    digits: str


@attrs.frozen
class TransferEnded:
    """The agent wanted the caller to be connected to somebody else, and this became of it."""

    outcome: str
    """`answered`, and the caller has left; or `busy`, `no-answer`, ...: they are back; or
    `refused`: they never left."""


@attrs.frozen
class HangupAsked:
    """The model called `hangup`: end the call when its goodbye has been heard."""

    tool_call_id: str
    """Empty: not the model asked, but the call itself, which was silent for too long."""
    reason: str
    response_id: str | None
    """The response that asked; its own words belong to the goodbye. `None`: it was none."""
    beside: tuple[str, ...] = ()
    """Other tool calls of that response, whose outputs nobody has spoken about."""


@attrs.frozen
class ResponseUnwanted:
    """A response began that nobody needs any more; it is being cancelled, and not to be heard."""

    response_id: str


@attrs.frozen
class FloorTaken:
    """The gateway itself is about to speak, or to listen: the model is to say nothing meanwhile."""


@attrs.frozen
class FloorGiven:
    """The model may speak again."""


@attrs.frozen
class SayingEnded:
    """Nobody waits any more for what the gateway itself is saying: it stops, if it still plays."""

    item_id: str


@attrs.frozen
class ItemsAmended:
    """The conversation has to be told what the caller heard, behind any order to cancel."""

    orders: tuple[TruncateItem | DeleteItem, ...]


@attrs.frozen
class PlayoutFull:
    """A response is longer than anybody will listen to; the rest of it was not taken in."""

    response_id: str


CarrierFact = CallerAudio | KeyPressed | MarkEchoed | StreamLeft | StreamMoved | StreamStopped
SessionFact = (
    SessionLive
    | SpeechStarted
    | SpeechStopped
    | CallerTranscript
    | ResponseStarted
    | ItemAudio
    | ItemAudioDone
    | ItemTranscript
    | ResponseFinished
    | ToolOutputAccepted
    | OrderRefused
    | SessionLost
    | SessionMoved
    | ToolsAsked
    | RanElsewhere
)
CarrierOrder = Play | Mark | Clear
SessionOrder = (
    AppendAudio
    | CreateResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | ReturnToolOutput
    | ApproveRun
    | AddText
    | CommitAudio
    | ChangeSession
)

BargeInFact = (
    SpeechStarted
    | SpeechStopped
    | ResponseStarted
    | ItemAudio
    | ItemAudioDone
    | ResponseFinished
    | ResponseUnwanted
    | FloorTaken
    | FloorGiven
    | SayingEnded
    | MarkEchoed
    | StreamLeft
    | StreamMoved
    | SessionLost
    | SessionMoved
)
TurnFact = (
    SessionLive
    | SpeechStarted
    | SpeechStopped
    | ResponseStarted
    | ResponseFinished
    | ToolOutputAccepted
    | OutputsReturned
    | ResponseWanted
    | OrderRefused
    | ItemsAmended
    | PlayoutFull
    | FloorTaken
    | FloorGiven
    | SessionLost
    | SessionMoved
)
ToolFact = ResponseFinished | ToolsAsked | RanElsewhere | SessionLost
HangupFact = (
    HangupAsked
    | SpeechStarted
    | SpeechStopped
    | ResponseStarted
    | ResponseFinished
    | PlayoutStarted
    | PlayoutIdle
    | StreamLeft
    | StreamMoved
    | TransferEnded
)
KeypadFact = KeyPressed | SpeechStarted | SpeechStopped | SessionLost | CollectionEnded
