"""The functions that the shipped scenarios call."""

from __future__ import annotations

from typing import Final

import trio

from actors.toolbox import Toolbox

HOURS: Final = {"saturday": "9 to 13", "sunday": "closed"}
LOOK_UP_S: Final = 0.4
"""As long as a small database takes, so that the timeline has something to show."""


def demo_tools() -> Toolbox:
    """Make the toolbox of the rehearsed dental practice."""
    toolbox = Toolbox()

    @toolbox.add
    async def opening_hours(day: str) -> str:
        """When the practice is open on a day of the week."""
        await trio.sleep(LOOK_UP_S)
        return HOURS.get(day.lower(), "8 to 18")

    return toolbox
