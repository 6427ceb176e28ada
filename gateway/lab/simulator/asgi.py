"""An ASGI server in memory: its clients live in the same task tree, and in the same virtual time.

To the application it is what `gateway.web.server` is, down to the order in which things stop.
Source: "HTTP & WebSocket ASGI Message Format" and "Lifespan Protocol", ASGI specification.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed

from gateway.barrier import Barrier

DRAIN_S: Final = 3.0
"""From the stop until what is still running is cancelled: as in `gateway.web.server`."""

Json = dict[str, Any]
Headers = Sequence[tuple[str, str]]


class ServerGone(Exception):
    """Nobody serves there any more, or the server stopped before it answered."""


class Refused(Exception):
    """The application did not accept a WebSocket: HTTP 403 to its client."""


class ServerSocket(Protocol):
    """The server's end of a WebSocket."""

    @property
    def closed(self) -> CloseReason | None:
        """Why it is closed; `None` while it is open."""

    async def send_message(self, message: str | bytes) -> None:
        """Send one message; `ConnectionClosed` when there is no connection any more."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message; `ConnectionClosed` when there will be none."""

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Say goodbye and close."""

    def abort(self) -> None:
        """Close without a word."""


@attrs.define(eq=False)
class Response:
    """What a request was answered."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    body: bytes = b""


@attrs.define(eq=False)
class AsgiServer:
    """Runs an application's lifespan, and its connections between start and stop."""

    app: Any
    """ASGI's own types are one library's; any application fits."""
    _connections: trio.Nursery | None = attrs.field(default=None, init=False)
    _started: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stopping: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stopped: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, ready: trio.Event, stop: trio.Event) -> None:
        """Serve until `stop` is set, or until cancelled: then everything ends at once.

        Args:
            ready: Set when the application has started.
            stop: From then on no connection is taken; those that are open have `DRAIN_S`.

        """
        try:
            async with trio.open_nursery() as lifespan:
                lifespan.start_soon(self._live, name="lifespan")
                await self._started.wait()
                async with trio.open_nursery() as connections:
                    self._connections = connections
                    ready.set()
                    await stop.wait()
                    self._connections = None
                    connections.cancel_scope.deadline = trio.current_time() + DRAIN_S
                self._stopping.set()
                await self._stopped.wait()
                lifespan.cancel_scope.cancel("stopped")
        finally:
            self._connections = None

    async def request(self, method: str, url: str, headers: Headers, body: bytes) -> Response:
        """Make one request. Cancelled, it still runs to its end on the server.

        Raises:
            ServerGone: There was no answer.

        """
        response, done = Response(), trio.Event()
        asked = False

        async def receive() -> Json:
            nonlocal asked
            if asked:
                await trio.sleep_forever()
            asked = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Json) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                response.status, response.headers = message["status"], list(message["headers"])
            elif message["type"] == "http.response.body":
                response.body += message.get("body", b"")
                answered.append(not message.get("more_body", False))

        answered: list[bool] = []

        async def serve() -> None:
            try:
                with Barrier("connection.crashed"):
                    await self.app(_scope("http", url, headers, method=method), receive, send)
            finally:
                done.set()

        self.take_on(serve)
        await done.wait()
        if not any(answered):
            raise ServerGone
        return response

    async def open_websocket(
        self, url: str, headers: Headers, socket: ServerSocket, ended: Callable[[], None]
    ) -> None:
        """Ask the application to take on a WebSocket; returns once it has.

        Args:
            url: What the client asks for.
            headers: And with which headers.
            socket: The server's end. Closed when the application is done with it.
            ended: Told when that is.

        Raises:
            Refused: It does not want to.
            ServerGone: There was no answer.

        """
        answered = trio.Event()
        accepted = False
        introduced = False

        async def receive() -> Json:
            nonlocal introduced
            if not introduced:
                introduced = True
                await trio.lowlevel.checkpoint()
                return {"type": "websocket.connect"}
            return await _receive(socket)

        async def send(message: Json) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
                answered.set()
                await trio.lowlevel.checkpoint()
            elif accepted:
                await _send(socket, message)
            else:
                refused.append(True)
                answered.set()
                await trio.lowlevel.checkpoint()

        refused: list[bool] = []

        async def serve() -> None:
            try:
                with Barrier("connection.crashed"):
                    await self.app(_scope("websocket", url, headers), receive, send)
            finally:
                socket.abort()
                answered.set()
                ended()

        self.take_on(serve)
        await answered.wait()
        if refused:
            raise Refused
        if not accepted:
            raise ServerGone

    def take_on(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Run a connection of another kind, as if it had come in by the door.

        Raises:
            ServerGone: Nobody serves there any more.

        """
        if self._connections is None:
            raise ServerGone
        try:
            self._connections.start_soon(serve, name="connection")
        except RuntimeError:
            # Its nursery was closed in this very step of the scheduler.
            raise ServerGone from None

    async def _live(self) -> None:
        asked = False

        async def receive() -> Json:
            nonlocal asked
            if not asked:
                asked = True
                await trio.lowlevel.checkpoint()
                return {"type": "lifespan.startup"}
            await self._stopping.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Json) -> None:
            await trio.lowlevel.checkpoint()
            match message["type"]:
                case "lifespan.startup.complete":
                    self._started.set()
                case "lifespan.shutdown.complete":
                    self._stopped.set()
                case failed:
                    raise RuntimeError(f"{failed}: {message.get('message', '')}")

        try:
            await self.app({"type": "lifespan", "asgi": _ASGI, "state": {}}, receive, send)
        finally:
            self._stopped.set()


_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


def _scope(kind: str, url: str, headers: Headers, **more: str) -> Json:
    parts = urlsplit(url)
    path = parts.path or "/"
    return {
        "type": kind,
        "asgi": _ASGI,
        "http_version": "1.1",
        "scheme": parts.scheme,
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "root_path": "",
        "headers": [
            (b"host", parts.netloc.encode("ascii")),
            *((name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers),
        ],
        "client": ("203.0.113.7", 40_000),
        "server": ("198.51.100.1", 443),
        "subprotocols": [],
        "state": {},
        "extensions": {},
        **more,
    }


async def _receive(socket: ServerSocket) -> Json:
    """What a server of ASGI makes of a WebSocket's next message."""
    try:
        frame = await socket.get_message()
    except ConnectionClosed as closed:
        code = closed.reason.code if closed.reason is not None else 1006
        return {"type": "websocket.disconnect", "code": int(code)}
    key = "text" if isinstance(frame, str) else "bytes"
    return {"type": "websocket.receive", key: frame}


async def _send(socket: ServerSocket, message: Json) -> None:
    """What it makes of a message to be sent; to a peer that left, nothing."""
    try:
        if message["type"] == "websocket.close":
            await socket.aclose(message.get("code", 1000), message.get("reason"))
        else:
            await socket.send_message(message["text"])
    except ConnectionClosed:
        return
