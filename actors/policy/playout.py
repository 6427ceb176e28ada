"""The playout ledger: per conversation item, what was received, what was sent, what was heard.

Pure: no trio, no sockets, no clock; `now_ms` is an argument, on any steady clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actors.messages import (
    FRAME_BYTES,
    ULAW_BYTES_PER_MS,
    ULAW_SILENCE,
    ItemCut,
    ItemHeard,
)
from actors.policy.playhead import PlayHead

LEAD_MS: Final = 200.0
"""How far ahead of the play head audio is sent. Smaller, and a late wake-up or a slow packet is
heard as a gap; larger, and more is thrown away at a barge-in and the head is known less well."""

PORTION_BYTES: Final = 2 * FRAME_BYTES
"""40 ms a message: half the messages of the carrier's own 20 ms, and well inside the lead."""

MARK_EVERY_BYTES: Final = 200 * ULAW_BYTES_PER_MS
"""Design: one mark per 160 to 400 ms. A mark per frame delayed audio in the field
(twilio-samples/speech-assistant-openai-realtime-api-python#20)."""

QUEUED_MAX_BYTES: Final = 300_000 * ULAW_BYTES_PER_MS
"""Most audio held back: five minutes, 2.4 MB. The longest response the API allows, 4096 tokens of
50 ms, is 205 s; whoever sends more is not answering a phone call."""

DEAD_RESPONSES: Final = 32
"""Interrupted responses remembered, so that their late audio is known. The server ends one before
it starts the next, so one would do; the rest is for a server that does not."""


@attrs.define(eq=False)
class _Item:
    item_id: str
    response_id: str
    received_bytes: int = 0
    sent_bytes: int = 0
    from_position: int = 0
    """Where its first byte lies in all that was ever sent. Meaningless before it was sent."""
    done: bool = False
    clipped: bool = False
    """The session made more of it than was taken in."""
    queue: bytearray = attrs.field(factory=bytearray)

    @property
    def exhausted(self) -> bool:
        return self.done and not self.queue


@attrs.frozen
class _Mark:
    name: str
    position: int
    item_id: str
    item_bytes: int
    last: bool
    timely: bool
    """Put before what is in front of it had been played: its echo tells when that was."""


@attrs.frozen
class Portion:
    """Audio that is due, and the marks that go behind it."""

    item_id: str
    response_id: str
    first: bool
    """The first audio of this item."""
    ulaw: bytes
    """A multiple of `FRAME_BYTES`; empty when only a mark is due."""
    starts_ms: float
    """When its first byte is played, on the clock of `now_ms` and without the way back."""
    mark: str | None


@attrs.frozen
class Cut:
    """What a barge-in found."""

    at_ms: float
    """When the play head stops, on the clock of `now_ms` and without the way back."""
    items: tuple[ItemCut, ...]
    """In the order of playout; empty when all that was received had been heard."""
    dropped_bytes: int
    """Received audio that will not be played."""


