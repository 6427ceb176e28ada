"""The only channel of this repository: bounded, and its policy is in its constructor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Generic, TypeVar

import attrs
import trio

from actors.errors import LaneOverflow

T = TypeVar("T")


class OnFull(Enum):
    """What `Lane.put` does when there is no room."""

    DROP_OLDEST = auto()
    """Live audio: by the time there is room, the oldest frame is the least worth sending."""
    FAIL = auto()
    """Control: losing one message leaves two peers believing different things. End the call."""


@attrs.define(eq=False)
class Lane(Generic[T]):
    """A bounded one-reader mailbox.

    Args:
        name: For logs and for `LaneOverflow`.
        size: Most items held, in items (not bytes, not ms).
        on_full: See `OnFull`.

    """

    name: str
    size: int = attrs.field(validator=attrs.validators.ge(1))
    on_full: OnFull = OnFull.FAIL
    dropped: int = attrs.field(default=0, init=False)
    """Items discarded so far by `DROP_OLDEST`."""
    peak: int = attrs.field(default=0, init=False)
    """Most items ever held at once."""
    refused: list[T] = attrs.field(factory=list[T], init=False)
    """What `FAIL` had no room for. One is enough to end a call, so there are few."""
    _send: trio.MemorySendChannel[T] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[T] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[T](self.size)

    def put(self, item: T) -> T | None:
        """Hand over `item` without waiting.

        Returns:
            What was discarded for it, if anything.

        Raises:
            LaneOverflow: The lane is full and its policy is `FAIL`. The item is in `refused`.

        """
        discarded: T | None = None
        while True:
            try:
                self._send.send_nowait(item)
            except trio.WouldBlock:
                if self.on_full is OnFull.FAIL:
                    self.refused.append(item)
                    raise LaneOverflow(self.name, self.size) from None
                discarded = self._receive.receive_nowait()
                self.dropped += 1
            else:
                self.peak = max(self.peak, len(self))
                return discarded

    async def take(self) -> T:
        """Wait for the oldest item. Cancellable; a cancelled take loses nothing."""
        return await self._receive.receive()

    def take_nowait(self) -> T | None:
        """Take the oldest item, if there is one."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    def left_over(self) -> list[T]:
        """Everything that nobody took, once nobody will: `refused`, too."""
        return [*self.drain(), *self.refused]

    def drain(self) -> list[T]:
        """Take back everything not yet read, oldest first."""
        items: list[T] = []
        while True:
            try:
                items.append(self._receive.receive_nowait())
            except trio.WouldBlock:
                return items

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used

    def __aiter__(self) -> AsyncIterator[T]:
        return self._receive
