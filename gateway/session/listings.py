"""Whether the servers of tools that a session asks by itself have said what they can do."""

from __future__ import annotations

from typing import Final

import attrs
import structlog

from actors.wire.openai import ItemAdded, ItemDone, ListingFailed, ServerEvent

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LISTS: Final = "mcp_list_tools"
SERVERS_MAX: Final = 256
"""Lists of one session. There is one per server, as a rule."""


@attrs.define(eq=False)
class Listings:
    """Says in the log which server has failed at it. The call goes on without its tools."""

    _servers: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    """By the items that are going to be their lists."""

    def note(self, event: ServerEvent) -> None:
        """Take in an event of the session's."""
        match event:
            case ItemAdded(item) if item.type == LISTS and item.id:
                if len(self._servers) < SERVERS_MAX:
                    self._servers[item.id] = (item.server_label or "")[:64]
            case ItemDone(item) if item.type == LISTS and item.id in self._servers:
                log.info("mcp.listed_by_the_model", server=self._servers[item.id])
            case ListingFailed(item_id):
                server = self._servers.pop(item_id, None)
                log.warning("mcp.not_listed_by_the_model", server=server)
            case _:
                pass
