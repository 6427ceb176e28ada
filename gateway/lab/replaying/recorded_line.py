"""The phone line of a flight log: it leaves its stream, and comes back, when it did so then.

All streams of a call are one socket in its log, whose audio lies on one clock already.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from actors.errors import CarrierRefused, PeerGone
from actors.messages import CarrierFact, CarrierOrder, StreamLeft, StreamMoved, StreamStopped
from actors.ports import Transfer, TransferOutcome
from actors.wire.twilio import Start
from gateway.lab.replaying.recorded_tools import LATE_S
from gateway.records.flight_log import Entry
from gateway.records.tap import Tap
from gateway.twilio.media import TwilioCarrier


@attrs.define(eq=False)
class RecordedLine:
    """Fits the `Carrier` port over a recorded socket."""

    carrier: TwilioCarrier
    _facts: deque[CarrierFact] = attrs.field(factory=deque[CarrierFact], init=False)
    _is_owed: bool = attrs.field(default=False, init=False)
    """The stream was left by now, and is not today."""
    _is_away: bool = attrs.field(default=False, init=False)
    _has_parted: bool = attrs.field(default=False, init=False)
    """The old stream is over: nothing comes until another is there."""
    _gone: PeerGone | None = attrs.field(default=None, init=False)
    _turn: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set, and replaced, when something became of a wish to leave."""
    _outcome: TransferOutcome | None = attrs.field(default=None, init=False)
    """What that was. `None`: the carrier refused."""
    _waiting: int = attrs.field(default=0, init=False)
    _missed_s: float = attrs.field(default=float("-inf"), init=False)
    """When it became something, and nobody waited."""
    _reading: trio.CancelScope | None = attrs.field(default=None, init=False)

    @property
    def start(self) -> Start:
        """What the first stream said about itself."""
        return self.carrier.start

    @property
    def tap(self) -> Tap | None:
        """Is told what crosses the socket."""
        return self.carrier.tap

    @tap.setter
    def tap(self, tap: Tap | None) -> None:
        self.carrier.tap = tap

    def say(self, entry: Entry) -> None:
        """Do once more what this entry says, if it was the line's doing."""
        match entry.place, entry.content:
            case "phone.in", ["left"]:
                # It was our own doing. Today we may do it a little later than then, and must not
                # find the stream gone while we wait for what was said to be heard.
                self._is_owed = True
                if self._waiting:
                    self._part()
            case "phone.in", ["parted"]:
                self._part()
                self._has_parted = True
            case "phone.in", ["moved", str(stream_sid)]:
                self._part()
                self._is_away = self._has_parted = False
                self._facts.append(StreamMoved(stream_sid))
            case "phone.in", ["answered"]:
                self._turned("answered")
            case "tool", ["does", int(), "press" | "transfer", *_]:
                self._missed_s = float("-inf")
                return
            case "tool", ["did", int(), "press" | "transfer", *rest]:
                # Nobody leaves twice at a time, so it is about whoever waits.
                self._became(rest)
                return
            case "phone.in", ["lost", str(reason)]:
                self._gone = PeerGone("carrier", None, reason)
            case "phone.in", ["stop"] if self._has_parted:
                self._facts.append(StreamStopped())
            case _:
                return
        self._wake()

    async def receive(self) -> CarrierFact:
        """Wait for the next fact: see `Carrier`."""
        while True:  # noqa: ASYNC913 (it awaits a fact, or has one)
            if self._facts:
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._facts.popleft()
            if self._gone is not None:
                raise self._gone
            with trio.CancelScope() as self._reading:
                if self._has_parted:
                    await trio.sleep_forever()
                return await self.carrier.receive()

    async def send(self, order: CarrierOrder) -> None:
        """Carry out one order: see `Carrier`."""
        if self._is_away:
            await trio.lowlevel.checkpoint()
        else:
            await self.carrier.send(order)

    async def hang_up(self) -> None:
        """End the phone call: see `Carrier`."""
        await self.carrier.hang_up()

    async def press(self, digits: str) -> None:  # noqa: ARG002 (they were sent then, or not)
        """Send keys: see `Carrier`."""
        await self._leave()

    async def transfer(self, to: Transfer) -> TransferOutcome:  # noqa: ARG002 (whom, no log says)
        """Connect the caller to somebody else: see `Carrier`."""
        return await self._leave()

    def hide_keys(self, hidden: bool) -> None:
        """Keep keys out of the log: see `Carrier`."""
        self.carrier.hide_keys(hidden)

    async def aclose(self) -> None:
        """Close the stream: see `Carrier`."""
        await self.carrier.aclose()

    def _part(self) -> None:
        """Leave the stream, if it was left by now."""
        if self._is_owed:
            self._is_owed, self._is_away = False, True
            self._facts.append(StreamLeft())
            self._wake()

    def _wake(self) -> None:
        if self._reading is not None:
            self._reading.cancel("there is news")

    async def _leave(self) -> TransferOutcome:
        """Wait for what became of it then.

        Raises:
            CarrierRefused: It came to nothing.

        """
        # A carrier that refused at once may have done so a little sooner than it is asked today.
        if trio.current_time() - self._missed_s > LATE_S:
            self._waiting += 1
            self._part()
            try:
                await self._turn.wait()
            finally:
                self._waiting -= 1
        else:
            await trio.lowlevel.checkpoint()
        self._missed_s = float("-inf")
        if self._outcome is None:
            raise CarrierRefused("as it was then")
        return self._outcome

    def _became(self, rest: list[object]) -> None:
        """A tool's wish to leave came to its end. Of an older log nobody knows to which."""
        match rest:
            case ["returned", "busy" | "no-answer" | "failed" | "canceled" as outcome]:
                self._turned(outcome)
            case ["returned", *_]:
                self._turned("failed")
            case ["cancelled", *_]:
                pass  # The tool of today is cancelled, too.
            case _:
                self._turned(None)

    def _turned(self, outcome: TransferOutcome | None) -> None:
        self._outcome = outcome
        if not self._waiting:
            self._missed_s = trio.current_time()
        self._turn.set()
        self._turn = trio.Event()
