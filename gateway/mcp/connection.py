"""One MCP server of ours: connected for as long as the gateway serves, and asked by calls.

A server that is down, slow, or lies hurts nobody but itself: its tools are refused, with a reason.
What was sent is never sent again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import attrs
import httpx2
import structlog
import trio
from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InitializeResult,
    PaginatedRequestParams,
    ServerNotification,
    ToolListChangedNotification,
)

from actors.errors import EffectUnknown, ToolRefused
from gateway.barrier import Barrier
from gateway.configuration.mcp_server import ALL, McpServer
from gateway.mcp.answer import told
from gateway.mcp.listing import TOOLS_MAX, Listed, offered
from gateway.mcp.schema import plain
from gateway.mcp.transport import LISTING_MAX_BYTES, NOT_SENT, McpTransport
from gateway.tools.http_tools import MAYBE_DONE
from gateway.web.public_web import PublicWeb

log: structlog.stdlib.BoundLogger = structlog.get_logger()

AT_ONCE_MAX: Final = 64
"""Runs on one server. Who asks for more is running away."""
PAGES_MAX: Final = 16
SKIPPED_TOLD: Final = 16
"""Tools that are not offered, in the log. A server may have any number of them."""
SAID_MAX_CHARS: Final = 500
_TALKATIVE: Final = ("mcp.client", "mcp.shared", "client", "httpx2", "httpcore")
"""Loggers of the SDK and of what it uses. They write down arguments, answers and addresses."""
_US: Final = Implementation(name="offhook", version="1")


@attrs.frozen(kw_only=True)
class Bounds:
    """What a connection lives under. In seconds."""

    connect_s: float = 15.0
    """To be greeted, and to be told of the tools. No call waits for it."""
    pause_s: float = 1.0
    """Before the second attempt; doubled before each that follows."""
    pause_most_s: float = 60.0
    relist_s: float = 300.0
    """Until the tools are asked for again, whether the server said that they changed or not."""
    relist_least_s: float = 2.0
    """However often it says so."""


@attrs.define(eq=False)
class _Run:
    """One run of a tool, in the connection's own nursery."""

    tool: str
    arguments: Mapping[str, Any]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    result: dict[str, Any] | None = None
    refused: ToolRefused | None = None


@attrs.frozen
class _Line:
    """A session, and what is below it."""

    session: ClientSession
    dispatcher: JSONRPCDispatcher[TransportContext]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Have a tool run, once. Its answer as it came.

        Not by `call_tool`: that checks answers against a schema of the server's own, with its
        patterns, for as long as it takes.
        """
        greeting = self.session.initialize_result
        if greeting is not None:
            return await self.ask(
                greeting, "tools/call", {"name": tool, "arguments": dict(arguments)}
            )
        params = CallToolRequestParams(name=tool, arguments=dict(arguments))
        result = await self.session.send_request(CallToolRequest(params=params), CallToolResult)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def page(self, cursor: str | None) -> tuple[list[object], str | None]:
        """Some of the tools, as they came, and where the rest begins.

        Not by `list_tools`: that has none of them when there is a flaw in one.
        """
        params = PaginatedRequestParams(cursor=cursor)
        greeting = self.session.initialize_result
        if greeting is not None:
            wanted = params.model_dump(by_alias=True, exclude_none=True)
            raw = await self.ask(greeting, "tools/list", wanted)
        else:
            listing = await self.session.list_tools(params=params)
            raw = listing.model_dump(by_alias=True, mode="json", exclude_none=True)
        tools, after = raw.get("tools"), raw.get("nextCursor")
        if not isinstance(tools, list):
            raise MCPError(INVALID_PARAMS, "it lists no tools")
        return tools, after if isinstance(after, str) else None

    async def ask(
        self, greeting: InitializeResult, method: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Ask a server that greeted us. Its result as it came."""
        version = {MCP_PROTOCOL_VERSION_HEADER: greeting.protocol_version}
        return await self.dispatcher.send_raw_request(method, params, {"headers": version})


