"""A client's WebSocket of which nothing is left afterwards, whoever closed or refused it.

trio-websocket's own context manager leaves TCP open, and waits for the server to close it without
a bound, when it was the server that closed the WebSocket; and it forgets the socket of an upgrade
that was refused. *Observed* with 0.12.2. So this one owns the socket underneath.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import attrs
import h11
import trio
import wsproto.utilities as wsproto
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

Tcp = trio.SocketStream | trio.SSLStream[trio.SocketStream]

CONNECT_S: Final = 10.0
CLOSE_S: Final = 2.0
MESSAGES_AHEAD: Final = 64
"""Messages read before anybody asks for them: a model's server bursts."""
MESSAGE_MAX_BYTES: Final = 4 * 2**20
"""No event of a session that we ask for comes near; more is an attack or a mistake."""
READ_BYTES: Final = 65_536
"""At once from the socket: the library's 4 KiB would be a system call for every delta."""


@attrs.frozen
class CannotOpen(Exception):
    """There is no WebSocket at this address, or not for us."""

    reason: str
    status: int | None = None
    """HTTP status, when there was an answer."""

    def __str__(self) -> str:
        return self.reason


async def over_websocket(
    url: str,
    headers: Mapping[str, str],
    use: Callable[[WebSocketConnection], Awaitable[None]],
    *,
    connect_s: float = CONNECT_S,
    close_s: float = CLOSE_S,
) -> bool:
    """Open a WebSocket, use it, close it. Cancellable; then it is dropped without a goodbye.

    Returns:
        Whether the server took its part in the closing within `close_s`.

    Raises:
        CannotOpen: Nobody listens, nobody answers, or the answer is no.

    """
    stream = await _dial(url, connect_s)
    try:
        await _shake_hands(stream, connect_s)
        return await _converse(stream, url, headers, use, connect_s=connect_s, close_s=close_s)
    except ExceptionGroup as group:
        # Raised by the library's reader, a task beside ours.
        told, others = group.split((ConnectionRejected, h11.ProtocolError, wsproto.ProtocolError))
        if told is None or others is not None:
            raise
        raise _not_opened(told) from group
    finally:
        with trio.move_on_after(close_s, shield=True):
            await trio.aclose_forcefully(stream)


async def _converse(
    stream: Tcp,
    url: str,
    headers: Mapping[str, str],
    use: Callable[[WebSocketConnection], Awaitable[None]],
    *,
    connect_s: float,
    close_s: float,
) -> bool:
    parts = urlsplit(url)
    extra_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    host = parts.netloc.rpartition("@")[2]
    resource = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    answered = closed = left = False
    asking = trio.Event()

    async def serve(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Be the parent of the library's reader. Ends with it: then nobody answers the upgrade."""
        nonlocal left
        async with trio.open_nursery() as readers:
            task_status.started(readers)
            await asking.wait()
        left = True
        upgrade.cancel("the reader ended")

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(connect_s) as upgrade:
            readers: trio.Nursery = await nursery.start(serve)
            asking.set()
            socket = await wrap_client_stream(
                readers,
                stream,
                host,
                resource,
                extra_headers=extra_headers,
                message_queue_size=MESSAGES_AHEAD,
                max_message_size=MESSAGE_MAX_BYTES,
                receive_buffer_size=READ_BYTES,
            )
            answered = True
        if answered:
            await use(socket)
            with trio.move_on_after(close_s):
                await socket.aclose()
                closed = True
        # The reader, which would otherwise wait for the server to close TCP.
        nursery.cancel_scope.cancel()
    if not answered:
        late = f"the upgrade was not answered within {connect_s:g} s"
        raise CannotOpen("it closed instead of answering the upgrade" if left else late)
    return closed


async def _shake_hands(stream: Tcp, connect_s: float) -> None:
    """Agree on TLS, if there is any to agree on."""
    if isinstance(stream, trio.SSLStream):
        try:
            with trio.fail_after(connect_s):
                await stream.do_handshake()
        except trio.BrokenResourceError as error:
            raise CannotOpen(f"TLS failed: {error.__cause__}") from error
        except trio.TooSlowError as error:
            raise CannotOpen(f"no TLS within {connect_s:g} s") from error


def _not_opened(told: ExceptionGroup[Exception]) -> CannotOpen:
    """What the reader's one failure means."""
    found: BaseException = told
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, ConnectionRejected):
        return CannotOpen(f"it was refused with {found.status_code}", found.status_code)
    return CannotOpen("it does not speak WebSocket as it should")


async def _dial(url: str, connect_s: float) -> Tcp:
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if is_secure else 80)
    try:
        with trio.fail_after(connect_s):
            if not is_secure:
                return await trio.open_tcp_stream(host, port)
            return await trio.open_ssl_over_tcp_stream(host, port, ssl_context=_trust())
    except (OSError, trio.TooSlowError) as error:
        raise CannotOpen(str(error) or f"no connection within {connect_s:g} s") from error


@cache
def _trust() -> ssl.SSLContext:
    # Once: reading the world's certificates takes long enough to be heard on every running call.
    return ssl.create_default_context()
