"""The media WebSocket: Twilio's stream as a `Carrier`.

An ASGI application of its own in front of the web framework: one hop and no second queue, so that
a frame that arrived is a frame the call can have, and a peer that left is known to have left.
Source: "Media Streams: WebSocket Messages", Twilio docs; "HTTP & WebSocket ASGI Message Format".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol, runtime_checkable

import attrs
import structlog
import trio

from actors.errors import CarrierRefused, PeerGone, ProtocolError
from actors.messages import CallerAudio, CarrierFact, CarrierOrder
from actors.ports import Transfer, TransferOutcome
from actors.wire import twilio
from gateway.records.tap import Content, Place, Tap, Unsent, from_phone, malformed, to_phone

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HangUp = Callable[[twilio.Start], Awaitable[bool]]

SILENT_S: Final = 5.0
"""A line without a frame for so long is dead: Twilio sends 50 a second, also of silence."""
SEND_S: Final = 1.0
"""One order. Twilio reads at once; a socket that is full for a second is not coming back."""
CLOSE_S: Final = 0.2
"""The closing handshake, as a courtesy: part of the 250 ms in which a call is gone."""
LARGEST_BYTES: Final = 16 * 1024
"""One message. Twilio's are 400 bytes; 16 KiB is one second and a half of audio."""
BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What sending raises when the peer is gone."""
MALFORMED: Final = 10
MALFORMED_S: Final = 10.0
"""So many malformed messages in so many seconds, and the peer is not Twilio."""
EARLY_MEDIA: Final = 50
"""Frames before `start` that are forgiven: one second."""


@runtime_checkable
class Tapped(Protocol):
    """A carrier whose sockets somebody can be told of, in the words of Twilio's streams."""

    tap: Tap | None
    """Is told what crosses them. To be set before the call."""

    @property
    def start(self) -> twilio.Start:
        """What the stream said about itself."""


