"""May we hang up yet? When the goodbye was heard, and not before; not when the caller speaks.

Pure: no trio, no sockets, no clock.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final

import attrs

from actors.messages import HangupAsked

GRACE_MS: Final = 250.0
"""From the last mark's echo to the line's end: the mark says that the carrier played it, and the
phone network behind it is still carrying it. Source: telephony practice, 200 to 300 ms."""

GOODBYE_MAX_MS: Final = 30_000.0
"""The longest goodbye waited for. A response that never ends must not keep a line open."""

SETTLED: Final = 8
"""Finished responses remembered. A request reaches us within milliseconds of its response's end."""


class Answer(Enum):
    """What becomes of a request to hang up."""

    WAITING = auto()
    """For the goodbye to be heard."""
    ALREADY = auto()
    """An earlier request waits."""
    CALLED_OFF = auto()
    """The caller has spoken since, or was not connected to whom they were to be."""


@attrs.define(eq=False)
class Farewell:
    """Follows playout, and knows whether a hang-up that was asked for may happen."""

    asked: HangupAsked | None = attrs.field(default=None, init=False)
    heard_by_mark: bool = attrs.field(default=True, init=False)
    """Whether the latest playout ended with its mark, and not by the clock."""
    _is_away: bool = attrs.field(default=False, init=False)
    """The caller hears nothing: what is said is held back until there is a stream again."""
    _playing: bool = attrs.field(default=False, init=False)
    _generating: set[str] = attrs.field(factory=set[str], init=False)
    _settled: deque[str] = attrs.field(factory=lambda: deque(maxlen=SETTLED), init=False)
    """The latest responses of which all audio is known to be playing, or played."""
    _void: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Responses that the caller has spoken over, or that sent them elsewhere in vain: what they
    ask for is called off already."""
    _caller_speaks: bool = attrs.field(default=False, init=False)
    _asked_ms: float = attrs.field(default=0.0, init=False)
    _quiet_ms: float = attrs.field(default=0.0, init=False)
    """Since when nothing is generated or played."""

    def asks(self, asked: HangupAsked, *, now_ms: float) -> Answer:
        """The agent wants to hang up."""
        if self._caller_speaks or asked.response_id in self._void:
            return Answer.CALLED_OFF
        if self.asked is not None:
            return Answer.ALREADY
        self.asked, self._asked_ms = asked, now_ms
        return Answer.WAITING

    def called_off(self) -> HangupAsked | None:
        """The caller spoke. Returns the request that is void now, if there was one."""
        self._caller_speaks = True
        return self.caller_stayed()

    def caller_stayed(self) -> HangupAsked | None:
        """The caller was to be connected elsewhere, and was not. Returns as `called_off` does.

        Whatever meant to hang up behind that is void: it thought that they had left.
        """
        self._void = frozenset({*self._generating, *self._settled})
        asked, self.asked = self.asked, None
        return asked

    def caller_stopped(self) -> None:
        """The caller has finished."""
        self._caller_speaks = False

    def response_started(self, response_id: str) -> None:
        """More may be said."""
        self._generating.add(response_id)
        self.heard_by_mark = True

    def response_finished(self, response_id: str, *, now_ms: float) -> None:
        """All that this response says is playing, or has been played."""
        self._generating.clear()  # There is only one at a time; a lost end must not count forever.
        self._settled.append(response_id)
        self._quiet_ms = now_ms

    def playout_started(self) -> None:
        """The caller is hearing something."""
        self._playing = True

    def playout_idle(self, *, by_mark: bool, now_ms: float) -> None:
        """The caller has heard everything."""
        self._playing = False
        self.heard_by_mark = by_mark
        self._quiet_ms = now_ms

    def moved(self, *, is_away: bool, now_ms: float) -> None:
        """There is no stream on which a goodbye could be heard; or there is one again."""
        self._is_away = is_away
        self._quiet_ms = now_ms

    def due_ms(self) -> float | None:
        """When to hang up, if nothing happens before; `None` when nobody asked."""
        if self.asked is None:
            return None
        latest_ms = self._asked_ms + GOODBYE_MAX_MS
        asked_in = self.asked.response_id
        is_settled = asked_in is None or asked_in in self._settled
        if not self.is_quiet or not is_settled:
            return latest_ms
        return min(latest_ms, max(self._asked_ms, self._quiet_ms + GRACE_MS))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is generated, played or held back."""
        return not (self._playing or self._generating or self._is_away)

    def goodbye_heard(self) -> bool:
        """Whether everything was said and heard, as far as marks can tell."""
        return self.heard_by_mark and self.is_quiet
