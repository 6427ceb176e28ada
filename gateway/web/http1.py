"""Hypercorn's HTTP/1.1 and WebSocket protocols, with the limits an open port needs.

Everything here narrows what Hypercorn accepts; nothing adds to it. Each override names the
behaviour of the original that makes it necessary (hypercorn 0.18).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, Event, Request, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope
from wsproto.connection import ConnectionState as WebSocketState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

from gateway.barrier import Barrier

Put = Callable[[ASGIReceiveEvent], Awaitable[None]]

LARGEST_BODY_BYTES: Final = 64 * 1024
"""Of one HTTP request."""
ACCEPT_S: Final = 5.0
"""How long what a peer sent behind its own upgrade request waits for our answer to it."""
UNREAD: Final = 10
"""Messages between the socket and the application. Then the socket is not read."""


class Inbox:
    """What an application has not received yet.

    Unlike Hypercorn's own, it can always be told that the peer has left: a disconnect does not
    queue up behind messages that nobody takes, and an application that has returned blocks nobody.
    """

    def __init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[ASGIReceiveEvent](UNREAD)
        self._farewell: ASGIReceiveEvent | None = None

    async def put(self, event: ASGIReceiveEvent) -> None:
        """Wait for room, unless this is the end."""
        if event["type"] in {"http.disconnect", "websocket.disconnect"}:
            self._farewell = self._farewell or event
            self._put.close()
            return
        # The application has returned, or the peer has left: then nobody wants it.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._put.send(event)

    async def take(self) -> ASGIReceiveEvent:
        """ASGI's `receive`. After the disconnect, the disconnect again."""
        with suppress(trio.EndOfChannel):
            return await self._take.receive()
        # An application that asks on and on must not be the last thing this process does.
        await trio.lowlevel.checkpoint()
        if self._farewell is None:
            raise AssertionError("only a farewell closes an inbox")
        return self._farewell

    def close(self) -> None:
        """The application has returned."""
        self._take.close()


class Applications(TaskGroup):
    """Runs the application for each request of one connection."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,  # noqa: ARG002 (Hypercorn's signature)
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Put:
        """Start the application, and return how to hand it events."""
        inbox = Inbox()
        self.spawn(_run, app, scope, inbox, send)
        await trio.lowlevel.checkpoint()
        return inbox.put


class HttpStream(HTTPStream):
    """One HTTP request whose body has a limit: the original's is left to the application."""

    body_bytes = 0

    async def handle(self, event: Event) -> None:
        """Take what came from the peer."""
        if isinstance(event, Body) and not self.closed:
            self.body_bytes += len(event.data)
            if self.body_bytes > LARGEST_BODY_BYTES:
                if self.state is ASGIHTTPState.REQUEST:
                    await self._send_error_response(413)
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
        await super().handle(event)


