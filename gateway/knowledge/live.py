"""A folder of documents that can be asked while it changes."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import attrs
import orjson
import structlog
import trio

from gateway.knowledge.builder import Job
from gateway.knowledge.folder import Document, Listing, list_folder, real_path
from gateway.knowledge.library import Found, Library, find_at
from gateway.knowledge.passages import html, markdown, passages, plain_text

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S: Final = 5.0
"""From one look through the folder to the next, at the least."""
IDLE_LOOK_S: Final = 60.0
"""And at the most: whoever asks next then has what was changed long ago."""
STALL_S: Final = 60.0
"""A builder that says nothing for longer is stuck: it bounds every document itself."""
CRASHES_MAX: Final = 10
"""Of one build. Each costs the document that was being read."""
REMARKS_MAX: Final = 20
"""Of one build, in the log."""
FIRST_S: Final = 5.0
"""Somebody on the phone waits for the first library no longer."""
THREADS_MAX: Final = 4
BUILDER: Final = (sys.executable, "-P", "-m", "gateway.knowledge.builder")
_LINE_BYTES: Final = 64 * 1024


@attrs.frozen
class NotReady(Exception):
    """Nothing can be looked up now."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Knowledge(Protocol):
    """Documents that can be searched."""

    async def find(self, question: str) -> list[Found]:
        """The passages that are most about it, best first. Cancellable.

        Raises:
            NotReady: They cannot be searched now.

        """


@attrs.define(eq=False)
class StillKnowledge:
    """Documents that do not change, in memory: no thread, no process, no file. Fits `Knowledge`.

    For calls in virtual time, and for little: a search is done in the event loop.
    """

    _library: Library

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> StillKnowledge:
        """Make it of texts by the names of their documents, which say how each is written."""
        library = Library.create()
        for name, text in sorted(texts.items()):
            document = Document(name, len(text), 0)
            as_blocks = {".md": markdown, ".html": html}.get(document.kind, plain_text)
            library.add(document, passages(as_blocks(text)))
        library.finish()
        return cls(library)

    async def find(self, question: str) -> list[Found]:
        """See `Knowledge`."""
        await trio.lowlevel.checkpoint()
        return self._library.find(question)


