"""Whether anybody is doing anything on a call: the caller, the agent, a tool, or nobody.

Pure: no trio, no sockets, no clock. It is told what was noted of the call, in any order that a call
can have, and needs no response or turn to exist.
"""

from __future__ import annotations

import attrs

from actors.messages import (
    KeyPressed,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    ToolFinished,
    ToolStarted,
)

ActivityFact = (
    SessionLive
    | SessionLost
    | SessionMoved
    | SpeechStarted
    | SpeechStopped
    | ResponseStarted
    | ResponseFinished
    | PlayoutStarted
    | PlayoutIdle
    | KeyPressed
    | ToolStarted
    | ToolFinished
    | StreamLeft
    | StreamMoved
)


@attrs.define(eq=False)
class Activity:
    """Follows one call. Before its session is live, the call itself is busy."""

    caller_speaks: bool = attrs.field(default=False, init=False)
    _is_live: bool = attrs.field(default=False, init=False)
    """Whether there is a session."""
    _is_away: bool = attrs.field(default=False, init=False)
    """Whether the call is being moved about by the carrier, at our word."""
    _response_id: str | None = attrs.field(default=None, init=False)
    """Of the response being made."""
    _is_playing: bool = attrs.field(default=False, init=False)
    _tools: set[str] = attrs.field(factory=set[str], init=False)
    """Those that run."""

    def note(self, fact: ActivityFact) -> None:
        """Learn what happened."""
        match fact:
            case SessionLive() | SessionMoved():
                self._is_live = True
            case SessionLost():
                self._is_live, self._response_id, self.caller_speaks = False, None, False
            case SpeechStarted() | SpeechStopped():
                self.caller_speaks = isinstance(fact, SpeechStarted)
            case ResponseStarted(response_id):
                self._response_id = response_id
            case ResponseFinished():
                # There is one at a time; a lost end must not count forever.
                self._response_id = None
            case PlayoutStarted() | PlayoutIdle():
                self._is_playing = isinstance(fact, PlayoutStarted)
            case ToolStarted(tool_call_id):
                self._tools.add(tool_call_id)
            case ToolFinished(tool_call_id):
                self._tools.discard(tool_call_id)
            case StreamLeft() | StreamMoved():
                self._is_away = isinstance(fact, StreamLeft)
            case KeyPressed():
                pass

    @property
    def is_busy(self) -> bool:
        """Whether anybody but the caller is doing something: then nobody is silent."""
        return (
            not self._is_live
            or self._is_away
            or self._response_id is not None
            or self._is_playing
            or bool(self._tools)
        )

    @property
    def is_still(self) -> bool:
        """Whether there is nothing to be heard from anybody, though a tool may run."""
        return (
            self._is_live
            and not (self._is_away or self._is_playing or self.caller_speaks)
            and self._response_id is None
        )

    @property
    def is_nobodys(self) -> bool:
        """Whether nobody does anything, so that something can be said."""
        return not (self.is_busy or self.caller_speaks)
