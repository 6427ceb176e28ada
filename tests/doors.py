"""What the tests of the front door share: a server on loopback, and peers that need no manners."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import httpx
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from actors.messages import SessionFact, SessionOrder
from gateway.web.server import ServerLimits, serve

Scope = dict[str, Any]
Application = Any
"""ASGI's own types are one library's; the tests serve whatever fits."""
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def upgrade(path: bytes = b"/echo", *headers: bytes) -> bytes:
    """A handshake, with more headers if wanted."""
    return UPGRADE % path + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A WebSocket frame, also one that must not be."""
    head = bytes([(0x80 if fin else 0) | (rsv << 4) | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
    return head + (bytes(4) if masked else b"") + payload


async def echo_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes messages and bodies; on some paths it behaves worse."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo_socket(scope["path"], receive, send)
    else:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/crash":
            raise RuntimeError("as asked")
        length = str(len(body)).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
        )
        await send({"type": "http.response.body", "body": body})


async def _echo_socket(path: str, receive: Receive, send: Send) -> None:
    await receive()
    if path == "/refuse":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept"})
    if path == "/crash":
        raise RuntimeError("as asked")
    if path == "/flood":
        while True:
            await send({"type": "websocket.send", "text": "x" * 16000})
    if path == "/deaf":
        await trio.sleep(30)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({**message, "type": "websocket.send"})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@attrs.frozen
class Served:
    """A server that is running, and how to reach it."""

    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    @asynccontextmanager
    async def websocket(
        self, path: str = "/echo", headers: list[tuple[bytes, bytes]] | None = None
    ) -> AsyncIterator[WebSocketConnection]:
        url = f"ws://127.0.0.1:{self.port}{path}"
        async with open_websocket_url(
            url, extra_headers=headers, disconnect_timeout=1
        ) as websocket:
            try:
                yield websocket
            finally:
                with trio.move_on_after(1, shield=True):
                    await websocket.aclose()
                    # It leaves its socket open when it was the server that closed.
                    await websocket._stream.aclose()

    async def post(
        self, path: str, data: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.base, trust_env=False) as client:
            return await client.post(path, data=data, headers=headers)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.base, trust_env=False) as client:
            return await client.get(path)


@asynccontextmanager
async def serving(app: Application, limits: ServerLimits | None = None) -> AsyncIterator[Served]:
    """Serve `app` on a free port of loopback until the end of the block."""
    shutdown = trio.Event()
    run = partial(serve, app, ["127.0.0.1:0"], shutdown=shutdown.wait)
    async with trio.open_nursery() as nursery:
        addresses: list[str] = await nursery.start(
            partial(run, limits=limits or ServerLimits(drain_s=0.2))
        )
        yield Served(int(addresses[0].rpartition(":")[2]))
        shutdown.set()
        nursery.cancel_scope.deadline = trio.current_time() + 5
    assert not nursery.cancel_scope.cancelled_caught, "the server did not stop"


async def read_until_closed(stream: trio.SocketStream, *, within_s: float = 3.0) -> bytes:
    """All that comes, until the peer closes; fails when it does not."""
    received = b""
    with trio.fail_after(within_s):
        try:
            async for data in stream:
                received += data
        except trio.BrokenResourceError:
            pass  # A reset: closed, too.
    return received


def call_sid() -> str:
    """A call that no other test has."""
    return "CA" + os.urandom(16).hex()


async def ping(websocket: WebSocketConnection, text: str) -> None:
    """Have one message echoed."""
    with trio.fail_after(2):
        await websocket.send_message(text)
        assert await websocket.get_message() == text


@attrs.define(eq=False)
class SilentSession:
    """Stands for a model that connects and says nothing."""

    closed: bool = False
    cancelled: bool = False
    fails: bool = False

    async def run(self) -> None:
        try:
            await trio.sleep(1)
            if self.fails:
                raise RuntimeError("as asked")
            await trio.sleep_forever()
        finally:
            self.cancelled = True

    async def receive(self) -> SessionFact:
        await trio.sleep_forever()
        raise AssertionError

    async def send(self, order: SessionOrder) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()
