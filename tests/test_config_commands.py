"""The configuration as a process reads it: at start, by the doctor, and while it serves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

HANGS_S = 60
"""A command that takes longer will never end, however busy the machine is."""


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """A process's environment: ours without its settings, and these."""
    foreign = ("OFFHOOK_", "OPENAI_", "TWILIO_")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    mine = {
        "OFFHOOK_CALLS_DIRECTORY": str(directory / "calls"),
        "OFFHOOK_CONFIG": str(directory / "offhook.toml"),
        "OFFHOOK_BIND": "127.0.0.1:0",
        "OPENAI_API_KEY": "sk-1",
    }
    return plain | mine | settings


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *arguments]


def save(file: Path, text: str) -> None:
    """Save all of it at once: on a busy machine, half a file could stand there for seconds."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


@attrs.define
class Log:
    """What a process writes to its standard error, as it comes."""

    stream: trio.abc.ReceiveStream
    text: str = ""

    async def until(self, word: str) -> str:
        """Read on until this was written; returns what was, since the last time."""
        with trio.fail_after(HANGS_S):
            while word not in self.text:
                data = await self.stream.receive_some()
                assert data, self.text
                self.text += data.decode()
        written, self.text = self.text, ""
        return written


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Log]:
    """`offhook serve`, for the length of a block."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                command("serve"),
                cwd=Path(__file__).parent.parent,
                env=environment(directory),
                stderr=subprocess.PIPE,
                check=False,
            )
        )
        assert process.stderr is not None
        yield Log(process.stderr)
        nursery.cancel_scope.cancel()


async def test_an_edit_is_picked_up_while_it_serves_and_a_broken_one_is_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "offhook.toml"
    file.write_text('[agent]\nvoice = "sage"\ntemperature = 0.8\n[policy]\nhigh = ["pya"]\n')
    async with served(tmp_path) as log:
        started = await log.until("offhook answers on")
        save(file, '[agent]\nvoice = "marine"\n')
        broken = await log.until("config.reload_failed")
        save(file, '[agent]\nvoice = "ash"\n')
        mended = await log.until("config.reloaded")

    assert started.count("agent.temperature is 0.8, and has no effect") == 1
    assert started.count("policy.high holds 'pya', and there is no such tool") == 1
    assert f"agent.voice in {file} must be one of" in broken
    assert "config.reloaded" not in broken
    assert '"versions":{"default":"' in mended.replace(" ", "")


async def test_the_doctor_says_what_is_wrong_and_its_status_is_one(tmp_path: Path) -> None:
    (tmp_path / "offhook.toml").write_text('[agent]\nmodel = "gpt-4o-realtime-preview"\n')
    with trio.fail_after(HANGS_S):
        ended = await trio.run_process(
            command("doctor", "--offline"),
            cwd=Path(__file__).parent.parent,
            env=environment(tmp_path),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    lines = ended.stdout.decode().splitlines()

    assert ended.returncode == 1
    assert ended.stderr == b""
    assert [line.partition(" ")[0] for line in lines].count("fail") == 1
    assert any(line.startswith("fail  agent.model: gpt-4o-realtime-preview") for line in lines)
