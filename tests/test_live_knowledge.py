"""A folder that changes while it is asked, and a process that reads it, which may die.

Real processes, real threads, real time: every wait is for something to become so.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import capture_logs

from gateway.knowledge.live import LiveKnowledge, NotReady
from tests.pdf_files import pdf

PATIENCE_S: Final = 30.0
DYING: Final = """
import os, sys
import orjson
job = sys.stdin.buffer.read()
names = [one["name"] for one in orjson.loads(job)["documents"]]
if "bad.md" in names:
    print('{"at": "bad.md"}', flush=True)
    os.kill(os.getpid(), 9)
sys.stdin = type(sys)("stdin")
import io
sys.stdin.buffer = io.BytesIO(job)
from gateway.knowledge.builder import main
main()
"""
"""Stands for a builder that a document ends."""


@asynccontextmanager
async def serving(knowledge: LiveKnowledge) -> AsyncIterator[LiveKnowledge]:
    async with trio.open_nursery() as nursery:
        await nursery.start(knowledge.serve)
        yield knowledge
        nursery.cancel_scope.cancel()


async def documents(knowledge: LiveKnowledge, question: str) -> set[str]:
    return {one.document for one in await knowledge.find(question)}


async def said_in(logs: Sequence[object]) -> bool:
    await trio.lowlevel.checkpoint()
    return bool(logs)


async def until(knowledge: LiveKnowledge, question: str, wanted: set[str]) -> None:
    async def is_so() -> bool:
        return await documents(knowledge, question) == wanted

    await becomes(is_so)


async def becomes(is_so: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - it is other processes that make it so.
            await trio.sleep(0.02)


async def test_what_changes_in_the_folder_is_found_soon(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    async with serving(LiveKnowledge(tmp_path, look_s=0.02)) as knowledge:
        await until(knowledge, "whales", {"a.md"})
        (tmp_path / "b.pdf").write_bytes(pdf("Whales jump."))
        await until(knowledge, "whales", {"a.md", "b.pdf"})
        (tmp_path / "a.md").unlink()
        await until(knowledge, "whales", {"b.pdf"})


async def test_the_first_question_waits_for_the_first_reading(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    async with serving(LiveKnowledge(tmp_path)) as knowledge:
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    found = await documents(knowledge, "whales")
                    break
                except NotReady:  # On a machine that takes 5 s to start a process.
                    continue

    assert found == {"a.md"}


async def test_nobody_waits_long_for_a_folder_that_nobody_reads(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        await LiveKnowledge(tmp_path, first_s=0.01).find("whales")


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    knowledge = LiveKnowledge(folder, look_s=0.02)
    with capture_logs() as logs:
        async with serving(knowledge):
            await becomes(partial(said_in, logs))
            folder.mkdir()
            (folder / "a.md").write_text("Whales sing.")
            knowledge._asked.set()
            with trio.fail_after(PATIENCE_S):
                await knowledge._ready.wait()
            await until(knowledge, "whales", {"a.md"})

    assert logs[0]["event"] == "knowledge.skipped"


async def test_a_document_that_ends_its_reader_is_left_out_and_named_once(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    (tmp_path / "bad.md").write_text("Whales bite, secretly.")
    builder = (sys.executable, "-c", DYING)
    with capture_logs() as logs:
        async with serving(LiveKnowledge(tmp_path, look_s=0.02, builder=builder)) as knowledge:
            await until(knowledge, "whales", {"a.md"})
            (tmp_path / "c.md").write_text("Whales jump.")
            await until(knowledge, "whales", {"a.md", "c.md"})

    skipped = [one for one in logs if one["event"] == "knowledge.skipped"]
    assert [one["document"] for one in skipped] == ["bad.md"]
    assert "secretly" not in str(logs)


@pytest.mark.parametrize("script", ["import time; time.sleep(60)", "exit(1)", "print('x' * 99999)"])
async def test_a_reader_that_is_of_no_use_ends_nothing(tmp_path: Path, script: str) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    builder = (sys.executable, "-c", script)
    knowledge = LiveKnowledge(tmp_path, stall_s=0.5, builder=builder)
    with capture_logs() as logs:
        async with serving(knowledge):
            await becomes(partial(said_in, logs))

    assert "the process that reads it fails" in logs[0]["why"]


FULL: Final = """
import sys
sys.stdin.buffer.read()
print('{"at": "a.md"}')
print('{"failed": "OperationalError"}')
"""
"""Stands for a builder whose disk is full."""


async def test_no_document_is_blamed_for_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    knowledge = LiveKnowledge(tmp_path, builder=(sys.executable, "-c", FULL))
    with capture_logs() as logs:
        async with serving(knowledge):
            await becomes(partial(said_in, logs))

    assert [one["document"] for one in logs] == [str(tmp_path)]
    assert knowledge._barred == set()


async def test_a_folder_that_is_a_link_to_itself_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.symlink_to(folder)
    with capture_logs() as logs:
        async with serving(LiveKnowledge(folder, look_s=0.02)):
            await becomes(partial(said_in, logs))

    assert logs[0]["event"] == "knowledge.skipped"


async def test_its_files_are_gone_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Whales sing.")
    async with serving(LiveKnowledge(tmp_path)) as knowledge:
        with trio.fail_after(PATIENCE_S):
            await knowledge._ready.wait()
        made = knowledge._library

    assert made is not None
    assert not made.parent.exists()
