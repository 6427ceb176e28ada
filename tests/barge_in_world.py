"""A world of two clocks for the playout ledger: a network in between, a carrier that plays.

The ledger is driven as the barge-in actor drives it; the carrier's buffer knows the truth.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from actors.policy.playout import Playout
from gateway.lab.twilio.playout_buffer import PlayoutBuffer


@attrs.frozen
class Weather:
    """What lies between the gateway and the carrier, and how well the carrier echoes."""

    out_ms: float
    back_ms: float
    jitter_ms: float
    """Mean of the exponential extra delay of each message; order is kept, as TCP keeps it."""
    echo_late: float = 0.1
    echo_lost: float = 0.05
    echo_twice: float = 0.05
    jitter_buffer_ms: float = 0.0
    """How long the carrier holds audio back before it plays it."""

    @classmethod
    def drawn(cls, rng: Random, *, jitter_buffer_ms: float = 0.0) -> Weather:
        return cls(
            rng.uniform(25, 80),
            rng.uniform(25, 80),
            rng.uniform(0, 12),
            jitter_buffer_ms=jitter_buffer_ms,
        )


@attrs.frozen
class Verdict:
    """One interrupted item: what the ledger believed, and what was true."""

    item_id: str
    believed_ms: int
    true_ms: float
    sent_ms: float
    """All the session ever sent of it: a truncate beyond is refused."""


@attrs.define(eq=False)
class World:
    """Discrete events: the session's deltas, the ledger's timer, both ways of the network."""

    rng: Random
    weather: Weather
    playout: Playout = attrs.field(factory=Playout)
    buffer: PlayoutBuffer = attrs.field(factory=PlayoutBuffer)
    now_ms: float = 0.0
    _events: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _order: itertools.count[int] = attrs.field(factory=itertools.count)
    _arrives_out_ms: float = 0.0
    _arrives_back_ms: float = 0.0
    _probes: dict[str, float] = attrs.field(factory=dict)
    _played: dict[str, list[tuple[int, int]]] = attrs.field(factory=dict)
    """Item to the spans of the carrier's buffer that hold its audio."""
    received: dict[str, int] = attrs.field(factory=dict)
    _watch_ms: float = -1.0
    _clears: int = 0

    def at(self, when_ms: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when_ms, self.now_ms), next(self._order), do))

    def run_until(self, when_ms: float) -> None:
        while self._events and self._events[0][0] <= when_ms:
            self.now_ms, _, do = heapq.heappop(self._events)
            do()
        self.now_ms = when_ms

    def says(self, response: str, items: list[tuple[str, int]], *, speed: float) -> None:
        """Deliver items of so many ms, in deltas of about 250 ms, `speed` times real time."""
        self.playout.response_started(response)
        when_ms = self.now_ms
        for item_id, ms in items:
            left = ms * ULAW_BYTES_PER_MS + self.rng.randrange(8)
            while left:
                size = min(left, self.rng.randint(1500, 2500))
                left -= size
                when_ms += size / ULAW_BYTES_PER_MS / speed
                self.at(when_ms, self._delta(response, item_id, size, done=not left))

        def finish() -> None:
            self.playout.response_finished(response)
            self._pump()

        self.at(when_ms + 1, finish)

    def _delta(self, response: str, item_id: str, size: int, *, done: bool) -> Callable[[], None]:
        def deliver() -> None:
            if self.playout.is_dead(response):
                return
            self.received[item_id] = self.received.get(item_id, 0) + size
            self.playout.received(response, item_id, b"\x10" * size)
            if done:
                self.playout.item_done(item_id)
            self._pump()

        return deliver

    def _pump(self) -> None:
        """Send what is due, and come back when more is."""
        while (portion := self.playout.take(now_ms=self.now_ms)) is not None:
            if portion.ulaw:
                self._to_playout(self._play(portion.item_id, portion.ulaw))
            if portion.mark is not None:
                self._to_playout(partial(self._mark, portion.mark))
        due_ms = self.playout.due_ms()
        if due_ms is not None and due_ms != self._watch_ms:
            # The actor's timer is good to about a millisecond.
            self._watch_ms = due_ms
            self.at(due_ms + self.rng.uniform(0, 1), self._pump)

    def _play(self, item_id: str, ulaw: bytes) -> Callable[[], None]:
        def arrive() -> None:
            start = self.buffer.play(ulaw, self.now_ms)
            self._played.setdefault(item_id, []).append((start, start + len(ulaw)))

        return arrive

    def probe(self) -> None:
        name = self.playout.new_name()
        self._probes[name] = self.now_ms
        self._to_carrier(lambda: self._mark(name))

    def _mark(self, name: str) -> None:
        self.buffer.mark(name, self.now_ms)
        self._collect()

    def _to_playout(self, do: Callable[[], object]) -> None:
        """Through the network, then through the carrier's jitter buffer, unless it is cleared."""

        def arrive() -> None:
            clears = self._clears

            def play() -> None:
                if clears == self._clears:
                    do()

            self.at(self.now_ms + self.weather.jitter_buffer_ms, play)

        self._to_carrier(arrive)

    def _to_carrier(self, do: Callable[[], object]) -> None:
        delay_ms = self.weather.out_ms + self._jitter()
        self._arrives_out_ms = max(self._arrives_out_ms, self.now_ms + delay_ms)

        def arrive() -> None:
            do()

        self.at(self._arrives_out_ms, arrive)

    def _jitter(self) -> float:
        mean = self.weather.jitter_ms
        return self.rng.expovariate(1 / mean) if mean else 0.0

    def _collect(self) -> None:
        """Send back what echoes, now and when the next mark is reached."""
        for echo in self.buffer.advance(self.now_ms):
            if self.rng.random() < self.weather.echo_lost:
                continue
            times = 2 if self.rng.random() < self.weather.echo_twice else 1
            late = self.rng.random() < self.weather.echo_late
            for _ in range(times):
                delay_ms = self.weather.back_ms + self._jitter()
                if late:
                    self.at(
                        self.now_ms + delay_ms + self.rng.uniform(20, 300), self._echo(echo.name)
                    )
                else:
                    self._arrives_back_ms = max(self._arrives_back_ms, self.now_ms + delay_ms)
                    self.at(self._arrives_back_ms, self._echo(echo.name))
        next_ms = self.buffer.next_echo_ms()
        if next_ms is not None:
            self.at(next_ms, self._collect)

    def _echo(self, name: str) -> Callable[[], None]:
        def arrive() -> None:
            sent_ms = self._probes.pop(name, None)
            if sent_ms is not None:
                self.playout.head.probed(self.now_ms - sent_ms)
            self.playout.echoed(name, now_ms=self.now_ms)

        return arrive

    def barge_in(self) -> list[Verdict]:
        """Cut, let the clear reach the carrier, and compare."""
        self.playout.kill_active()
        if self.playout.idle:
            return []
        cut = self.playout.cut(now_ms=self.now_ms)

        def clear() -> None:
            self._clears += 1
            self.buffer.clear(self.now_ms)
            self._collect()

        self._to_carrier(clear)
        self._watch_ms = -1.0
        self.run_until(self._arrives_out_ms)
        return [
            Verdict(
                item.item_id,
                item.heard_ms,
                min(
                    self.received[item.item_id],
                    sum(
                        self.buffer.played_between(start, end, self.now_ms)
                        for start, end in self._played.get(item.item_id, [])
                    ),
                )
                / ULAW_BYTES_PER_MS,
                self.received[item.item_id] / ULAW_BYTES_PER_MS,
            )
            for item in cut.items
        ]


def one_call(
    seed: int, *, barge_ins: int = 4, items: int | None = None, jitter_buffer_ms: float = 0.0
) -> list[Verdict]:
    """A call with several interrupted answers, drawn from a seed; `items` each, or 1 to 3."""
    rng = Random(seed)
    world = World(rng, Weather.drawn(rng, jitter_buffer_ms=jitter_buffer_ms))
    for number in range(4):
        world.at(250 * number, world.probe)
    world.run_until(1000)
    verdicts: list[Verdict] = []
    for turn in range(barge_ins):
        lengths = [rng.randint(800, 5000) for _ in range(items or rng.randint(1, 3))]
        said = [(f"item_{turn}_{n}", ms) for n, ms in enumerate(lengths)]
        world.says(f"resp_{turn}", said, speed=rng.uniform(3, 8))
        total_ms = sum(lengths)
        world.run_until(world.now_ms + rng.uniform(100, total_ms + 200))
        verdicts += world.barge_in()
        world.run_until(world.now_ms + rng.uniform(500, 2500))
        world.probe()
        world.run_until(world.now_ms + rng.uniform(500, 1500))
    return verdicts
