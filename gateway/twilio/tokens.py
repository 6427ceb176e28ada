"""Single-use stream tokens: the tie between a signed webhook and the stream that follows it.

Pure: time and randomness come from outside. A Twilio signature carries no time and can be
replayed for ever, so what keeps a stolen request from opening a second session is this book.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from itertools import takewhile
from typing import Final, Literal

import attrs

TOKEN_TTL_S: Final = 30.0
"""From the webhook to `start`. Twilio needs about half a second; its own limit is 15 s."""

REMEMBERED_S: Final = 4 * 3600.0
"""How long an ended CallSid is remembered: Twilio's longest call."""

REMEMBERED: Final = 200_000
"""Most CallSids remembered. Fewer would refuse calls at 14 new calls a second; more costs memory
(about 200 bytes each)."""

Flaw = Literal["unknown", "used", "expired", "foreign"]
"""Why a token opens nothing. `foreign`: bound to another call or another account."""


@attrs.frozen
class _Entry:
    account_sid: str
    nonce: bytes
    digest: bytes
    expires_at_s: float
    used: bool = False
    again: tuple[bytes, float] | None = None
    """For another stream of the same call: a token's digest, and when it expires."""


@attrs.define(eq=False)
class StreamTokens:
    """The tokens of live calls, and the memory of the calls that had one.

    Args:
        random_bytes: A cryptographic source, `secrets.token_bytes`.
        ttl_s: How long a token waits for its stream.
        remembered: Most CallSids known at a time, live and ended. When the book is full, no call
            gets a token: forgetting one would let it be replayed.
        remembered_s: How long an ended CallSid is remembered.

    """

    random_bytes: Callable[[int], bytes]
    ttl_s: float = TOKEN_TTL_S
    remembered: int = REMEMBERED
    remembered_s: float = REMEMBERED_S
    _key: bytes = attrs.field(init=False, repr=False)
    _live: dict[str, _Entry] = attrs.field(factory=dict, init=False, repr=False)
    _ended_at_s: dict[str, float] = attrs.field(factory=dict, init=False, repr=False)
    """Oldest first: time only moves forward, and a CallSid ends once."""

    def __attrs_post_init__(self) -> None:
        self._key = self.random_bytes(32)

    def mint(self, call_sid: str, account_sid: str, now_s: float) -> str | None:
        """Give out the token of a call: a new one, or again the one a live call already has.

        Returns:
            `None` when this call is over, belongs to another account, or the book is full.

        """
        self._forget(now_s)
        if call_sid in self._ended_at_s:
            return None
        entry = self._live.get(call_sid)
        if entry is None:
            if len(self._live) + len(self._ended_at_s) >= self.remembered:
                return None
            nonce = self.random_bytes(32)
            token = self._token(call_sid, account_sid, nonce)
            self._live[call_sid] = _Entry(
                account_sid, nonce, _digest(token), expires_at_s=now_s + self.ttl_s
            )
            return token
        if entry.account_sid != account_sid:
            return None
        return self._token(call_sid, account_sid, entry.nonce)

    def mint_another(self, call_sid: str, now_s: float, ttl_s: float | None = None) -> str | None:
        """Give out a token for another stream of a live call. The one before it opens nothing.

        It is nobody's answer to a webhook that can be replayed, so it is new each time.

        Args:
            call_sid: The call.
            now_s: On the clock of all times here.
            ttl_s: How long it waits for its stream; `None`: as long as a first one.

        Returns:
            `None` when the call is not live, or its first stream has not come.

        """
        entry = self._live.get(call_sid)
        if entry is None or not entry.used:
            return None
        token = self._token(call_sid, entry.account_sid, self.random_bytes(32))
        again = (_digest(token), now_s + (self.ttl_s if ttl_s is None else ttl_s))
        self._live[call_sid] = attrs.evolve(entry, again=again)
        return token

    def redeem(self, token: str, call_sid: str, account_sid: str, now_s: float) -> Flaw | None:
        """Use a token up. `None` means that it opens this call's stream."""
        entry = self._live.get(call_sid)
        if entry is None:
            return "used" if call_sid in self._ended_at_s else "unknown"
        if entry.again is not None and entry.account_sid == account_sid:
            digest, expires_at_s = entry.again
            if hmac.compare_digest(digest, _digest(token)):
                self._live[call_sid] = attrs.evolve(entry, again=None)
                return None if now_s < expires_at_s else "expired"
        fits = hmac.compare_digest(entry.digest, _digest(token))
        if not fits or entry.account_sid != account_sid:
            return "foreign"
        if entry.used:
            return "used"
        if now_s >= entry.expires_at_s:
            return "expired"
        self._live[call_sid] = attrs.evolve(entry, used=True)
        return None

    def end(self, call_sid: str, now_s: float) -> None:
        """Remember that a call is over: it never gets a token again. Idempotent."""
        if self._live.pop(call_sid, None) is not None:
            self._ended_at_s[call_sid] = now_s

    def _token(self, call_sid: str, account_sid: str, nonce: bytes) -> str:
        # Derived and not stored, so that a repeated webhook gets the same answer to the letter
        # and the book itself opens nothing.
        text = b"\0".join((nonce, call_sid.encode(), account_sid.encode()))
        token = hmac.digest(self._key, text, "sha256")
        return urlsafe_b64encode(token).rstrip(b"=").decode("ascii")

    def _forget(self, now_s: float) -> None:
        limit_s = now_s - self.remembered_s
        outdated = takewhile(lambda item: item[1] <= limit_s, self._ended_at_s.items())
        for call_sid, _ in list(outdated):
            del self._ended_at_s[call_sid]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