@attrs.define(eq=False)
class LiveKnowledge:
    """A folder, as it was a moment ago. Fits `Knowledge`.

    It is read by another process, into a file that is searched in worker threads; while it is read
    anew, the older file serves.

    Resource handling: somebody runs `serve`, and what it has made is gone when that ends.

    Args:
        folder: Where the documents are.
        look_s: See `LOOK_S`.
        first_s: See `FIRST_S`.
        stall_s: See `STALL_S`.
        builder: What reads them: a command that does what `gateway.knowledge.builder` does.

    """

    folder: Path
    look_s: float = LOOK_S
    first_s: float = FIRST_S
    stall_s: float = STALL_S
    builder: tuple[str, ...] = BUILDER
    _library: Path | None = attrs.field(default=None, init=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _asked: trio.Event = attrs.field(factory=trio.Event, init=False)
    _seen: Listing | None = attrs.field(default=None, init=False)
    """What the library was made of."""
    _barred: set[Document] = attrs.field(factory=set[Document], init=False)
    """Those that ended a builder."""
    _remarked: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]], init=False)
    _numbers: count[int] = attrs.field(factory=count, init=False)
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(THREADS_MAX), init=False
    )

    async def find(self, question: str) -> list[Found]:
        """See `Knowledge`."""
        self._asked.set()
        with trio.move_on_after(self.first_s):
            await self._ready.wait()
        if self._library is None:
            raise NotReady("the documents are still being read")
        try:
            return await trio.to_thread.run_sync(
                find_at, self._library, question, abandon_on_cancel=True, limiter=self._threads
            )
        except sqlite3.Error as error:
            log.warning("knowledge.not_searched", error=type(error).__name__)
            raise NotReady("the documents cannot be searched now") from error

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the library as the folder is, until cancelled. No state of the folder ends it."""
        with TemporaryDirectory(prefix="offhook-knowledge-") as made:
            task_status.started()
            while True:
                self._asked = trio.Event()
                try:
                    await self._look(Path(made))
                except OSError as error:
                    self._remark("", error.strerror or type(error).__name__)
                await trio.sleep(self.look_s)
                with trio.move_on_after(IDLE_LOOK_S - self.look_s):
                    await self._asked.wait()

    async def _look(self, made: Path) -> None:
        """See whether there is anything new, and then read it."""
        listing = await trio.to_thread.run_sync(list_folder, self.folder, limiter=self._threads)
        if listing == self._seen:
            return
        for name, why in listing.remarks:
            self._remark(name, why)
        documents = listing.documents
        quick = tuple(one for one in documents if one.kind != ".pdf")
        if self._library is None and quick != documents:
            # Those take seconds each, and the others are worth having at once.
            await self._renew(made, quick)
        if await self._renew(made, documents):
            self._seen = listing

    async def _renew(self, made: Path, documents: tuple[Document, ...]) -> bool:
        """Make another library, and use it from then on. Whether there is one."""
        root = await trio.to_thread.run_sync(real_path, self.folder, limiter=self._threads)
        for _ in range(CRASHES_MAX):
            target = made / f"{next(self._numbers)}.sqlite"
            wanted = tuple(one for one in documents if one not in self._barred)
            job = Job(folder=root, target=target, previous=self._library, documents=wanted)
            build = _Build(self._remark, self.builder, self.stall_s)
            await build.run(job)
            if build.done is not None:
                before, self._library = self._library, target
                self._ready.set()
                log.info("knowledge.read", documents=build.done, passages=build.passages)
                if before is not None:
                    # Whoever is searching it has it open, and whoever is about to has a moment.
                    await trio.sleep(1)
                    before.unlink(missing_ok=True)
                return True
            target.unlink(missing_ok=True)
            if build.failed is not None:
                self._remark("", f"cannot be kept in a file: {build.failed}")
                return False
            guilty = next((one for one in wanted if one.name == build.at), None)
            if guilty is None:
                break
            self._barred.add(guilty)
            self._remark(guilty.name, "ends whoever reads it")
        self._remark("", "cannot be read: the process that reads it fails")
        return False

    def _remark(self, name: str, why: str) -> None:
        """Say once what is not read. Names are the owner's; words of documents are never told."""
        if (name, why) in self._remarked:
            return
        if len(self._remarked) < REMARKS_MAX:
            log.warning("knowledge.skipped", document=name or str(self.folder), why=why)
        elif len(self._remarked) == REMARKS_MAX:
            log.warning("knowledge.skipped_more", told=REMARKS_MAX)
        if len(self._remarked) <= REMARKS_MAX:
            self._remarked.add((name, why))


class _Remark(Protocol):
    def __call__(self, name: str, why: str) -> None: ...


@attrs.define(eq=False)
class _Build:
    """One run of the builder, and what it told."""

    _remark: _Remark
    _command: tuple[str, ...]
    _stall_s: float
    at: str | None = None
    """The document that is being read; `""`: all were."""
    failed: str | None = None
    """What became of the file that it writes."""
    done: int | None = None
    """How many documents it has read, once it has read all."""
    passages: int = 0

    async def run(self, job: Job) -> None:
        """Run it to its end, however that comes. Cancellable: that kills it."""
        # Where modules are is all it has to know of our environment.
        environ = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONUTF8": "1"}
        start = partial(
            trio.run_process, self._command, stdin=job.to_json(), stdout=PIPE, stderr=DEVNULL,
            check=False, env=environ,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            await self._listen(process)
            nursery.cancel_scope.cancel("it has said all")

    async def _listen(self, process: trio.Process) -> None:
        if process.stdout is None:
            raise AssertionError("it was asked for")
        held = b""
        while True:
            data: bytes | bytearray = b""
            with trio.move_on_after(self._stall_s):
                data = await process.stdout.receive_some()
            *lines, held = (held + bytes(data)).split(b"\n")
            for line in lines:
                with suppress(orjson.JSONDecodeError):  # A library may print what it likes.
                    self._told(orjson.loads(line))
            if not data or len(held) > _LINE_BYTES:
                return

    def _told(self, line: dict[str, Any]) -> None:
        match line:
            case {"at": str(name)}:
                self.at = name
            case {"skipped": str(name), "why": str(why)}:
                self._remark(name, why)
            case {"failed": str(failed)}:
                self.failed = failed
            case {"done": int(done), "passages": int(passages)}:
                self.done, self.passages = done, passages
            case _:
                pass  # Nothing that it says.