@attrs.define(eq=False)
class TwilioCarrier:
    """An accepted Twilio socket. After `introduce` it is a `Carrier`.

    Args:
        receive: ASGI's, of an accepted WebSocket.
        send: ASGI's.
        hang_up_call: Ends a phone call by REST; `None`: closing the stream has to do.

    """

    _receive: Receive
    _send: Send
    _hang_up_call: HangUp | None = None
    place: Callable[[CallerAudio], CallerAudio] | None = attrs.field(default=None, init=False)
    """Moves the caller's audio on the line's clock, before anybody is told of it."""
    tap: Tap | None = attrs.field(default=None, init=False)
    """Is told what crosses the socket. To be set between `introduce` and the call."""
    keys_hidden: bool = attrs.field(default=False, init=False)
    """Whether the tap is told of keys only that there were some."""
    malformed: int = attrs.field(default=0, init=False)
    """Messages dropped because they could not be read."""
    _start: twilio.Start | None = attrs.field(default=None, init=False)
    _malformed_at_s: deque[float] = attrs.field(
        factory=lambda: deque[float](maxlen=MALFORMED), init=False
    )
    fell_silent: bool = attrs.field(default=False, init=False)
    """It was given up because nothing came, and nobody closed it."""
    _silent_s: float = attrs.field(default=0.0, init=False)
    """How long nothing has come, in all waits since something did."""
    _gone: PeerGone | None = attrs.field(default=None, init=False)
    """Why nothing more can be sent."""
    _disconnected: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def start(self) -> twilio.Start:
        """What the stream said about itself. Only after `introduce`."""
        if self._start is None:
            raise AssertionError("the stream was not introduced")
        return self._start

    async def introduce(self) -> twilio.Start:
        """Wait for `start`. Cancellable; the caller sets the deadline.

        Raises:
            PeerGone: The peer left, or fell silent.
            ProtocolError: It sent something else, or too much of it.

        """
        early = 0
        while True:
            match await self._next():
                case twilio.Start() as start:
                    self._start = start
                    return start
                case CallerAudio():
                    early += 1
                    if early > EARLY_MEDIA:
                        await self.aclose(1002)
                        raise ProtocolError("carrier", "media before start, and no end of it")
                case _:
                    pass

    async def receive(self) -> CarrierFact:
        """Wait for the next fact: see `Carrier`."""
        while True:
            match await self._next():
                case twilio.Start() as start:
                    if start != self._start:
                        await self.aclose(1008)
                        raise ProtocolError("carrier", "a second start, and a different one")
                case twilio.Connected() | twilio.Unrecognised():
                    pass
                case fact:
                    return fact

    async def send(self, order: CarrierOrder) -> None:
        """Carry out one order: see `Carrier`."""
        # Sending to a peer that has left neither raises nor checkpoints in every server there
        # is; without this, a loop of sends would be the last thing this process does.
        await trio.lowlevel.checkpoint()
        if self._gone is not None:
            raise self._gone
        text = twilio.encode(order, self.start.stream_sid)
        unsent = Unsent(self._note, "phone.closed", trio.current_time)
        with trio.move_on_after(SEND_S) as patience, unsent:
            try:
                await self._send({"type": "websocket.send", "text": text})
            except BROKEN as error:
                self._note("phone.closed", ["broken"])
                self._gone = PeerGone("carrier", None, "the socket is broken")
                raise self._gone from error
        if patience.cancelled_caught:
            self._gone = PeerGone("carrier", None, f"took no order for {SEND_S:g} s")
            raise self._gone
        if self.tap is not None:
            self.tap.note("phone.out", to_phone(order, with_audio=self.tap.with_audio))

    async def hang_up(self) -> None:
        """End the phone call: see `Carrier`.

        Without REST credentials nothing happens here: `<Hangup/>` stands behind the stream.
        """
        self._note("phone.hang_up", ["stream" if self._hang_up_call is None else "rest"])
        if self._hang_up_call is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._hang_up_call(self.start)

    async def press(self, digits: str) -> None:
        """Send keys: see `Carrier`."""
        await trio.lowlevel.checkpoint()
        raise CarrierRefused(f"{len(digits)} keys cannot be sent without Twilio's REST interface")

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """Connect the caller to somebody else: see `Carrier`."""
        await trio.lowlevel.checkpoint()
        raise CarrierRefused(f"nobody can be reached in {to.ring_s:g} s without Twilio's REST")

    def hide_keys(self, hidden: bool) -> None:
        """Keep keys out of the log: see `Carrier`."""
        self.keys_hidden = hidden

    async def aclose(self, code: int = 1000) -> None:
        """Close the stream: see `Carrier`. Takes `CLOSE_S` at most."""
        if self._gone is None:
            self._note("phone.closed", ["us", code])
            self._gone = PeerGone("carrier", code, "the stream was closed by us")
            with trio.move_on_after(CLOSE_S), suppress(OSError, trio.BrokenResourceError):
                await self._send({"type": "websocket.close", "code": code})
                # Until the peer has answered: closing TCP under unread frames resets it, and
                # then the peer may never read why.
                while not self._disconnected.is_set():
                    await self._message()
        await trio.lowlevel.checkpoint()

    async def _next(self) -> twilio.Frame:
        """Wait for the next message that can be read."""
        while True:
            # Whoever reads may be called away and come back: time that they waited before counts.
            began_s = trio.current_time()
            try:
                with trio.fail_after(max(0.0, SILENT_S - self._silent_s)):
                    text = await self._text()
            except trio.TooSlowError:
                self.fell_silent = True
                silent = PeerGone("carrier", None, f"silent for {SILENT_S:g} s")
                raise silent from None
            finally:
                self._silent_s += trio.current_time() - began_s
            self._silent_s = 0.0
            try:
                frame = twilio.decode(text)
            except ProtocolError as error:
                self._note("phone.in", malformed("" if self.keys_hidden else text, error.what))
                await self._count_malformed(error)
            else:
                if self.place is not None and isinstance(frame, CallerAudio):
                    frame = self.place(frame)
                if self.tap is not None:
                    content = from_phone(
                        frame, with_audio=self.tap.with_audio, keys_hidden=self.keys_hidden
                    )
                    self.tap.note("phone.in", content)
                return frame

    async def _text(self) -> str:
        message = await self._message()
        if message["type"] == "websocket.disconnect":
            raise self._gone or PeerGone("carrier", message.get("code"), "left")
        text = message.get("text")
        if not isinstance(text, str):
            self._note("phone.in", ["binary"])
            await self.aclose(1003)
            raise ProtocolError("carrier", "a binary message")
        # Characters, not bytes: what Twilio sends is ASCII, and nothing is encoded to find out.
        if len(text) > LARGEST_BYTES:
            self._note("phone.in", ["too long", len(text)])
            await self.aclose(1009)
            raise ProtocolError("carrier", f"a message of {len(text)} characters")
        return text

    async def _message(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._disconnected.set()
            if self._gone is None:
                self._note("phone.closed", ["peer", message.get("code")])
                self._gone = PeerGone("carrier", message.get("code"), "left without stop")
        return message

    def _note(self, place: Place, content: Content) -> None:
        if self.tap is not None:
            self.tap.note(place, content)

    async def _count_malformed(self, error: ProtocolError) -> None:
        now_s = trio.current_time()
        self.malformed += 1
        self._malformed_at_s.append(now_s)
        log.debug("carrier.message_dropped", what=error.what)
        if len(self._malformed_at_s) == MALFORMED and now_s - self._malformed_at_s[0] < MALFORMED_S:
            await self.aclose(1007)
            raise error
