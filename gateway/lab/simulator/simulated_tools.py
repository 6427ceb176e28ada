"""The functions of the agent that is simulated when nobody brings their own."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from actors.control import CallControl
from actors.ports import Transfer
from actors.toolbox import Toolbox

PRESS: Final = "press_keys"
CONNECT: Final = "connect"
ASK_DIGITS: Final = "ask_digits"
MOVES: Final = frozenset({PRESS, CONNECT, ASK_DIGITS})
"""Functions that wait for the carrier or the caller: their time is not the model's to bound."""

RING_S: Final = 6.0


def simulated_tools(*, with_moves: bool = False) -> Toolbox:
    """Make a toolbox with a quick function, a slow one, and one that always fails.

    Args:
        with_moves: Also with those that move the call about.

    """
    toolbox = Toolbox()
    low = partial(toolbox.add, risk="low")
    if with_moves:
        _add_moves(toolbox)

    @low
    async def look_up(what: str) -> str:
        """Find something at once."""
        await trio.sleep(0.05)
        return f"found {what}"

    @low
    async def slow_search(what: str) -> str:
        """Find something after a while."""
        await trio.sleep(1.2)
        return f"found {what} at last"

    @low
    async def always_fails(what: str) -> str:
        """Find nothing, loudly."""
        await trio.lowlevel.checkpoint()
        raise LookupError(what)

    return toolbox


def _add_moves(toolbox: Toolbox) -> None:
    low = partial(toolbox.add, risk="low")

    @low
    async def press_keys(call: CallControl, keys: str) -> str:
        """Press keys at the other end."""
        await call.press(keys)
        return "pressed"

    @low
    async def connect(call: CallControl, to: str, whisper: str | None = None) -> str:
        """Connect the caller to somebody."""
        return await call.transfer(Transfer(to, whisper=whisper, ring_s=RING_S))

    @low
    async def ask_digits(call: CallControl, most: int, is_private: bool) -> str:
        """Wait for the caller's keys."""
        keys = await call.collect_digits(most=most, first_s=6.0, private=is_private)
        return f"{len(keys)} keys" if is_private else f"the keys {keys}"
