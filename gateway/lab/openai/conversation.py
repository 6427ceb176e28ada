"""What a rehearsed session remembers: its items in order, and how much audio of each exists.

Pure.
"""

from __future__ import annotations

from typing import Any

import attrs

from actors.messages import ULAW_BYTES_PER_MS

Json = dict[str, Any]


@attrs.define
class Entry:
    """One conversation item."""

    item: Json
    """As it stands on the wire, without audio."""
    audio: bytes = b""
    """The agent's audio as mu-law, all that will ever be sent; the caller's as it was sent."""
    sent_bytes: int = 0
    """Agent audio that was sent to the client, as mu-law, less what was truncated."""

    @property
    def item_id(self) -> str:
        """The item's own id."""
        return str(self.item["id"])

    @property
    def sent_ms(self) -> int:
        """How much there is to truncate."""
        return self.sent_bytes // ULAW_BYTES_PER_MS


@attrs.define
class Conversation:
    """The default conversation."""

    _entries: list[Entry] = attrs.field(factory=list)

    def add(self, entry: Entry, *, after: str | None = None) -> str | None:
        """Insert an item: at the end, behind `after`, or at the front behind `"root"`.

        Returns:
            The id of the item before it, if there is one.

        """
        at = len(self._entries)
        if after == "root":
            at = 0
        elif after is not None:
            at = 1 + next(n for n, known in enumerate(self._entries) if known.item_id == after)
        self._entries.insert(at, entry)
        return self._entries[at - 1].item_id if at else None

    def find(self, item_id: str) -> Entry | None:
        """Look an item up."""
        return next((entry for entry in self._entries if entry.item_id == item_id), None)

    def delete(self, entry: Entry) -> None:
        """Forget an item that is there."""
        self._entries = [known for known in self._entries if known is not entry]

    def items(self) -> list[Json]:
        """Everything remembered, in order."""
        return [entry.item for entry in self._entries]
