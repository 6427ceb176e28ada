"""Web servers on loopback, with certificates, and name servers that say what they like."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import httpcore
import trio
import trustme

from gateway.web.public_address import is_public
from gateway.web.public_web import PublicWeb, dial, resolve

PUBLIC: Final = "93.184.215.14"
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

Answering = Callable[[bytes, trio.abc.Stream], Awaitable[None]]


@attrs.define(eq=False)
class Server:
    """A real server on loopback, which remembers whoever came."""

    port: int = 0
    heads: list[bytes] = attrs.field(factory=list[bytes])
    """Of each request, with its body."""
    connections: int = 0


@asynccontextmanager
async def serving(answer: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def handle(stream: trio.abc.Stream) -> None:
        server.connections += 1
        try:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    part = await stream.receive_some()
                    if not part:
                        return
                    head += part
                while len(head.partition(b"\r\n\r\n")[2]) < _length(head):
                    head += await stream.receive_some()
                server.heads.append(head)
                await answer(head, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # It was told, and left.
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, handle, listeners)
        yield server
        nursery.cancel_scope.cancel()


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def says_ok(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(OK)


def says(head: str, body: bytes = b"") -> Answering:
    async def answer(_: bytes, stream: trio.abc.Stream) -> None:
        await stream.send_all(
            f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        )

    return answer


@attrs.define(eq=False)
class Names:
    """A name server of our own, and the wire behind it, on which a public address is our server."""

    answers: dict[str, list[tuple[str, ...]]]
    """By host; of several, each look takes the next, and the last one stays."""
    server: Server
    looks: list[str] = attrs.field(factory=list[str])
    dialled: list[str] = attrs.field(factory=list[str])

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        self.looks.append(host)
        known = self.answers.get(host)
        if known is None:
            return await resolve(host, port)
        return known.pop(0) if len(known) > 1 else known[0]

    async def dial(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        del port
        self.dialled.append(address)
        if not is_public(address) and address != "127.0.0.1":
            raise AssertionError(f"{address} was dialled")
        return await dial("127.0.0.1", self.server.port)


def server_tls(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def web_of(authority: trustme.CA, names: Names | None = None) -> AsyncIterator[PublicWeb]:
    tls = partial(client_tls, authority)
    web = PublicWeb(make_tls=tls) if names is None else PublicWeb(names.resolve, names.dial, tls)
    try:
        yield web
    finally:
        with trio.move_on_after(2, shield=True):
            await web.aclose()
