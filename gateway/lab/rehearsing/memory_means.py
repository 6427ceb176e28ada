"""What tools reach the world by in virtual time: nothing that the clock would not wait for."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import attrs
import httpx
import trio

from gateway.calendar.diary import DiaryInMemory
from gateway.configuration.settings import Config
from gateway.knowledge.live import Knowledge, StillKnowledge
from gateway.tools.mail import Letter
from gateway.tools.means import Means
from gateway.tools.taken import MessagesInMemory

TEXTS: Final = (".md", ".txt", ".html")
"""Documents that are read without another process; a PDF is not."""
TEXTS_MAX_BYTES: Final = 4 * 1024 * 1024


@attrs.define(eq=False)
class MailInMemory:
    """Letters that nobody delivers. Fits `Mailer`."""

    letters: list[Letter] = attrs.field(factory=list[Letter], init=False)

    async def send(self, letter: Letter, *, within_s: float) -> None:
        """See `Mailer`."""
        del within_s
        await trio.lowlevel.checkpoint()
        self.letters.append(letter)


@attrs.define(eq=False)
class MemoryMeans:
    """Messages, mail and a calendar that are only remembered; no web, and small documents."""

    config: Config
    messages: MessagesInMemory = attrs.field(factory=MessagesInMemory, init=False)
    mail: MailInMemory = attrs.field(factory=MailInMemory, init=False)
    diary: DiaryInMemory = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.diary = DiaryInMemory(ZoneInfo(self.config.calendar.timezone))

    def of(self, means: Means) -> Means:
        """The same means, with these in place of what needs a thread, a process or a socket."""
        return attrs.evolve(
            means,
            transport=httpx.MockTransport(_nobody_is_there),
            taken=self.messages,
            mailer=self.mail,
            diary=self.diary,
            knowledge=_read(self.config.knowledge.folder),
        )


def _nobody_is_there(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody is asked in virtual time", request=request)


def _read(folder: Path | None) -> Knowledge | None:
    """The small texts of a folder. Blocking: it is read before the clock begins to run."""
    if folder is None:
        return None
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in TEXTS]
    texts, left = dict[str, str](), TEXTS_MAX_BYTES
    for path in paths:
        left -= path.stat().st_size
        if left >= 0:
            texts[path.relative_to(folder).as_posix()] = path.read_text("utf-8", "replace")
    return StillKnowledge.of(texts)
