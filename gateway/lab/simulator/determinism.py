"""A scheduler that does the same thing twice: virtual time, and its dice thrown from a seed.

Trio shuffles the tasks that are ready, so that nobody relies on their order. Here the shuffle is
seeded and its input sorted, as trio itself does it under Hypothesis. The two private names this
takes are used nowhere else, and a test says when they are gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from trio._core import _run

from gateway.lab.virtual_time import VirtualClock

T = TypeVar("T")


def run_seeded(
    main: Callable[[], Awaitable[T]],
    *,
    seed: int,
    clock: VirtualClock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run `main` in virtual time. Whatever depends on nothing but `seed` happens the same way.

    Not inside another run of trio in the same thread, and one at a time per process: the
    scheduler's dice belong to the process.

    Args:
        main: What `trio.run` takes.
        seed: Of the order in which tasks that are ready take their turns.
        clock: One whose time jumps ahead by itself; a fresh one when `None`.
        instruments: See `trio.run`.

    """
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001
    state = _run._r.getstate()  # noqa: SLF001
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001
    _run._r.seed(seed)  # noqa: SLF001
    try:
        return trio.run(
            main,
            clock=clock or VirtualClock(),
            instruments=instruments,
        )
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]  # noqa: SLF001
        _run._r.setstate(state)  # noqa: SLF001
