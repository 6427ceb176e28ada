"""Tools of MCP servers as an agent has them, and the servers themselves, one connection each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import structlog
import trio

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.messages import HANGUP
from actors.toolbox import ToolSchema
from gateway.barrier import Barrier
from gateway.configuration.mcp_server import McpServer
from gateway.mcp.listing import Listed
from gateway.mcp.schema import Schema, mismatches
from gateway.tools.http_tools import COMPLAINTS_MAX, loaded
from gateway.web.public_web import PublicWeb

if TYPE_CHECKING:
    from gateway.mcp.connection import McpConnection

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class McpPeer(Protocol):
    """A server that can be asked. A `McpConnection` is one."""

    @property
    def tools(self) -> tuple[Listed, ...]:
        """What it can do, as far as is known now."""

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """See `McpConnection`."""


@attrs.frozen
class _Offer:
    peer: McpPeer
    listed: Listed


@attrs.define(eq=False)
class McpTools:
    """What these servers can do, as it was when this was made. Fits `Toolset`.

    A call keeps what its model was told of: what a server changes meanwhile is for the next one.
    """

    _offers: Mapping[str, _Offer]

    @classmethod
    def of(cls, peers: Iterable[tuple[McpServer, McpPeer]]) -> McpTools:
        """Those of several servers.

        Args:
            peers: Each with what an agent may have of it.

        """
        offers: dict[str, list[_Offer]] = {}
        for server, peer in peers:
            for one in peer.tools:
                if server.has(one.name):
                    listed = attrs.evolve(one, schema=_on_terms_of(server, one))
                    offers.setdefault(one.schema.name, []).append(_Offer(peer, listed))
        for name, several in offers.items():
            if len(several) > 1:
                log.warning("mcp.name_taken_twice", tool=name)
        # Of two, neither: nobody could say which of them was meant.
        return cls({name: found[0] for name, found in offers.items() if len(found) == 1})

    def schemas(self) -> tuple[ToolSchema, ...]:
        """See `Toolset`."""
        return tuple(one.listed.schema for one in self._offers.values())

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port. Bounded in time and size by the server's settings."""
        del call
        offer = self._offers.get(name)
        if offer is None:
            names = ", ".join([*self._offers, HANGUP])
            raise ToolRefused(f"there is no tool {name!r}; there are: {names}")
        values = checked(offer.listed.schema.parameters, arguments)
        return await offer.peer.call(offer.listed.name, values)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        offer = self._offers.get(name)
        return None if offer is None else offer.listed.schema.longest_s


def checked(parameters: Schema, arguments: str) -> dict[str, Any]:
    """The arguments, if they fit.

    Raises:
        ToolRefused: They do not. Quotes none of them.

    """
    values = loaded(arguments)
    if not isinstance(values, dict):
        raise ToolRefused("bad arguments: they are not an object")
    found: list[str] = []
    for flaw in mismatches(parameters, values):
        found.append(flaw)
        if len(found) == COMPLAINTS_MAX:
            break
    if found:
        raise ToolRefused("bad arguments: " + "; ".join(found))
    return values


def _on_terms_of(server: McpServer, one: Listed) -> ToolSchema:
    """A tool on the terms of an agent's settings, which may be newer than the connection's."""
    return attrs.evolve(
        one.schema,
        risk="low" if one.name in server.low else "high",
        check=partial(checked, one.schema.parameters),
    )


@attrs.define(eq=False)
class McpServers:
    """Every server that was declared, connected once per process.

    Resource handling: whoever makes it runs it, and closes `web` afterwards.
    """

    _connections: Mapping[str, McpConnection]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @classmethod
    def of(cls, servers: Iterable[McpServer], web: PublicWeb) -> McpServers:
        """Connections to these servers, none of which is opened yet."""
        declared = tuple(server for server in servers if server.run == "here")
        if not declared:
            return cls({})
        # The SDK takes a second to import, which is only for those who have such a server.
        from gateway.mcp.connection import McpConnection  # noqa: PLC0415

        return cls({server.name: McpConnection(server, web) for server in declared})

    def tools_of(self, servers: Sequence[McpServer]) -> McpTools:
        """What these servers can do now. Does not wait; one that is not there yet can do nothing.

        Args:
            servers: Of an agent. One that was declared after the start is not connected.

        """
        return McpTools.of(
            (server, self._connections[server.name])
            for server in servers
            if server.name in self._connections
        )

    async def run(self) -> None:
        """Stay connected to all of them, until `close`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for connection in self._connections.values():
                    nursery.start_soon(_guarded, connection, name="mcp.connection")

    def close(self) -> None:
        """Leave all of them. Does not wait; idempotent."""
        self._scope.cancel()


async def _guarded(connection: McpConnection) -> None:
    with Barrier("mcp.crashed"):
        await connection.run()
