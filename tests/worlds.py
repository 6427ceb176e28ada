"""Whole calls in virtual time, from a few lines of YAML.

Rules of the tests that use this: time moves only in virtual time, so a test names
`autojump_clock`; who breaks something notes when; and everything is asked of the world afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actors.errors import CarrierRefused
from actors.exits import Exit
from actors.messages import AppendAudio, SessionFact, SessionOrder
from actors.ports import Transfer, TransferOutcome
from gateway.lab.rehearsing.scenario import parse
from gateway.lab.world import World


def tone(text: str) -> bytes:
    """Sixty milliseconds of 1 kHz per character, and a few bytes more than whole frames."""
    return b"\x90\x90\x90\x90\x10\x10\x10\x10" * (60 * len(text)) + b"\x90\x90\x90"


def world(yaml: str, **arrangements: Any) -> World:  # noqa: ANN401 - whatever a world takes.
    """A world with this scenario in it."""
    return World(parse(f"name: test\n{yaml}"), tone, **arrangements)


async def play(one: World, *meddlers: Callable[[World], Awaitable[None]]) -> Exit:
    """See a call through, and whatever else is to happen meanwhile; an hour at most."""
    with trio.fail_after(3700):
        async with trio.open_nursery() as nursery:
            for meddler in meddlers:
                nursery.start_soon(meddler, one)
            why = await one.run()
            nursery.cancel_scope.cancel()
    return why


def at(when_s: float, do: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
    """Something that happens at a moment of the call."""

    async def later(one: World) -> None:
        await trio.sleep(when_s)
        await do(one)

    return later


class Straight:
    """The part of a carrier's double that cannot do more with a call than carry it."""

    keys_hidden = False

    async def press(self, digits: str) -> None:
        raise CarrierRefused("this line has no keys")

    async def transfer(self, to: Transfer) -> TransferOutcome:
        raise CarrierRefused("this line goes nowhere else")

    def hide_keys(self, hidden: bool) -> None:
        self.keys_hidden = hidden


class Scripted:
    """Stands for a session that says these facts, a tenth of a second apart, and nothing else."""

    def __init__(self, *facts: SessionFact) -> None:
        self.facts = list(facts)
        self.orders: list[SessionOrder] = []

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> SessionFact:
        await trio.sleep(0.1)
        if not self.facts:
            await trio.sleep_forever()
        return self.facts.pop(0)

    async def send(self, order: SessionOrder) -> None:
        await trio.lowlevel.checkpoint()
        if not isinstance(order, AppendAudio):
            self.orders.append(order)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


LONG_ANSWER = """
model:
  answers:
    - items: [{say: "A very long greeting that goes on and on, and on, and then some more."}]
"""
"""Four seconds of greeting."""

CHAT = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "First of two items."}, {say: "And this is the second of them."}]
caller:
  - {wait: agent_quiet, say: "Tell me more."}
  - {wait: call_end}
"""

GOODBYE = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items:
        - say: "Thank you for calling, goodbye."
        - call: {name: hangup, arguments: {reason: done}}
caller:
  - {wait: agent_quiet, say: "That was all."}
  - {wait: call_end}
"""