class WebSocketStream(WSStream):
    """One WebSocket without extensions, that ends when its peer breaks the rules."""

    answered: trio.Event
    """The application has accepted, refused, or gone."""
    left: trio.Event
    """The peer is gone, and nothing more is sent."""
    peer_code: int | None = None
    """The close code the peer sent, if it did."""

    async def handle(self, event: Event) -> None:
        """Take what came from the peer."""
        if isinstance(event, Request):
            self.answered, self.left = trio.Event(), trio.Event()
            await super().handle(event)
            if self.closed:  # A handshake that is none: answered by the original, and left open.
                await self.send(StreamClosed(stream_id=self.stream_id))
        elif isinstance(event, StreamClosed):
            await self._leave()
        elif self.closed or await self._accepted():
            await super().handle(event)
        else:
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Take what the application sends."""
        # After the end the original returns without a checkpoint: an application that sends in a
        # loop would stop the whole process.
        await trio.lowlevel.checkpoint()
        await super().app_send(message)
        if self.handshake.accepted or self.state is ASGIWebsocketState.HTTPCLOSED:
            self.answered.set()

    async def _accepted(self) -> bool:
        """Whether frames are welcome.

        A peer may send some right behind its upgrade request. The original answers those with 400
        and never tells the application. Nobody reads the socket while we wait here.
        """
        with trio.move_on_after(ACCEPT_S):
            await self.answered.wait()
        return self.handshake.accepted

    async def _leave(self) -> None:
        self.answered.set()
        self.left.set()
        if not self.closed:
            self.closed = True
            if self.app_put is not None:
                # The original says 1006 whatever the peer said.
                code = self.peer_code or CloseReason.ABNORMAL_CLOSURE
                await self.app_put({"type": "websocket.disconnect", "code": int(code)})

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            match event:
                case Message():
                    if not await self._take(event):
                        return
                case Ping():
                    await self._send_wsproto_event(event.response())
                case CloseConnection():
                    if self.connection.state is WebSocketState.REMOTE_CLOSING:
                        self.peer_code = event.code
                        await self._send_wsproto_event(event.response())
                        await self.send(StreamClosed(stream_id=self.stream_id))
                    elif self.connection.state is WebSocketState.OPEN:
                        # How wsproto reports a frame that breaks the rules.
                        await self._end(event.code)
                    else:
                        await self.send(StreamClosed(stream_id=self.stream_id))
                    return
                case _:
                    pass  # A pong: that it came was the point.

    async def _take(self, part: Message[Any]) -> bool:
        """Collect a message. False: it is too long, and was the last."""
        try:
            self.buffer.extend(part)
        except FrameTooLargeError:
            # The original sends this close and then buffers on, without an end.
            self.buffer.clear()
            await self._end(CloseReason.MESSAGE_TOO_BIG)
            return False
        if part.message_finished and self.app_put is not None:
            await self.app_put(self.buffer.to_message())
            self.buffer.clear()
        return True

    async def _send_pings(self) -> None:
        """Ping until the peer is gone: the original stays for one more interval."""
        while not self.left.is_set():
            await self._send_wsproto_event(Ping())
            with trio.move_on_after(self.config.websocket_ping_interval or inf):
                await self.left.wait()

    async def _end(self, code: int) -> None:
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(StreamClosed(stream_id=self.stream_id))


class Http1Protocol(H11Protocol):
    """HTTP/1.1 and nothing else: neither h2 by prior knowledge nor h2c by upgrade."""

    @property
    def is_websocket(self) -> bool:
        """Whether the upgrade is done."""
        return isinstance(self.connection, H11WSConnection)

    @property
    def waits_for_peer(self) -> bool:
        """Whether a live peer would be sending something about now."""
        if self.is_websocket:
            return True  # If only a pong.
        return bool(self.connection.their_state is h11.SEND_BODY)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Not here: `_create_stream` refuses what is not HTTP/1.1."""

    async def _create_stream(self, request: h11.Request) -> None:
        if (status := _flaw(request)) is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        websocket = _is_websocket(request)
        kind = WebSocketStream if websocket else HttpStream
        self.stream = kind(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        if websocket:
            self.connection = H11WSConnection(cast("h11.Connection", self.connection))
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                # The original accepts compression whenever it is offered, and then inflates
                # without a limit. What is not asked for is not granted.
                headers=[
                    (name, value)
                    for name, value in request.headers
                    if name != b"sec-websocket-extensions"
                ],
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()


async def _run(
    app: AppWrapper,
    scope: Scope,
    inbox: Inbox,
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    try:
        with Barrier("application.crashed"):
            await app(scope, inbox.take, send, trio.to_thread.run_sync, trio.from_thread.run)
    finally:
        inbox.close()
    # Whatever it left open is closed now: HTTP with 500, a WebSocket with 1011.
    await send(None)


def _flaw(request: h11.Request) -> int | None:
    """The status that refuses this request, or `None`."""
    if request.http_version not in {b"1.0", b"1.1"}:
        return 505
    if not request.target.isascii() or not request.target.startswith((b"/", b"http")):
        return 400
    for name, value in request.headers:
        # The handshake is decoded as ASCII by those who read it, and they raise.
        if name.startswith(b"sec-websocket-") and not value.isascii():
            return 400
        if name == b"upgrade" and value.lower() != b"websocket":
            return 400
        if name == b"content-length" and int(value) > LARGEST_BODY_BYTES:
            return 413
    return None


def _is_websocket(request: h11.Request) -> bool:
    values = {name: value.decode("latin-1").lower() for name, value in request.headers}
    tokens = [token.strip() for token in values.get(b"connection", "").split(",")]
    return (
        request.method == b"GET"
        and "upgrade" in tokens
        and values.get(b"upgrade", "").strip() == "websocket"
    )
