"""The calls that we place: the tie between a request to the carrier and whoever answers it.

Pure: time and randomness come from outside. The carrier asks for a document when somebody answers,
at an address with a key in it. The key says what the call is for; what lets the call in is the
same as with every other: the signature, its token, and the limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import attrs

PLACED: Final = "placed"
"""The name of a key in an address: not one that somebody's own addresses have."""
RING_S: Final = 30
"""How long it rings, about. Twilio adds up to 5 s."""
ANSWERED_S: Final = 600.0
"""From the request to the answer, at the latest. Twilio places one call per second and account, and
lets the others wait."""
SPARE_S: Final = 60.0
"""For the news that a call is over. When it never comes, it is taken to be over then."""
AT_ONCE: Final = 100
"""Calls that are placed and not over, over all callers."""


@attrs.frozen(kw_only=True)
class OutgoingCall:
    """A call that was placed, or is about to be."""

    to: str = attrs.field(repr=False)
    """E.164."""
    from_number: str = attrs.field(repr=False)
    """Ours."""
    task: str = attrs.field(repr=False)
    """What it is for, in the words of whoever wanted it."""
    agent: str
    """The name of the agent that talks."""
    placed_by: str
    """The CallSid of the call in which it was asked for."""
    longest_s: float
    """How long it may last, once answered."""


@attrs.frozen
class _Placed:
    call: OutgoingCall
    at_s: float
    call_sid: str | None = None
    """`None`: it is not known yet, or never was."""


@attrs.define(eq=False)
class OutgoingCalls:
    """The book of them. A restart forgets it: whoever answers then hears nobody.

    Args:
        random_bytes: A cryptographic source, `secrets.token_bytes`.
        has_room: Whether the gateway would take one more call.

    """

    random_bytes: Callable[[int], bytes]
    has_room: Callable[[], bool] = lambda: True
    _placed: dict[bytes, _Placed] = attrs.field(
        factory=dict[bytes, _Placed], init=False, repr=False
    )
    """By the digest of the key, so that the book itself opens nothing."""

    def plan(self, call: OutgoingCall, now_s: float) -> str | None:
        """Enter a call before it is placed, and return its key.

        Returns:
            `None` while another one of the same caller's is not over, or there are too many.

        """
        self._forget(now_s)
        theirs = any(one.call.placed_by == call.placed_by for one in self._placed.values())
        if theirs or len(self._placed) >= AT_ONCE:
            return None
        key = self.random_bytes(24).hex()
        self._placed[_digest(key)] = _Placed(call, now_s)
        return key

    def withdraw(self, key: str) -> None:
        """Forget a call that certainly was not placed. Idempotent."""
        self._placed.pop(_digest(key), None)

    def placed(self, key: str, call_sid: str) -> None:
        """Note what the carrier calls it. No other call is let in by this key."""
        found = self._placed.get(_digest(key))
        if found is not None and found.call_sid is None:
            self._placed[_digest(key)] = attrs.evolve(found, call_sid=call_sid)

    def answered(
        self, key: str, call_sid: str, *, from_number: str, to: str, now_s: float
    ) -> OutgoingCall | None:
        """What a call is for that somebody answered; `None`: we did not place it, or it is over.

        A repeated request for the same call gets the same.

        Args:
            key: As the carrier gave it back.
            call_sid: Of the call.
            from_number: As the carrier has it, likewise `to`: what was dialled is what was checked.
            to: See there.
            now_s: On the clock of all times here.

        """
        self._forget(now_s)
        found = self._placed.get(_digest(key))
        if found is None or (found.call.from_number, found.call.to) != (from_number, to):
            return None
        if found.call_sid is None:
            self.placed(key, call_sid)
        elif found.call_sid != call_sid:
            return None
        return found.call

    def ended(self, key: str, call_sid: str) -> OutgoingCall | None:
        """Note that a call is over, answered or not. Returns it, once."""
        found = self._placed.get(_digest(key))
        if found is None or found.call_sid not in {None, call_sid}:
            return None
        del self._placed[_digest(key)]
        return found.call

    def _forget(self, now_s: float) -> None:
        """Drop what cannot be going on any more."""
        for digest, one in list(self._placed.items()):
            if now_s >= one.at_s + ANSWERED_S + one.call.longest_s + SPARE_S:
                del self._placed[digest]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