@attrs.define(eq=False)
class McpConnection:
    """A server, and what it can do.

    Resource handling: whoever makes it runs it.

    Args:
        server: As it was declared.
        web: Which opens connections.
        bounds: How patient it is.

    """

    server: McpServer
    _web: PublicWeb
    bounds: Bounds = attrs.field(factory=Bounds)
    tools: tuple[Listed, ...] = attrs.field(default=(), init=False)
    """Those that it listed last. They stay while it is away: most come back soon."""
    _line: _Line | None = attrs.field(default=None, init=False)
    _running: trio.Nursery | None = attrs.field(default=None, init=False)
    _stale: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the tools may have changed, or the server may have gone."""

    @property
    def is_up(self) -> bool:
        """Whether it can be asked now."""
        return self._line is not None

    async def run(self) -> NoReturn:
        """Stay connected, until cancelled."""
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        pause_s = self.bounds.pause_s
        while True:
            was_up = False
            with Barrier("mcp.disconnected", self._tell):
                async with self._connected() as line:
                    was_up = True
                    await self._keep(line)
            if was_up:
                pause_s = self.bounds.pause_s
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, self.bounds.pause_most_s)

    def _tell(self, error: Exception) -> None:
        log.warning("mcp.disconnected", server=self.server.name, why=_kind(error))

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Have a tool run, once, and return its answer as JSON text.

        Bounded by the `timeout_s` of the server; cancellable at any time.

        When it is cancelled, or takes too long, the server is told.

        Args:
            tool: As the server calls it.
            arguments: Which were checked.

        Raises:
            ToolRefused: There is no answer, and it says whether the tool may have been run
                nevertheless; or the tool itself says that it failed.

        """
        running = self._running
        if running is None or self._line is None:
            raise ToolRefused("its server cannot be reached at the moment; it was not run")
        if len(running.child_tasks) >= AT_ONCE_MAX:
            raise ToolRefused("its server is too busy at the moment; it was not run")
        run = _Run(tool, arguments)
        running.start_soon(self._run, self._line, run, name="mcp.run")
        try:
            with trio.move_on_after(self.server.timeout_s):
                await run.done.wait()
        finally:
            # Telling the server takes time, which is not the call's.
            run.scope.cancel()
        if run.result is not None:
            log.info("mcp.answered", server=self.server.name)
            return told(run.result)
        if run.refused is not None:
            raise run.refused
        if run.done.is_set():
            raise EffectUnknown(f"the connection broke; {MAYBE_DONE}")
        raise EffectUnknown(f"there was no answer within {self.server.timeout_s:g} s; {MAYBE_DONE}")

    async def _run(self, line: _Line, run: _Run) -> None:
        try:
            with run.scope:
                run.result = await line.call(run.tool, run.arguments)
        except MCPError as error:
            run.refused = self._refusal(error)
        except Exception as error:  # noqa: BLE001 - it answered what the SDK did not expect.
            log.warning("mcp.misanswered", server=self.server.name, why=_kind(error))
            run.refused = EffectUnknown(f"its answer cannot be used; {MAYBE_DONE}")
        finally:
            run.done.set()

    def _refusal(self, error: MCPError) -> ToolRefused:
        said = plain(error.message, SAID_MAX_CHARS)
        if error.code == NOT_SENT:
            self._stale.set()
            return ToolRefused(f"{said}; it was not run")
        if error.code in (METHOD_NOT_FOUND, INVALID_PARAMS):
            return ToolRefused(f"its server refuses: {said}")
        self._stale.set()
        return EffectUnknown(f"its server failed: {said}; {MAYBE_DONE}")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Line]:
        """A session that was greeted, and whose tools are known."""
        longest_s = max(self.server.longest_s, self.bounds.connect_s)
        headers = {name: secret.reveal() for name, secret in self.server.headers}
        async with (
            httpx2.AsyncClient(
                transport=McpTransport(self._web, self.server.allow_private, longest_s),
                headers=headers,
                timeout=None,  # The transport has its own.
                trust_env=False,
            ) as client,
            streamable_http_client(
                self.server.url, http_client=client, max_sse_event_size=LISTING_MAX_BYTES
            ) as streams,
        ):
            dispatcher = JSONRPCDispatcher[TransportContext](*streams)
            async with (
                ClientSession(
                    dispatcher=dispatcher, message_handler=self._hear, client_info=_US
                ) as session,
                trio.open_nursery() as running,
            ):
                line = _Line(session, dispatcher)
                with trio.fail_after(self.bounds.connect_s):
                    await _greet(session)
                    self._stale = trio.Event()
                    await self._list(line)
                self._line, self._running = line, running
                log.info("mcp.connected", server=self.server.name, tools=len(self.tools))
                try:
                    yield line
                finally:
                    self._line, self._running = None, None
                    running.cancel_scope.cancel()

    async def _keep(self, line: _Line) -> NoReturn:
        """Know its tools, until it does not answer any more."""
        while True:
            with trio.move_on_after(self.bounds.relist_s):
                await self._stale.wait()
            self._stale = trio.Event()
            with trio.fail_after(self.bounds.connect_s):
                await self._list(line)
            await trio.sleep(self.bounds.relist_least_s)

    async def _hear(self, message: ServerNotification | Exception) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, ToolListChangedNotification):
            self._stale.set()

    async def _list(self, line: _Line) -> None:
        """Ask for the tools, every page.

        Raises:
            MCPError: They are not to be had.

        """
        found: list[object] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page, cursor = await line.page(cursor)
            found += page
            if cursor is None or len(found) > TOOLS_MAX:
                break
        # Beside everything else: there may be a lot of it, and calls go on meanwhile.
        tools, skipped = await trio.to_thread.run_sync(offered, self.server, found)
        if tools != self.tools:
            self.tools = tools
            for one in skipped[:SKIPPED_TOLD]:
                log.warning("mcp.tool_skipped", server=self.server.name, tool=one.name, why=one.why)
            if len(skipped) > SKIPPED_TOLD:
                log.warning("mcp.tools_skipped", server=self.server.name, count=len(skipped))
            there = {one.name for one in tools}
            for name in dict.fromkeys((*self.server.tools, *self.server.low)):
                if name not in there and name != ALL:
                    log.warning("mcp.tool_missing", server=self.server.name, tool=name)


async def _greet(session: ClientSession) -> None:
    """Agree on a version: by the handshake, or without one where there is none any more."""
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in (UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND):
            raise
        await session.discover()


def _kind(error: BaseException) -> str:
    """What went wrong, for a log: kinds and codes. Its words may be the server's."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(dict.fromkeys(_kind(one) for one in error.exceptions))
    if isinstance(error, MCPError):
        return f"{type(error).__name__} {error.code}"
    return type(error).__name__
