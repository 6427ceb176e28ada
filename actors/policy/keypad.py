"""What becomes of the keys that the caller presses: told to the model together, or collected.

Pure: no trio, no sockets, no clock. Whoever is given digits here keeps them: a `repr` of these
values has none.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.policy.confirmation import Confirmation

PAUSE_MS: Final = 1_500.0
"""So long without a key, and the caller has typed what they wanted. People take half a second from
key to key, and a second to look at a card."""

HOLD_MS: Final = 10_000.0
"""The longest that keys wait for the caller to stop speaking."""

KEYS_MAX: Final = 64
"""So many are told without waiting for a pause: longer than any number people type."""

END_KEY: Final = "#"

TRAILING_MS: Final = 2_000.0
"""What still comes so soon after a collection belongs to it: the `#` behind a number that was
complete without it, or a digit too many."""


@attrs.frozen(kw_only=True)
class Collect:
    """Which keys a tool waits for. See `CallControl.collect_digits`."""

    most: int = attrs.field(validator=attrs.validators.ge(1))
    end_key: str | None = "#"
    first_s: float = 10.0
    between_s: float = 4.0
    private: bool = False
    fresh: bool = False


@attrs.define(eq=False)
class Collection:
    """Keys on their way to a tool."""

    asked: Collect
    began_ms: float
    digits: str = attrs.field(default="", repr=False)
    is_over: bool = attrs.field(default=False, init=False)
    """There is an end key, or there are enough."""
    _latest_ms: float | None = attrs.field(default=None, init=False)

    def press(self, digit: str, *, now_ms: float) -> None:
        """The caller pressed a key."""
        self._latest_ms = now_ms
        if digit == self.asked.end_key:
            self.is_over = True
        else:
            self.digits += digit
            self.is_over = len(self.digits) >= self.asked.most

    def due_ms(self) -> float:
        """When nobody waits for the next key any more."""
        if self._latest_ms is None:
            return self.began_ms + self.asked.first_s * 1000
        return self._latest_ms + self.asked.between_s * 1000


@attrs.frozen
class Told:
    """Keys for the model."""

    digits: str = attrs.field(repr=False)
    ends_turn: bool
    """The caller pressed `#` to say that they have finished speaking."""


@attrs.define(eq=False)
class Keypad:
    """Follows the keys of one call.

    Args:
        tells: Whether the model is told of any.
        hash_ends_turn: The `#` key is how the caller ends a turn, and is not told as a key.

    """

    tells: bool
    hash_ends_turn: bool = False
    caller_speaks: bool = attrs.field(default=False, init=False)
    collection: Collection | None = attrs.field(default=None, init=False)
    """What a tool waits for now."""
    _confirmation: Confirmation | None = attrs.field(default=None, init=False)
    """What the caller is being asked. Their keys are answers then, or nothing."""
    _digits: str = attrs.field(default="", init=False, repr=False)
    """Not told yet."""
    _latest_ms: float = attrs.field(default=0.0, init=False)
    _trailing: Collection | None = attrs.field(default=None, init=False)
    """The latest collection, and until when its keys still come."""
    _trailing_ms: float = attrs.field(default=0.0, init=False)

    @property
    def is_private(self) -> bool:
        """Whether the keys that come now are nobody's business."""
        latest = self.collection or self._trailing
        return latest is not None and latest.asked.private

    @property
    def is_asking(self) -> bool:
        """Whether the keys that come now are answers to a question."""
        return self._confirmation is not None

    def press(self, digit: str, *, now_ms: float) -> Told | None:
        """The caller pressed a key."""
        if self.collection is not None:
            self.collection.press(digit, now_ms=now_ms)
            return None
        if self._is_trailing(digit, now_ms):
            return None
        if self.hash_ends_turn and digit == END_KEY:
            return self._told(ends_turn=True)
        if self._confirmation is not None:
            self._confirmation.pressed(digit, now_ms=now_ms)
            return None
        if not self.tells:
            return None
        self._digits += digit
        self._latest_ms = now_ms
        is_complete = digit == END_KEY and not self.caller_speaks
        return self._told() if is_complete or len(self._digits) >= KEYS_MAX else None

    def collect(self, asked: Collect, *, now_ms: float) -> Collection:
        """A tool waits for keys.

        Those that nobody was told of yet count, unless they are to be fresh: somebody typed ahead.
        """
        collection = self.collection = Collection(asked, now_ms)
        ahead, self._digits, self._trailing = self._digits, "", None
        if asked.fresh:
            return collection
        for digit in ahead:
            if not collection.is_over:
                collection.press(digit, now_ms=now_ms)
        return collection

    def collected(self, *, now_ms: float) -> None:
        """The tool has its keys, or waits no more."""
        self._trailing, self.collection = self.collection, None
        self._trailing_ms = now_ms + TRAILING_MS

    def asks(self, confirmation: Confirmation) -> None:
        """The caller is going to be asked. What they typed ahead of it is no answer, nor news."""
        self._confirmation, self._digits = confirmation, ""

    def asked(self, *, now_ms: float) -> None:
        """The caller has answered, or nobody waits for it any more; a `#` may trail."""
        self._confirmation = None
        self._trailing = Collection(Collect(most=1), now_ms)
        self._trailing_ms = now_ms + TRAILING_MS

    def due_ms(self) -> float | None:
        """When `tick` has something to do, if nothing happens before."""
        due = []
        if self._trailing is not None:
            due.append(self._trailing_ms)
        if self._digits:
            due.append(self._latest_ms + (HOLD_MS if self.caller_speaks else PAUSE_MS))
        return min(due, default=None)

    def tick(self, *, now_ms: float) -> Told | None:
        """Act on time that has passed."""
        if self._trailing is not None and now_ms >= self._trailing_ms:
            self._trailing = None
        wait_ms = HOLD_MS if self.caller_speaks else PAUSE_MS
        if not self._digits or now_ms < self._latest_ms + wait_ms:
            return None
        return self._told()

    def _told(self, *, ends_turn: bool = False) -> Told:
        digits, self._digits = self._digits, ""
        return Told(digits, ends_turn)

    def _is_trailing(self, digit: str, now_ms: float) -> bool:
        if self._trailing is None or now_ms >= self._trailing_ms:
            return False
        return self._trailing.asked.private or digit == self._trailing.asked.end_key
