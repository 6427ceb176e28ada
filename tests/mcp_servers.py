"""Real MCP servers on loopback, made with the SDK; and a server that answers what a test likes."""

# ruff: noqa: ANN401 - ASGI is made of dictionaries, and so is JSON.

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import hypercorn.config
import hypercorn.trio
import trio
from mcp.server.mcpserver import MCPServer

from gateway.configuration.mcp_server import McpServer
from gateway.mcp.connection import Bounds, McpConnection
from gateway.web.public_address import networks
from gateway.web.public_web import PublicWeb

NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
MODERN: Final = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
LOOPBACK: Final = networks(["127.0.0.1"])
QUICK: Final = Bounds(connect_s=5.0, pause_s=0.05, pause_most_s=0.1, relist_least_s=0.05)

App = Callable[..., Awaitable[None]]


@attrs.define(eq=False)
class Requests:
    """An ASGI application that notes what comes by on its way to another one."""

    app: App
    seen: list[tuple[str, MutableMapping[str, str]]] = attrs.field(factory=list)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.seen.append((scope["method"], headers))
        await self.app(scope, receive, send)


@asynccontextmanager
async def serving_asgi(app: App, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on loopback; gives its address, `http://127.0.0.1:PORT`."""
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = config.shutdown_timeout = 0.1
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            partial(hypercorn.trio.serve, app, config, shutdown_trigger=over.wait)
        )
        try:
            yield urls[0]
        finally:
            over.set()
            nursery.cancel_scope.cancel()


def declared(url: str, **more: Any) -> McpServer:
    return McpServer(name="crm", url=url, allow_private=LOOPBACK, **more)


@asynccontextmanager
async def connected(
    server: McpServer, web: PublicWeb | None = None, bounds: Bounds = QUICK
) -> AsyncIterator[McpConnection]:
    """A connection that is being kept, whether the server is there or not."""
    web = PublicWeb() if web is None else web
    connection = McpConnection(server, web, bounds)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            yield connection
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(2, shield=True):
            await web.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has to happen within seconds."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - of somebody else's state.
            await trio.sleep(0.01)


def app_of(server: MCPServer, **more: Any) -> App:
    return server.streamable_http_app(**more)


Answer = Callable[[Any], Any]
"""From the parameters of a request to its result, or to bytes: an HTTP answer, word for word."""


async def at_once(_: object) -> None:
    await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Scripted:
    """A server without an SDK: says word for word what a test wants. Fits `Answering`."""

    tools: list[Any]
    """As they are listed."""
    call: Answer = lambda _: {"content": []}
    notice: Callable[[object], Awaitable[None]] = at_once
    """What it does before it takes that a run was cancelled."""
    list_tools: Answer | None = None
    """`None`: all of `tools`, in one page."""
    get: bytes = b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n"
    """What the stream of its own is answered by."""
    is_modern: bool = False
    """Whether it is one of 2026-07-28, which has no handshake."""
    session: str = "mcp-session-id: s1\r\n"
    methods: list[str] = attrs.field(factory=list[str], init=False)
    """What it was asked and told, in order."""

    async def __call__(self, head: bytes, stream: trio.abc.Stream) -> None:
        if not head.startswith(b"POST"):
            await stream.send_all(self.get if head.startswith(b"GET") else NO_CONTENT)
            return
        message = json.loads(head.partition(b"\r\n\r\n")[2])
        method = message["method"]
        self.methods.append(method)
        if "id" not in message:
            if method == "notifications/cancelled":
                await self.notice(message)
            await stream.send_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        params = message.get("params", {})
        result: Any
        match method:
            case "initialize" if self.is_modern:
                result = {"code": -32601, "message": "Method not found"}
            case "server/discover":
                result = {
                    "resultType": "complete",
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}},
                    "ttlMs": 0,
                    "cacheScope": "private",
                }
            case "initialize":
                result = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                }
            case "tools/list" if self.list_tools is not None:
                result = self.list_tools(params)
            case "tools/list":
                result = {"tools": self.tools, **(MODERN if self.is_modern else {})}
            case _:
                result = self.call(params)
        if isinstance(result, Awaitable):
            result = await result
        if isinstance(result, bytes):
            await stream.send_all(result)
            return
        kind = "error" if isinstance(result, dict) and "code" in result else "result"
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], kind: result}).encode()
        await stream.send_all(http(body, more=self.session))


def http(
    body: bytes, *, kind: str = "application/json", status: str = "200 OK", more: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}
