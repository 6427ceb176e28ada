"""What the current session was told of the conversation that it was not there for."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.messages import (
    LOCAL,
    AgentSaid,
    DeleteItem,
    TextAdded,
    ToolAnswered,
    ToolAsked,
    TruncateItem,
)
from actors.policy.floor import Floor
from actors.policy.memory import Memory
from actors.wire.openai_history import create_item, delete_item, short_call_id
from gateway.session.connections import One

GOES_ON: Final = "This is the same phone call, going on. Do not greet again."
CUT_OFF: Final = (
    "Your last words were cut off. The caller heard them up to here: {words!r} "
    "Go on from there, and do not repeat them."
)


@attrs.define
class Told:
    """What one session was told."""

    items: dict[str, str] = attrs.field(factory=dict[str, str])
    """Items of earlier sessions, and what this one calls them; empty: it has none."""
    order: list[str] = attrs.field(factory=list[str])
    """The ids of all that it was told, in order."""
    answered: set[str] = attrs.field(factory=set[str])
    """Tool calls whose outputs were among it."""
    called: set[str] = attrs.field(factory=set[str])
    """Tool calls that were: their outputs are returned under the ids it was told."""


@attrs.define(eq=False)
class Retelling:
    """Tells each session what happened before it, and corrects that later."""

    memory: Memory
    _told: Told = attrs.field(factory=Told, init=False)
    """By the current session."""
    _names: int = attrs.field(default=0, init=False)

    async def tell(self, session: One, floor: Floor) -> Told:
        """Tell a session everything that it has not heard and is not going to hear.

        Returns:
            What it was told, for `adopt`.

        Raises:
            PeerGone: It is gone already.
            SessionRefused: Likewise.

        """
        memory, told = self.memory, Told(dict.fromkeys(self.memory.agent_items(), ""))
        remembered = memory.items(without=frozenset(turn.item_id for turn in floor.unheard))
        texts: list[str] = []
        for one in remembered:
            told.order.append(self._new_name())
            texts.append(create_item(one, told.order[-1]))
            match one:
                case AgentSaid(item_id):
                    told.items[item_id] = told.order[-1]
                case ToolAsked(tool_call_id):
                    told.called.add(tool_call_id)
                case ToolAnswered(tool_call_id):
                    told.answered.add(tool_call_id)
                case _:
                    pass
        if any(isinstance(one, AgentSaid) for one in remembered):
            words = memory.cut_off()
            note = GOES_ON if not words else f"{GOES_ON} {CUT_OFF.format(words=words[-200:])}"
            told.order.append(self._new_name())
            texts.append(create_item(TextAdded("system", note), told.order[-1]))
        for text in texts:
            await session.send_event(text)
        return told

    def adopt(self, told: Told) -> None:
        """The session that was told this is the current one."""
        self._told = told

    def is_told(self, item_id: str) -> bool:
        """Whether this item is none of the current session's own making."""
        return item_id in self._told.items or item_id.startswith(LOCAL)

    def is_answered(self, tool_call_id: str) -> bool:
        """Whether the current session was told the output of this tool call."""
        return tool_call_id in self._told.answered

    def is_called(self, tool_call_id: str) -> bool:
        """Whether the current session was told of this tool call."""
        return tool_call_id in self._told.called

    def call_id(self, tool_call_id: str) -> str:
        """What the current session calls this tool call."""
        return short_call_id(tool_call_id) if tool_call_id in self._told.called else tool_call_id

    async def amend(self, session: One, item_id: str, order: TruncateItem | DeleteItem) -> None:
        """Correct what the current session was told of an item that another one made.

        Raises:
            PeerGone: It is gone.
            SessionRefused: Likewise.

        """
        names, ids = self._told.items, self._told.order
        told = names.get(item_id, "")
        if not told:
            await trio.lowlevel.checkpoint()
            return
        place = ids.index(told)
        before = ids[place - 1] if place else "root"
        heard = ""
        if isinstance(order, TruncateItem):
            heard = self.memory.heard(item_id, up_to_ms=order.audio_end_ms)
        del ids[place]
        names[item_id] = ""
        await session.send_event(delete_item(told))
        if heard:
            name = names[item_id] = self._new_name()
            ids.insert(place, name)
            await session.send_event(create_item(AgentSaid(item_id, heard), name, before))

    def _new_name(self) -> str:
        self._names += 1
        return f"again_{self._names}"
