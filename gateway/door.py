"""Who may open a media stream: checks every upgrade and every `start` before anything is spent."""

from __future__ import annotations

from typing import Any, Final

import attrs
import structlog
import trio

from actors.errors import PeerGone, ProtocolError
from actors.wire.twilio import Start
from gateway.calls import Calls, Offer
from gateway.media import HangUp, Message, Receive, Send, TwilioCarrier
from gateway.origin import Origin

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MEDIA_PATH: Final = "/twilio/media"
START_S: Final = 5.0
"""From the upgrade to `start`. Twilio needs 10 ms."""
STRANGERS: Final = 64
"""Sockets that have not shown their token yet. Fewer would turn away a burst of calls."""


@attrs.define(eq=False)
class MediaDoor:
    """An ASGI application: `/twilio/media` itself, and everything else by `inner`."""

    inner: Any
    """ASGI's own types are one library's; any application fits."""
    origin: Origin
    calls: Calls
    hang_up_call: HangUp | None = None
    _strangers: int = attrs.field(default=0, init=False)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket" and _path(scope) == MEDIA_PATH:
            await self._serve(scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # `websocket.connect`, always
        flaw = self.origin.flaw(scope)
        if flaw is None and self._strangers >= STRANGERS:
            flaw = "too many sockets without a token"
        if flaw is not None:
            log.warning("stream.refused", reason=flaw)
            # Before `accept`, this is HTTP 403.
            await send({"type": "websocket.close", "code": 1008})
            return
        self._strangers += 1
        try:
            await send({"type": "websocket.accept"})
            carrier = TwilioCarrier(receive, send, self.hang_up_call)
            offer = await self._admit(carrier)
        finally:
            self._strangers -= 1
        if offer is not None:
            await self.calls.run(offer, carrier)
            # The call has closed it, unless it crashed.
            await carrier.aclose(1011)

    async def _admit(self, carrier: TwilioCarrier) -> Offer | None:
        """Let a stream in that belongs to an announced call; turn every other away."""
        reason = f"no start within {START_S:g} s"
        with trio.move_on_after(START_S):
            try:
                start = await carrier.introduce()
            except (PeerGone, ProtocolError) as error:
                reason = str(error)
            else:
                answer = _format_flaw(start) or self.calls.answer(start)
                if isinstance(answer, Offer):
                    return answer
                reason = answer
        log.warning("stream.refused", reason=reason)
        await carrier.aclose(1008)
        return None


def _format_flaw(start: Start) -> str | None:
    if (start.encoding, start.sample_rate_hz, start.channels) == ("audio/x-mulaw", 8000, 1):
        return None
    return "the media format is not one channel of mu-law at 8 kHz"


def _path(scope: Message) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
