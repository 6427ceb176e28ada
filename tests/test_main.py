"""The command line as its users meet it: processes, exit statuses, and what is written where."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import httpx
import pytest
import trio

from actors.messages import SessionLive
from actors.wire.openai import SessionSettings
from gateway.configuration.config import OpenAISettings, Secret
from gateway.lab.rehearsing.scenario import names
from gateway.session.realtime import RealtimeSession, connect_to

HANGS_S = 240
"""A command that takes longer will never end, however busy the machine is."""
STOPPED_S = 5

LEAKY = """
name: leaky
model:
  answers:
    - items: [{say: Hello.}, {call: {name: opening_hours, arguments: {day: Sunday}}}]
    - items: [{say: Goodbye now.}, {call: {name: hangup, arguments: {reason: done}}}]
caller: [{wait: call_end}]
expect: {nowhere: [Goodbye now.]}
"""

BROKEN = """
name: broken
about: The model leaves in the middle of its first answer, and does not come back.
model:
  answers: [{items: [{say: "Hello, this is Acme Dental."}]}]
  faults: [{at: {answer: 1}, do: close}, {at: connect, do: refuse, http_status: 503, spares: 1}]
caller: [{wait: call_end}]
"""


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """A process's environment: ours without its settings, and these."""
    foreign = ("OFFHOOK_", "OPENAI_", "TWILIO_")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return plain | {"OFFHOOK_CALLS_DIRECTORY": str(directory / "calls")} | settings


@attrs.frozen
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str


