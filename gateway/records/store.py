"""The records of calls, on disk: one folder per call."""

from __future__ import annotations

import os
import re
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args

import attrs
import cattrs
import orjson
import structlog
import trio

from actors.exits import Exit
from actors.policy.record import CallRecord
from gateway.records.timeline import draw

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CALL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What a call may be called, so that its name can be a folder's. Twilio's are `CA` and 32 hex."""


@attrs.frozen
class UnsafeCallId(Exception):
    """A call's id is no name for a folder. Never quotes it."""

    length: int

    def __str__(self) -> str:
        return f"a call id of {self.length} characters is no name for a folder"


def call_folder(root: Path, call_sid: str) -> Path:
    """Where everything about one call lies.

    Raises:
        UnsafeCallId: The id is empty, too long, or holds anything but letters, digits, `_` and `-`.

    """
    if CALL_ID.fullmatch(call_sid) is None:
        raise UnsafeCallId(len(call_sid))
    return root / call_sid


def make_private(folder: Path) -> None:
    """Make a folder for what people said: nobody else on this machine may look into it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()

    def exit_to_json(why: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the exits.
        fields = attrs.asdict(why, filter=lambda field, _: field.init)
        named = {"exit": type(why).__name__, "side": why.side} | fields
        return {key: converter.unstructure(value) for key, value in named.items()}

    for kind in get_args(Exit):
        converter.register_unstructure_hook(kind, exit_to_json)
    # An exception's text may hold what UTF-8 cannot, and must not cost the record.
    converter.register_unstructure_hook(
        str, lambda text: text.encode("utf-8", "replace").decode("utf-8")
    )
    return converter


_converter: Final = _make_converter()


def to_json(record: CallRecord) -> bytes:
    """Write a record the way `call.json` has it: UTF-8, indented, ending in a newline."""
    return orjson.dumps(
        _converter.unstructure(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )


@attrs.define(eq=False)
class FolderStore:
    """A `CallStore` that gives every call a folder with `call.json` and `timeline.svg`."""

    root: Path
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(4), init=False
    )
    """Its own threads, so that a stuck disk does not use up everybody's."""

    def has(self, call_sid: str) -> bool:
        """Whether there are records of this call, finished or not."""
        return CALL_ID.fullmatch(call_sid) is not None and (self.root / call_sid).exists()

    async def finish(self, record: CallRecord) -> None:
        """Write the end record of one call. Cancelled, it ends in its thread.

        Raises:
            UnsafeCallId: The call's id cannot name a folder; nothing was written.
            OSError: The disk will not have it.

        """
        folder = call_folder(self.root, record.call_sid)
        await trio.to_thread.run_sync(
            _write, folder, record, abandon_on_cancel=True, limiter=self._limiter
        )


@attrs.define(eq=False)
class MemoryStore:
    """A `CallStore` that only remembers."""

    records: list[CallRecord] = attrs.field(factory=list[CallRecord])

    async def finish(self, record: CallRecord) -> None:
        """Remember the end record of one call."""
        self.records.append(record)
        await trio.lowlevel.checkpoint()


def keep_beside(root: Path, call_sid: str, file_name: str, content: bytes) -> None:
    """Write something about a call into its folder, which need not be there. Blocking.

    Raises:
        UnsafeCallId: The call's id cannot name a folder; nothing was written.
        OSError: The disk will not have it.

    """
    folder = call_folder(root, call_sid)
    make_private(folder)
    _replace(folder / file_name, content)


def _write(folder: Path, record: CallRecord) -> None:
    """Write both files, the record before its picture. Runs in a thread."""
    make_private(folder)
    _replace(folder / "call.json", to_json(record))
    try:
        _replace(folder / "timeline.svg", draw(record).encode("utf-8", "replace"))
    except Exception:  # noqa: BLE001 - the record is safe, and a picture is not worth an error.
        # As text: a logger with a mind of its own would print variables, and what was said.
        log.warning("timeline.not_drawn", traceback=traceback.format_exc())


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, not even after a power cut."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
