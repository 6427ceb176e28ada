"""How many files a process needs for its calls, and how many it may open."""

from __future__ import annotations

import resource
from typing import Final

FILES_PER_CALL: Final = 4
"""Two sockets, the recording, and the record while it is written."""
FILES_BESIDE: Final = 64
"""What the process has open without any call."""


def files_allowed() -> int | None:
    """How many files this process may open, once it asks for all; `None`: any number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def files_needed(max_concurrent: int) -> int:
    """How many files this many calls need."""
    return FILES_PER_CALL * max_concurrent + FILES_BESIDE
