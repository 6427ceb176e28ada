"""Who may open a media stream: checks every upgrade and every `start` before anything is spent."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import attrs
import structlog
import trio

from actors.errors import PeerGone, ProtocolError
from actors.wire.twilio import Start
from gateway.calls import ENDING_S, Calls, Line, Offer
from gateway.twilio.media import HangUp, Message, Receive, Send, TwilioCarrier
from gateway.twilio.mover import TwilioMover
from gateway.twilio.origin import Origin
from gateway.twilio.phone_line import MEDIA_PATH, PhoneLine, Stream
from gateway.twilio.twilio_rest import TwilioRest

log: structlog.stdlib.BoundLogger = structlog.get_logger()

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
    rest: TwilioRest | None = None
    """Moves calls about; `None`: they stay where they are."""
    rest_lacks: str | None = "there is none"
    """Which setting is missing for it."""
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
            answer = await self._admit(carrier)
        finally:
            self._strangers -= 1
        if isinstance(answer, Offer):
            stream = Stream(carrier)
            line = PhoneLine(stream, self._mover(scope, answer.call_sid))
            self.calls.begin(answer, line)
            await self._host(line, stream)
        elif isinstance(answer, PhoneLine):
            joined = answer.join(carrier)
            if joined is None:
                log.warning("stream.refused", reason="the call does not wait for a stream")
                await carrier.aclose(1008)
            else:
                await self._host(answer, joined)

    async def _host(self, line: PhoneLine, stream: Stream) -> None:
        """Keep a socket for as long as its call needs it."""
        try:
            await stream.released.wait()
        finally:
            # Cancelled: whoever serves this socket wants it gone, and the call with it unless it
            # is about to go on over another. The call says its goodbyes over this one.
            if line.is_needed(stream):
                self.calls.kill(stream.carrier.start.call_sid, "its connection is being closed")
                with trio.move_on_after(ENDING_S, shield=True):
                    await stream.released.wait()
        # Whoever left it has closed it, unless the call crashed.
        await stream.carrier.aclose(1000 if stream.end is not None else 1011)

    def _mover(self, scope: Message, call_sid: str) -> TwilioMover:
        return TwilioMover(
            None if self.rest is not None else self.rest_lacks,
            None if self.rest is None else self.rest.redirect,
            partial(self.calls.another_token, call_sid),
            self.calls.new_key,
            partial(self.origin.url, dict(scope)),
        )

    async def _admit(self, carrier: TwilioCarrier) -> Offer | Line | None:
        """Let a stream in that belongs to an announced or a live call; turn every other away."""
        reason = f"no start within {START_S:g} s"
        with trio.move_on_after(START_S):
            try:
                start = await carrier.introduce()
            except (PeerGone, ProtocolError) as error:
                reason = str(error)
            else:
                answer = _format_flaw(start) or self.calls.answer(start)
                if not isinstance(answer, str):
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