@attrs.define(eq=False)
class Playout:
    """Takes in items as the session makes them; hands out portions as they become due."""

    head: PlayHead = attrs.field(factory=PlayHead, init=False)
    _items: dict[str, _Item] = attrs.field(factory=dict[str, _Item], init=False)
    """In the order of playout, from the oldest not wholly heard."""
    _marks: deque[_Mark] = attrs.field(factory=deque[_Mark], init=False)
    _names: int = attrs.field(default=0, init=False)
    _marked_to: int = attrs.field(default=0, init=False)
    queued_bytes: int = attrs.field(default=0, init=False)
    """Taken in, and neither handed out nor forgotten."""
    queued_peak: int = attrs.field(default=0, init=False)
    """Most of that at any time."""
    padded_bytes: int = attrs.field(default=0, init=False)
    """Silence handed out behind items, to make whole frames."""
    _active: str | None = attrs.field(default=None, init=False)
    """The response being generated."""
    _finished: deque[str] = attrs.field(factory=lambda: deque(maxlen=DEAD_RESPONSES), init=False)
    _dead: deque[str] = attrs.field(factory=lambda: deque(maxlen=DEAD_RESPONSES), init=False)
    _dropped_items: deque[str] = attrs.field(
        factory=lambda: deque(maxlen=DEAD_RESPONSES), init=False
    )

    # What the session says.

    def response_started(self, response_id: str) -> None:
        """From here to its end, this response is what an interruption kills.

        There is one at a time, so every other has ended, whether we were told or not: an item
        that waits for more of it would block all that comes behind.
        """
        for item in self._items.values():
            item.done = item.done or item.response_id != response_id
        self._active = response_id

    def response_finished(self, response_id: str) -> None:
        """No item of this response will have more audio."""
        if self._active == response_id:
            self._active = None
        self._finished.append(response_id)
        for item in self._items.values():
            if item.response_id == response_id:
                item.done = True

    def is_dead(self, response_id: str) -> bool:
        """Whether this response was interrupted: its audio is late and must not be played."""
        return response_id in self._dead

    def late(self, item_id: str) -> bool:
        """Whether this item of a dead response is news, so that it has to be deleted."""
        if item_id in self._dropped_items:
            return False
        self._dropped_items.append(item_id)
        return True

    def received(self, response_id: str, item_id: str, ulaw: bytes) -> bool:
        """Take in audio of a living response. False: there is no room, and the item is clipped."""
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item(item_id, response_id)
            item.done = response_id in self._finished
        if self.queued_bytes + len(ulaw) > QUEUED_MAX_BYTES or item.clipped:
            item.clipped = True
            return False
        item.queue += ulaw
        item.received_bytes += len(ulaw)
        self.queued_bytes += len(ulaw)
        self.queued_peak = max(self.queued_peak, self.queued_bytes)
        return True

    def item_done(self, item_id: str) -> None:
        """Everything this item will ever have was received."""
        if item_id in self._items:
            self._items[item_id].done = True

    def holds(self, item_id: str) -> bool:
        """Whether something of this item has not been heard yet, as far as is known."""
        return item_id in self._items

    # What is due.

    def due_ms(self) -> float | None:
        """When the next portion wants to be sent; `None` while there is nothing to send."""
        item = self._next_item()
        if item is None or not (item.done or len(item.queue) >= FRAME_BYTES):
            return None
        return self.head.ideal_ms(self.head.sent_bytes) - LEAD_MS

    def take(self, *, now_ms: float) -> Portion | None:
        """The portion that is due now, counted as sent. Call it until it returns `None`."""
        due_ms = self.due_ms()
        item = self._next_item()
        if item is None or due_ms is None or due_ms > now_ms:
            return None
        first = item.sent_bytes == 0
        size = min(PORTION_BYTES, len(item.queue))
        if not item.done:
            size -= size % FRAME_BYTES
        audio = bytes(item.queue[:size])
        del item.queue[:size]
        self.queued_bytes -= size
        padded = audio + ULAW_SILENCE * (-len(audio) % FRAME_BYTES)
        self.padded_bytes += len(padded) - len(audio)
        starts_ms = self.head.lag_ms
        starts_ms += self.head.sends(len(padded), now_ms=now_ms) if padded else now_ms
        timely = self.head.position(now_ms=now_ms) < self.head.sent_bytes
        if first:
            item.from_position = self.head.sent_bytes - len(padded)
        item.sent_bytes += size
        mark = self._mark_behind(item, timely=timely)
        return Portion(item.item_id, item.response_id, first, padded, starts_ms, mark)

    def _next_item(self) -> _Item | None:
        """The item whose audio, or whose last mark, goes out next."""
        for item in self._items.values():
            if not item.exhausted:
                return item
            if not any(mark.last and mark.item_id == item.item_id for mark in self._marks):
                return item
        return None

    def _mark_behind(self, item: _Item, *, timely: bool) -> str | None:
        if not item.exhausted and self.head.sent_bytes - self._marked_to < MARK_EVERY_BYTES:
            return None
        self._marked_to = self.head.sent_bytes
        name = self.new_name()
        position = self.head.sent_bytes
        self._marks.append(
            _Mark(name, position, item.item_id, item.sent_bytes, item.exhausted, timely)
        )
        return name

    def new_name(self) -> str:
        """A mark name never used before in this call."""
        self._names += 1
        return f"m{self._names}"

    # What was heard.

    def echoed(self, name: str, *, now_ms: float) -> tuple[ItemHeard, ...]:
        """Learn from an echo what was heard. Unknown, repeated and cleared marks teach nothing.

        An echo stands for the marks before it too: playout is in order, echoes get lost.
        """
        if all(mark.name != name for mark in self._marks):
            return ()
        heard: dict[str, ItemHeard] = {}
        while self._marks:
            mark = self._marks.popleft()
            whole = mark.last and self._is_last(mark)
            heard[mark.item_id] = ItemHeard(
                mark.item_id, mark.item_bytes // ULAW_BYTES_PER_MS, whole=whole
            )
            if whole:
                del self._items[mark.item_id]
            if mark.name == name:
                if mark.timely:
                    self.head.echoes(mark.position, now_ms=now_ms)
                break
        return tuple(heard.values())

    def _is_last(self, mark: _Mark) -> bool:
        """Whether no more audio came for the item of a last mark; a second part of it may."""
        item_id = mark.item_id
        return self._items[item_id].exhausted and all(m.item_id != item_id for m in self._marks)

    @property
    def idle(self) -> bool:
        """Whether all that was received has been heard, by its marks."""
        return not self._items

    @property
    def is_under_way(self) -> bool:
        """Whether something was handed out of which it is not known that it was heard."""
        return any(item.sent_bytes for item in self._items.values())

    def restarts(self, *, now_ms: float) -> None:
        """What is held back goes to another stream. Nothing may be under way."""
        self._marks.clear()
        self._marked_to = self.head.sent_bytes
        self.head.restarts(now_ms=now_ms)

    def overdue_ms(self, patience_ms: float) -> float | None:
        """When the last mark ought to have been back; `None` while there is audio to send."""
        if self.idle or self._next_item() is not None:
            return None
        return self.head.ends_ms() + self.head.round_trip_ms + patience_ms

    def give_up_on_marks(self) -> None:
        """Believe the clock: everything sent was heard."""
        self._marks.clear()
        self._items = {key: item for key, item in self._items.items() if not item.exhausted}

    def kill_active(self) -> None:
        """What is being generated is dead from here on, heard or not."""
        if self._active is not None:
            self.kill(self._active)

    def kill_finished(self) -> None:
        """Nothing more of what was ever finished is wanted, should it still come."""
        for response_id in self._finished:
            self.kill(response_id)

    def cut(self, *, now_ms: float, unsent_bytes: int = 0) -> Cut:
        """Stop everything at the play head, and forget it.

        Args:
            now_ms: When the `clear` is sent.
            unsent_bytes: What was handed out and never reached the wire.

        """
        reachable = self.head.sent_bytes - unsent_bytes
        position = min(reachable, self.head.position(now_ms=now_ms))
        cuts = [cut for item in self._items.values() if (cut := _cut(item, position))]
        for item in self._items.values():
            self.kill(item.response_id)
            self._dropped_items.append(item.item_id)
        dropped = self.queued_bytes + self.head.sent_bytes - position
        self._items.clear()
        self._marks.clear()
        self.queued_bytes = 0
        self._marked_to = self.head.sent_bytes
        at_ms = self.head.ideal_ms(position) + self.head.lag_ms
        self.head.clears(now_ms=now_ms)
        return Cut(at_ms, tuple(cuts), dropped)

    def kill(self, response_id: str) -> None:
        """Take every further word of this response for late."""
        if response_id not in self._dead:
            self._dead.append(response_id)


def _cut(item: _Item, position: int) -> ItemCut | None:
    """How much of one item lies before the head; `None` when that is all of it."""
    heard = min(item.sent_bytes, max(0, position - item.from_position)) if item.sent_bytes else 0
    if item.done and heard == item.received_bytes and not item.clipped:
        return None
    # Rounded down: the server refuses a truncate beyond what it sent.
    return ItemCut(
        item.item_id, heard // ULAW_BYTES_PER_MS, item.received_bytes // ULAW_BYTES_PER_MS
    )
