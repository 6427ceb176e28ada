"""The front door's server: Hypercorn's protocols on trio, each connection behind a barrier.

With stock Hypercorn on trio, whatever one connection raises ends the server and every call on it.
Any ASGI application can be served here, and the gateway's can be served elsewhere.
TLS ends in front of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

import attrs
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from gateway.barrier import Barrier
from gateway.configuration.config import split_bind
from gateway.web.http1 import Applications, Http1Protocol

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class ServerLimits:
    """Every bound a connection lives under."""

    headers_s: float = 5.0
    """From a connection, or the end of a request on it, to the end of the next one's headers."""
    send_s: float = 1.0
    """One write. A peer that does not read for longer is cut off."""
    silence_s: float = 6.0
    """From a peer that should be sending: a body, or the pongs of a WebSocket. More than the 5 s
    after which a call misses its audio, so that the call can say so itself."""
    ping_s: float = 2.0
    message_bytes: int = 16 * 1024
    """One WebSocket message."""
    header_bytes: int = 16 * 1024
    """Request line and headers."""
    sockets: int = 1000
    """Connections at a time, ten per call at 100 calls. One more, and the oldest that is plain HTTP
    is closed for it; when all are WebSockets, the new one is."""
    drain_s: float = 3.0
    """From the shutdown until what is still running is cancelled."""


DEFAULT_LIMITS: Final = ServerLimits()


async def serve(
    app: Any,  # noqa: ANN401 (ASGI's own types are one library's; any application fits)
    binds: Sequence[str],
    *,
    shutdown: Callable[[], Awaitable[object]] = trio.sleep_forever,
    limits: ServerLimits = DEFAULT_LIMITS,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns or we are cancelled.

    Args:
        app: An ASGI application. Its lifespan is run.
        binds: `host:port` each; port 0 takes a free one.
        shutdown: Waited for. When it returns no connection is taken any more, and those that are
            open have `limits.drain_s`.
        limits: See `ServerLimits`.
        task_status: Gets the addresses as bound, `host:port` each.

    Raises:
        OSError: An address cannot be bound.

    """
    door = Door.of(app, limits)
    lifespan = Lifespan(door.app, door.config, door.state)
    listeners = [listener for bind in binds for listener in await _listen(bind)]

    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(
                        trio.serve_listeners, door.serve, listeners, handler_nursery=connections
                    )
                )
                task_status.started([_address(listener) for listener in listeners])
                await shutdown()
                accepting.cancel_scope.cancel("shutdown")
            await door.context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + limits.drain_s
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel("shutdown")


class Connection(TCPServer):
    """One connection: Hypercorn's, with limits on what it reads, sends and waits for."""

    protocol: Http1Protocol  # type: ignore[assignment]  # Never HTTP/2, so nothing to wrap.
    limits: ServerLimits
    stream: trio.SocketStream  # type: ignore[assignment]  # TLS ends in front of us.

    async def run(self) -> None:
        """Serve the connection to its end. Raises whatever goes wrong; see `Door`."""
        try:
            await self._serve()
        finally:
            self.cut()

    async def protocol_send(self, event: Event) -> None:
        """Carry out what the protocol wants of the socket."""
        if isinstance(event, RawData):
            if not await self._write(event.data):
                await self.protocol.handle(Closed())
        else:
            await super().protocol_send(event)

    async def _serve(self) -> None:
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
        except OSError:
            return  # Gone before it was looked at.
        async with Applications() as group:
            self._task_group = group
            self.protocol = Http1Protocol(
                self.app,
                self.config,
                self.context,
                group,
                ConnectionState(self.state),
                False,  # Not TLS: that ends in front of us.
                client,
                server,
                self.protocol_send,
            )
            await self.idle_task.restart(group, self._idle_timeout)
            await self._read_data()
            await self.idle_task.stop()

    async def _write(self, data: bytes) -> bool:
        """Send all of it within `send_s`, or cut the connection. The original waits for ever."""
        sent = False
        try:
            with trio.move_on_after(self.limits.send_s):
                async with self.send_lock:
                    await self.stream.send_all(data)
                    sent = True
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # Gone, or being closed at this moment: see `_close`.
        finally:
            if not sent:
                # Half a message may be out; nothing that follows it would make sense.
                self.cut()
        return sent

    async def _read_data(self) -> None:
        while True:
            patience_s = self.limits.silence_s if self.protocol.waits_for_peer else inf
            data = b""
            try:
                with trio.move_on_after(patience_s):
                    data = bytes(await self.stream.receive_some(MAX_RECV))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if not data:
                break
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())

    async def _idle_timeout(self) -> None:
        with trio.move_on_after(self.limits.headers_s):
            await self.context.terminated.wait()
        self.cut()

    async def _close(self) -> None:
        # They are gone, or still being written to: then they learn it from the cut.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self.stream.send_eof()
        self.cut()

    @property
    def is_websocket(self) -> bool:
        """Whether the upgrade is done."""
        protocol = getattr(self, "protocol", None)
        return protocol is not None and protocol.is_websocket

    def cut(self) -> None:
        """Close the socket without a word. Whoever is reading or writing it wakes up."""
        self.stream.socket.close()


@attrs.define(eq=False)
class Door:
    """Where connections come in."""

    app: ASGIWrapper
    config: Config
    context: WorkerContext
    state: LifespanState
    limits: ServerLimits
    open: dict[Connection, None] = attrs.field(factory=dict)
    """In the order of their coming."""

    @classmethod
    def of(cls, app: Any, limits: ServerLimits) -> Door:  # noqa: ANN401 (as in `serve`)
        """Make the door of an ASGI application."""
        context = WorkerContext(max_requests=None)
        return cls(ASGIWrapper(app), _hypercorn_config(limits), context, {}, limits)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection; whatever it does wrong, the others never hear of it."""
        if len(self.open) >= self.limits.sockets:
            # Strangers keep connections open for nothing; who has a call has a WebSocket.
            eldest = next((one for one in self.open if not one.is_websocket), None)
            log.warning("connection.limit_reached", limit=self.limits.sockets)
            if eldest is None:
                stream.socket.close()
                return
            eldest.cut()
        connection = Connection(
            self.app,
            self.config,
            self.context,
            self.state.copy(),
            stream,  # type: ignore[arg-type]  # Declared for TLS only.
        )
        connection.limits = self.limits
        self.open[connection] = None
        try:
            with Barrier("connection.crashed"):
                await connection.run()
        finally:
            del self.open[connection]


def _hypercorn_config(limits: ServerLimits) -> Config:
    config = Config()
    config.h11_max_incomplete_size = limits.header_bytes
    config.websocket_max_message_size = limits.message_bytes
    config.websocket_ping_interval = limits.ping_s
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.startup_timeout = 10
    config.shutdown_timeout = 10
    return config


async def _listen(bind: str) -> list[trio.SocketListener]:
    host, port = split_bind(bind)
    return await trio.open_tcp_listeners(port, host=host)


def _address(listener: trio.SocketListener) -> str:
    host, port, *_ = listener.socket.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
