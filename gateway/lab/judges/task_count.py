"""What a run of trio costs the process, and what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import trio


def _open_files() -> int:
    """How many file descriptors this process has; 0 where nobody tells."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


@attrs.define(eq=False)
class TaskCount(trio.abc.Instrument):
    """Counts what a run of trio costs the process. Made before the run, asked after it."""

    tasks: int = attrs.field(default=0, init=False)
    """Tasks there are."""
    _threads: int = attrs.field(factory=threading.active_count, init=False)
    _files: int = attrs.field(factory=_open_files, init=False)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        del task
        self.tasks += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        del task
        self.tasks -= 1

    def complaints(self) -> Iterator[str]:
        """What is left of the run."""
        if self.tasks:
            yield f"I1 the process: {self.tasks} tasks are left"
        if (threads := threading.active_count() - self._threads) > 0:
            yield f"I1 the process: {threads} threads are left"
        if (files := _open_files() - self._files) > 0:
            yield f"I1 the process: {files} files are left open"
