"""What a live call needs of the world to be moved about: REST, tokens, and its own address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from actors.errors import CarrierRefused
from actors.wire.twilio import Start


class Mover(Protocol):
    """How a live call is moved about."""

    @property
    def lacks(self) -> str | None:
        """Why it cannot be; `None`: it can."""

    async def redirect(self, start: Start, document: str) -> None:
        """Let the call go on with this document: see `TwilioRest.redirect`."""

    def new_token(self, ttl_s: float) -> str | None:
        """Let one more stream in, if it comes in time; `None`: the call is over."""

    def new_key(self) -> str:
        """Make a name that nobody can guess."""

    def url(self, path: str, *, stream: bool = False) -> str:
        """The address of one of our routes as Twilio is to request it."""


@attrs.frozen
class TwilioMover:
    """Moves the calls of one account. Fits `Mover`."""

    lacks: str | None
    _redirect: Callable[[Start, str], Awaitable[None]] | None
    _new_token: Callable[[float], str | None]
    _new_key: Callable[[], str]
    _url: Callable[..., str]

    async def redirect(self, start: Start, document: str) -> None:
        """See `Mover`."""
        if self._redirect is None:
            raise CarrierRefused(self.lacks or "there is no REST interface")
        await self._redirect(start, document)

    def new_token(self, ttl_s: float) -> str | None:
        """See `Mover`."""
        return self._new_token(ttl_s)

    def new_key(self) -> str:
        """See `Mover`."""
        return self._new_key()

    def url(self, path: str, *, stream: bool = False) -> str:
        """See `Mover`."""
        return self._url(path, stream=stream)
