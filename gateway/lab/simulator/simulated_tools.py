"""The functions of the agent that is simulated when nobody brings their own."""

from __future__ import annotations

import trio

from actors.toolbox import Toolbox


def simulated_tools() -> Toolbox:
    """Make a toolbox with a quick function, a slow one, and one that always fails."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up(what: str) -> str:
        """Find something at once."""
        await trio.sleep(0.05)
        return f"found {what}"

    @toolbox.add
    async def slow_search(what: str) -> str:
        """Find something after a while."""
        await trio.sleep(1.2)
        return f"found {what} at last"

    @toolbox.add
    async def always_fails(what: str) -> str:
        """Find nothing, loudly."""
        await trio.lowlevel.checkpoint()
        raise LookupError(what)

    return toolbox