async def offhook(directory: Path, *arguments: str, **settings: str) -> Ended:
    """Run a command to its end."""
    with trio.fail_after(HANGS_S):
        process = await trio.run_process(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=Path(__file__).parent.parent,
            env=environment(directory, **settings),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return Ended(process.returncode, process.stdout.decode(), process.stderr.decode())


@asynccontextmanager
async def running(
    directory: Path, *arguments: str, until: str, on: str = "err", **settings: str
) -> AsyncIterator[tuple[trio.Process, str]]:
    """Run a command for the length of a block, once it has written this word. Yields the text."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "gateway", *arguments],
                cwd=Path(__file__).parent.parent,
                env=environment(directory, **settings),
                stdout=subprocess.PIPE if on == "out" else subprocess.DEVNULL,
                stderr=subprocess.PIPE if on == "err" else subprocess.DEVNULL,
                check=False,
            )
        )
        stream = process.stdout if on == "out" else process.stderr
        assert stream is not None
        text = ""
        with trio.fail_after(HANGS_S):
            while until not in text:
                data = await stream.receive_some()
                assert data, text
                text += data.decode()
        yield process, text
        nursery.cancel_scope.cancel()


async def test_the_shipped_scenarios_are_listed(tmp_path: Path) -> None:
    ended = await offhook(tmp_path, "rehearse", "--list")

    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[0] == "demonstrations"
    assert [line.split()[0] for line in lines[1:3]] == ["front-desk", "quick"]
    assert {line.split()[0] for line in lines if line.startswith(" ")} == set(names())


async def test_several_scenarios_take_virtual_time_and_end_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN)
    ended = await offhook(tmp_path, "rehearse", "quick", str(tmp_path / "broken.yaml"))

    assert ended.status == 1, ended
    lines = ended.out.splitlines()
    assert lines[0].split()[:2] == ["ok", "quick"]
    assert lines[1].split()[0] == "wrong"
    assert any("the call ended in PeerLost" in line for line in lines)
    assert lines[-1] == "2 scenarios: 1 ok, 1 wrong"


async def test_all_scenarios_and_one_more_are_all_of_them_and_that_one(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN)
    ended = await offhook(tmp_path, "rehearse", "--all", "quick", str(tmp_path / "broken.yaml"))

    assert ended.status == 1, ended
    assert ended.out.splitlines()[-1] == (
        f"{len(names()) + 1} scenarios: {len(names())} ok, 1 wrong"
    )


async def test_one_scenario_in_virtual_time_is_told_and_writes_nothing(tmp_path: Path) -> None:
    ended = await offhook(tmp_path, "rehearse", "quick", "--virtual")

    assert ended.status == 0, ended
    assert "agent     “Acme Dental, hello.”" in ended.out
    assert "ended     the agent hung up, its goodbye was heard" in ended.out
    assert list(await trio.Path(tmp_path).iterdir()) == []


async def test_a_rehearsal_that_goes_well_says_so_and_leaves_its_records(tmp_path: Path) -> None:
    ended = await offhook(tmp_path, "rehearse", "quick")

    assert ended.status == 0, ended
    assert "Nothing went wrong in this call." in ended.out
    (folder,) = (tmp_path / "calls").iterdir()
    assert {"call.json", "recording.wav", "timeline.svg"} <= {
        file.name for file in folder.iterdir()
    }


async def test_a_rehearsal_that_goes_wrong_says_what_was_wrong(tmp_path: Path) -> None:
    scenario = tmp_path / "broken.yaml"
    scenario.write_text(BROKEN)
    ended = await offhook(tmp_path, "rehearse", str(scenario))

    assert ended.status == 1, ended
    assert "wrong: the call ended in PeerLost" in ended.out


@pytest.mark.parametrize("how", [[], ["--virtual"]], ids=["live", "virtual"])
async def test_a_users_scenario_is_judged_alike_live_and_in_virtual_time(
    tmp_path: Path, how: list[str]
) -> None:
    """Their agent has the tools of its files alone, and what the call left behind is looked at."""
    (tmp_path / "mine.yaml").write_text(LEAKY)
    ended = await offhook(tmp_path, "rehearse", str(tmp_path / "mine.yaml"), *how)

    assert ended.status == 1, ended
    assert "`nowhere`: 'Goodbye now.' is in " in ended.out
    assert "call.json" in ended.out
    assert "the script calls opening_hours, which was not offered" in ended.out


async def test_a_rehearsal_that_is_stopped_was_not_a_success(tmp_path: Path) -> None:
    async with running(tmp_path, "rehearse", "quick", until="calling", on="out") as (process, _):
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOPPED_S):
            assert await process.wait() == 1


async def test_a_signal_in_the_middle_of_a_call_ends_it_with_its_record(
    tmp_path: Path,
) -> None:
    arguments = ("rehearse", "quick")
    async with running(tmp_path, *arguments, until="live:", on="out") as (process, _):
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOPPED_S):
            assert await process.wait() == 1

    (path,) = (tmp_path / "calls").glob("*/call.json")
    assert json.loads(path.read_bytes())["ending"] == {"exit": "Killed", "side": "gateway"}


async def test_a_mistake_is_refused_with_its_place_and_the_way_out(tmp_path: Path) -> None:
    config = tmp_path / "offhook.toml"
    config.write_text('[agent]\nvioce = "marin"\n')
    typo = f"offhook: agent.vioce in {config} is unknown; did you mean voice?\n"
    key = {"OPENAI_API_KEY": "sk-test"}
    reachable = key | {"OFFHOOK_BIND": "0.0.0.0:0"}
    mistakes: list[tuple[tuple[str, ...], dict[str, str], str]] = [
        (("serve", "--config", str(config)), key, typo),
        (("serve",), {}, "Set OPENAI_API_KEY, or try `offhook serve --rehearse`"),
        (("serve",), reachable, "offhook: server.bind is 0.0.0.0:0, which others can reach"),
        (("serve", "--once"), key, "offhook: --once goes with --rehearse"),
    ]
    wrong: list[Ended] = []
    side_by_side = trio.CapacityLimiter(2)

    async def make(arguments: tuple[str, ...], settings: dict[str, str], words: str) -> None:
        async with side_by_side:
            ended = await offhook(tmp_path, *arguments, **settings)
        if ended.status != 2 or words not in ended.err or "Traceback" in ended.err:
            wrong.append(ended)

    async with trio.open_nursery() as nursery:
        for mistake in mistakes:
            nursery.start_soon(make, *mistake)

    assert wrong == []


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    ended: list[Ended] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = f"127.0.0.1:{other.getsockname()[1]}"

        async def serve() -> None:
            settings = {"OPENAI_API_KEY": "sk-test", "OFFHOOK_BIND": bind}
            ended.append(await offhook(tmp_path, "serve", **settings))

        async def model() -> None:
            ended.append(await offhook(tmp_path, "model", "quick", "--bind", bind))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(model)

    for one in ended:
        lines = [line for line in one.err.splitlines() if not line.startswith("{")]  # Not logs.
        assert one.status == 1
        assert lines == [f"offhook: cannot listen on {bind}: Address already in use"]


async def test_a_signal_stops_serving_at_once(tmp_path: Path) -> None:
    async def stop(kind: signal.Signals) -> None:
        settings = {"OPENAI_API_KEY": "sk-test", "OFFHOOK_BIND": "127.0.0.1:0"}
        async with running(tmp_path, "serve", until="answers on", **settings) as (process, text):
            address = text.rpartition("answers on ")[2].split()[0]
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"{address}/healthz")).text == "ok\n"
                process.send_signal(kind)
                with trio.fail_after(STOPPED_S):
                    assert await process.wait() == 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop, signal.SIGTERM)
        nursery.start_soon(stop, signal.SIGINT)


async def test_the_model_prints_where_it_is_and_can_be_talked_to(tmp_path: Path) -> None:
    arguments = ("model", "quick", "--bind", "127.0.0.1:0")
    async with running(tmp_path, *arguments, until="API_KEY=", on="out") as (process, text):
        named = dict(word.split("=", 1) for word in text.split() if "=" in word)
        openai = OpenAISettings(Secret(named["OPENAI_API_KEY"]), named["OPENAI_REALTIME_URL"])
        session = RealtimeSession(connect_to(openai, "gpt-realtime-2.1"), SessionSettings("Hello."))
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.run)
                assert isinstance(await session.receive(), SessionLive)
                await session.aclose()
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOPPED_S):
            assert await process.wait() == 0
