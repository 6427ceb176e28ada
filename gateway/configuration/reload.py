"""An edited configuration, picked up while the gateway serves: for calls that come from then on.

Agents are exchanged; every other section needs a restart, and is said to. An edit with a mistake
in it changes nothing, and every mistake is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import attrs
import structlog
import trio

from gateway.configuration.config import Config, ConfigError, load
from gateway.configuration.roster import LiveRoster, Roster
from gateway.configuration.tool_rules import offered_remarks

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
"""Somebody who saved a file can wait this long before they call. Twice as long at most: a file is
read when it has been the same at two looks, since an editor may be writing it."""
READ_MAX_S: Final = 30.0
"""For reading all of it, files of tools included: they may load a model of their own. One that
takes longer, or forever, is a broken edit."""
Read = TypeVar("Read")
_FIXED: Final = ("server", "calls", "openai", "twilio", "mcp")

_Stamp = dict[Path, tuple[int, int, int] | None]


@attrs.define(eq=False)
class Reloader:
    """Looks at the files that a configuration came from, and exchanges the agents of a roster."""

    file: Path
    """The configuration; it need not be there yet."""
    environ: Mapping[str, str]
    roster: LiveRoster
    config: Config
    """What is served, or was read last without a mistake."""
    functions: Collection[str] = ()
    """See `load`."""
    _files: tuple[Path, ...] = attrs.field(init=False)
    _read: _Stamp = attrs.field(init=False)
    """The files as they were when they were read."""
    _seen: _Stamp = attrs.field(init=False)
    """As they were at the last look."""

    def __attrs_post_init__(self) -> None:
        self._files = tuple(dict.fromkeys((self.file, *self.config.files)))
        self._read = self._seen = _stamp(self._files)

    async def run(self, *, every_s: float = LOOK_EVERY_S) -> NoReturn:
        """Look every second, until cancelled."""
        while True:
            await trio.sleep(every_s)
            await self.look()

    async def look(self, *, longest_s: float = READ_MAX_S) -> bool:
        """Read the configuration if it was edited and is not being edited any more. Cancellable.

        Args:
            longest_s: For reading it. What is being read then is left to itself.

        Returns:
            Whether there are other agents now.

        """
        # Looking costs less than a thread would: a handful of files, whose entries are cached.
        seen, self._seen = self._seen, _stamp(self._files)
        if self._seen == self._read or self._seen != seen:
            await trio.lowlevel.checkpoint()
            return False
        self._read = self._seen
        outcome = await self._outcome(longest_s)
        if isinstance(outcome, ConfigError):
            self._watch(outcome.files)
            log.error("config.reload_failed", problems=list(outcome.problems))
            return False
        config, roster = outcome
        self._watch(config.files)
        fixed = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        if fixed:
            log.warning("config.restart_needed", sections=fixed)
        self.config = config
        if roster.agents == self.roster.current.agents:
            return False
        # Who answers unknown numbers is the server's, and stays what it was.
        self.roster.current = attrs.evolve(
            roster, unknown_numbers=self.roster.current.unknown_numbers
        )
        log.info("config.reloaded", versions=roster.versions())
        for remark in offered_remarks(config, roster.agents):
            log.warning("config.remark", what=remark)
        return True

    async def _outcome(self, longest_s: float) -> tuple[Config, Roster] | ConfigError:
        """The configuration as it is now. One that was there and is gone is a mistake as well."""
        files = self._files
        with trio.move_on_after(longest_s):
            config = await _beside(
                partial(load, self.file, self.environ, functions=self.functions), files
            )
            if isinstance(config, ConfigError):
                return config
            files = config.files
            roster = await _beside(partial(Roster.of, config), files)
            return roster if isinstance(roster, ConfigError) else (config, roster)
        slow = f"{self.file} and the files it names take longer than {longest_s:g} s to read"
        return ConfigError((slow,), files)

    def _watch(self, files: tuple[Path, ...]) -> None:
        """Look at these from now on. What changed while they were read is seen at the next look."""
        known = self._read
        self._files = tuple(dict.fromkeys((self.file, *files)))
        now = _stamp(self._files)
        self._read = {path: known.get(path, now[path]) for path in self._files}
        self._seen = now


async def _beside(read: Callable[[], Read], files: tuple[Path, ...]) -> Read | ConfigError:
    """Read in a thread: it may run what somebody else wrote, while calls are being served.

    Cancellable; the thread is left to itself then. A file that waits forever must not keep the
    gateway from stopping.
    """

    def attempt() -> Read | ConfigError:
        try:
            return read()
        except ConfigError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the old agents go on.
            return ConfigError((f"cannot be read: {type(error).__name__}: {error}",), files)

    return await trio.to_thread.run_sync(attempt, abandon_on_cancel=True)


def _stamp(files: tuple[Path, ...]) -> _Stamp:
    return {path: _state(path) for path in files}


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
