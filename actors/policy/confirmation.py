"""A question that the caller answers by yes or no: what counts as an answer, and when.

Pure: no trio, no clock. Nothing counts that began before the question had been heard to its end,
and nobody counts but the caller: no words of a model's ever get here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import attrs

from actors.policy.assent import Meaning, meaning_of

Answered = Literal["yes", "no", "other", "silence"]

KEYS: Final[dict[str, Answered]] = {"1": "yes", "2": "no"}

KEY_ALONE_MS: Final = 1_000.0
"""So long no other key may follow: whoever types a number that begins with 1 has not said yes.
People take half a second from key to key."""

KEYS_MAX: Final = 32
END_KEY: Final = "#"

LAST_WORDS_MS: Final = 3_000.0
"""How long a spoken yes waits for the words of what the caller said behind it: it may have been
"but not today". Recognisers take a second or two; of a noise there are never any words."""

TURNS_MAX: Final = 64
"""Turns of the caller that are remembered: more than anybody takes in half a minute."""


@attrs.define(eq=False)
class Confirmation:
    """Follows one question from before it is said. All times are ms on the call's clock.

    Args:
        within_ms: How long an answer is waited for, from when the question was heard.
        understand: What an utterance means.

    """

    within_ms: float
    understand: Callable[[str], Meaning] = meaning_of
    reply: Answered | None = attrs.field(default=None, init=False)
    """Once there is one, it stays."""
    _heard_ms: float | None = attrs.field(default=None, init=False)
    """When the caller had heard the question to its end."""
    _began_ms: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    """When the caller's turns began, by their items; until there are words of them."""
    _keys: str = attrs.field(default="", init=False, repr=False)
    """Pressed one after the other."""
    _key_ms: float = attrs.field(default=0.0, init=False)
    _speaking: str | None = attrs.field(default=None, init=False)
    _stopped_ms: float = attrs.field(default=0.0, init=False)
    """When the caller stopped speaking last."""
    _has_said_yes: bool = attrs.field(default=False, init=False)
    _yes_ms: float = attrs.field(default=0.0, init=False)

    def heard(self, *, now_ms: float) -> None:
        """The caller has heard the question to its end. From here on answers count."""
        self._heard_ms = now_ms

    def unheard(self) -> None:
        """The question is being asked again, from its beginning."""
        self._heard_ms, self._keys = None, ""

    def pressed(self, digit: str, *, now_ms: float) -> None:
        """The caller pressed a key. It answers when it stays alone, or has a `#` behind it."""
        if not self._counts(now_ms) or self._is_over(now_ms):
            return
        if self._keys and digit == END_KEY:
            self._conclude(KEYS.get(self._keys, "other"))
        elif len(self._keys) < KEYS_MAX:
            self._keys += digit
        self._key_ms = now_ms

    def speech_started(self, item_id: str, *, began_ms: float) -> None:
        """The caller speaks.

        Args:
            item_id: What the turn is going to be.
            began_ms: When their voice began, and not when that was noticed.

        """
        self._speaking = item_id
        if len(self._began_ms) < TURNS_MAX or item_id in self._began_ms:
            # A turn that a second session hears again began when it first did; and not behind what
            # that session hears of it, if it divides what was said otherwise.
            self._began_ms[item_id] = min(began_ms, self._began_ms.get(item_id, began_ms))

    def speech_stopped(self, *, now_ms: float) -> None:
        """The caller is silent."""
        self._speaking, self._stopped_ms = None, now_ms

    def understood(self, item_id: str, text: str, *, now_ms: float) -> None:
        """There are words of a turn of the caller's."""
        began_ms = self._began_ms.pop(item_id, None)
        if began_ms is None or not self._counts(began_ms) or self._is_over(now_ms):
            return
        match self.understand(text):
            case "yes":
                if not self._has_said_yes:
                    self._has_said_yes, self._yes_ms = True, now_ms
            case "no":
                self._conclude("no")
            case "other":
                self._conclude("other")
            case "nothing":
                pass
        self.tick(now_ms=now_ms)

    def due_ms(self) -> float | None:
        """When `tick` has something to do, if nothing happens before."""
        if self.reply is not None or self._heard_ms is None:
            return None
        ends_ms = self._heard_ms + self.within_ms
        if self._keys:
            return min(ends_ms, self._key_ms + KEY_ALONE_MS)
        if self._has_said_yes and self._speaking is None:
            return min(ends_ms, max(self._yes_ms, self._stopped_ms) + LAST_WORDS_MS)
        return ends_ms

    def tick(self, *, now_ms: float) -> None:
        """Act on time that has passed, and on a yes behind which nothing more was said."""
        if self.reply is not None or self._heard_ms is None:
            return
        due_ms = self.due_ms()
        is_due = due_ms is not None and now_ms >= due_ms
        if self._keys:
            if is_due:
                self._conclude(KEYS.get(self._keys, "other"))
        elif self._has_said_yes and self._speaking is None and (is_due or not self._is_open):
            self._conclude("yes")
        elif self._is_over(now_ms):
            # Whoever has said yes and still speaks may be about to take it back.
            self._conclude("other" if self._has_said_yes else "silence")

    @property
    def _is_open(self) -> bool:
        """Whether the caller said something that counts, of which there are no words yet."""
        return any(self._counts(began_ms) for began_ms in self._began_ms.values())

    def _counts(self, began_ms: float) -> bool:
        """Whether something that began then is an answer."""
        return self._heard_ms is not None and began_ms > self._heard_ms

    def _is_over(self, now_ms: float) -> bool:
        return self._heard_ms is not None and now_ms >= self._heard_ms + self.within_ms

    def _conclude(self, reply: Answered) -> None:
        if self.reply is None:
            self.reply = reply
