"""How work grows with what it is about: a ratio, since seconds tell of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

TIMES: Final = 16
"""How much more the larger one is."""
LINEAR: Final = 4 * TIMES
"""Below this it grew in proportion, whatever else the machine did. A square is four times more."""


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times longer `TIMES` as much takes, in CPU time: the quickest of five of each."""
    return _quickest_s(work, size * TIMES) / max(_quickest_s(work, size), 1e-6)


def _quickest_s(work: Callable[[int], object], size: int) -> float:
    took_s: list[float] = []
    for _ in range(5):
        began_s = time.thread_time()
        work(size)
        took_s.append(time.thread_time() - began_s)
    return min(took_s)
