"""Makes a library of a folder, as a process of its own: `python -m gateway.knowledge.builder`.

Documents are somebody's files. One that takes for ever, or all memory, or ends the process, does so
here and not in the gateway; nor do calls wait while a thousand pages are read. It is given nothing
but the job: no environment, and so no secrets.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import attrs
import orjson

from gateway.knowledge.folder import Document
from gateway.knowledge.library import Library
from gateway.knowledge.passages import Passage
from gateway.knowledge.reading import Unreadable, read_document

TOTAL_CHARS_MAX: Final = 64 * 1024 * 1024
DOCUMENT_S: Final = 20.0
"""For one document. A hundred ordinary pages of PDF take two."""
AGAIN_S: Final = 0.5
"""A library that catches everything may catch the first alarm, too."""
MEMORY_BYTES: Final = 2 * 1024**3
NICE: Final = 10
"""Calls come first."""


@attrs.frozen
class Job:
    """What is to be built."""

    folder: Path
    target: Path
    """A file that there is not yet."""
    previous: Path | None
    """An older library: what has not changed since is taken from it."""
    documents: tuple[Document, ...]
    total_chars: int = TOTAL_CHARS_MAX
    document_s: float = DOCUMENT_S

    def to_json(self) -> bytes:
        """For the standard input of the process."""
        return orjson.dumps(attrs.asdict(self, value_serializer=_plain))

    @classmethod
    def from_json(cls, text: bytes) -> Job:
        """The reverse of `to_json`."""
        raw: dict[str, Any] = orjson.loads(text)
        previous = raw.pop("previous")
        return cls(
            folder=Path(raw.pop("folder")),
            target=Path(raw.pop("target")),
            previous=None if previous is None else Path(previous),
            documents=tuple(Document(**one) for one in raw.pop("documents")),
            **raw,
        )


def build(job: Job) -> Iterator[dict[str, Any]]:
    """Read everything, and tell how it goes.

    Yields:
        `{"at": name}` before a document, `{"skipped": name, "why": ...}` after one that could not
        be read, and at last `{"done": how many, "passages": ...}`.

    Raises:
        sqlite3.Error: The library cannot be written.
        OSError: Likewise.

    """
    library = Library.create(job.target)
    done = count = chars = 0
    with closing(library), _previous(job.previous) as previous:
        for document in job.documents:
            yield {"at": document.name}
            try:
                known = None if previous is None else previous.passages_of(document)
                pieces = known if known is not None else _read(job, document)
            except Unreadable as error:
                yield {"skipped": document.name, "why": error.why}
                continue
            except OSError as error:
                yield {"skipped": document.name, "why": error.strerror or type(error).__name__}
                continue
            length = sum(len(one.text) for one in pieces)
            if chars + length > job.total_chars:
                why = f"would make more than {job.total_chars // 1024**2} MiB of text in all"
                yield {"skipped": document.name, "why": why}
                continue
            library.add(document, pieces)
            done, count, chars = done + 1, count + len(pieces), chars + length
        yield {"at": ""}
        library.finish()
    yield {"done": done, "passages": count}


def _read(job: Job, document: Document) -> list[Passage]:
    path = job.folder / document.name
    # Between the look at the folder and now, somebody may have put a link here.
    if not path.resolve(strict=True).is_relative_to(job.folder):
        raise Unreadable("is a link that leads out of the folder")
    try:
        with _alarm(job.document_s):
            return list(read_document(path))
    except TimeoutError:
        raise Unreadable(f"takes longer than {job.document_s:g} s to read") from None


@contextmanager
def _alarm(after_s: float) -> Iterator[None]:
    """Raise `TimeoutError` in whatever runs then. Only in a main thread."""

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, after_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _previous(path: Path | None) -> Iterator[Library | None]:
    if path is None:
        yield None
        return
    try:
        library = Library.at(path)
    except sqlite3.Error:
        yield None
        return
    with closing(library):
        yield library


def _plain(_: type | None, __: attrs.Attribute[Any] | None, value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _limit() -> None:
    with suppress(OSError, ValueError):
        os.nice(NICE)
    for what, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        # Not everywhere is a limit of memory one that can be set.
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def main() -> int:
    """Do the job on the standard input, and tell of it on the standard output, line by line."""
    _limit()
    job = Job.from_json(sys.stdin.buffer.read())
    try:
        for line in build(job):
            _tell(line)
    except (sqlite3.Error, OSError) as error:
        # A full disk, most likely. No document is to blame.
        _tell({"failed": type(error).__name__})
        return 1
    return 0


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
