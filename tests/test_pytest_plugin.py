"""The pytest plugin, in a project of somebody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = """
import trio
from actors.toolbox import Toolbox

def toolbox():
    box = Toolbox()

    @box.add
    async def book_table(guests: int, name: str) -> str:
        "Book a table."
        await trio.sleep(0.2)
        return f"a table for {guests}"

    return box

def test_agent(offhook_simulate):
    outcome = offhook_simulate(toolbox())
    assert outcome.calls >= 1

def test_agent_on_a_good_day(offhook_simulate):
    offhook_simulate(toolbox(), faults=False, scenario="front-desk")
"""

ORDER = """
name: order
calling: "+4930123"
model:
  answers:
    - items: [{say: "Pizza, hello."}]
    - items: [{call: {name: take_order, arguments: {what: "two pizzas"}}}]
    - items:
        - say: "Two pizzas. Goodbye!"
        - call: {name: hangup, arguments: {reason: "It is ordered."}}
caller:
  - {wait: agent_quiet, say: "Two pizzas, please."}
  - {wait: call_end}
expect:
  ending: AgentHungUp
  tools: [take_order, hangup]
  heard: ["pizza, hello", "%s. goodbye"]
  instructions: ["You sell pizza to [+]4930123"]
"""

REHEARSED = """
def test_order(offhook_rehearse):
    done = offhook_rehearse("order.yaml", config="mine.toml")
    assert done.record["tool_calls"][0]["output"]
"""

MINE = """
[agent]
instructions = "You sell pizza to {caller}."
tools = ["tools.py"]
"""

TOOLS = """
from gateway import tool

@tool
async def take_order(what: str) -> str:
    "Order something."
    return f"ordered: {what}"
"""

BAD = """
import structlog, trio
from actors.toolbox import Toolbox

def test_gossip(offhook_simulate):
    box = Toolbox()

    @box.add
    async def look_up(name: str) -> str:
        "Tell everybody."
        structlog.get_logger().info("looked up", name=name)
        await trio.sleep(0.1)
        return "found"

    offhook_simulate(box, faults=False)
"""


def run(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project with this one test."""
    (folder / "test_mine.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_an_agent_with_tools_is_simulated_once_for_every_seed(tmp_path: Path) -> None:
    told = run(tmp_path, GOOD, "--offhook-seeds", "4")

    assert told.returncode == 0, told.stdout
    assert "8 passed" in told.stdout


def test_a_failure_tells_the_story_and_how_to_see_it_again(tmp_path: Path) -> None:
    told = run(tmp_path, BAD, "--offhook-seeds", "12")

    assert told.returncode == 1
    assert "I9 looked up: what somebody said was logged" in told.stdout
    assert "replay: pytest --offhook-seed " in told.stdout
    seed = told.stdout.partition("replay: pytest --offhook-seed ")[2].split()[0]

    again = run(tmp_path, BAD, "--offhook-seed", seed)
    assert again.returncode == 1
    assert "1 failed" in again.stdout


def test_no_seeds_at_all_is_refused(tmp_path: Path) -> None:
    told = run(tmp_path, GOOD, "--offhook-seeds", "0")

    assert told.returncode != 0
    assert "--offhook-seeds needs a number from 1 on" in told.stdout + told.stderr


def test_whoever_does_not_ask_for_it_does_not_import_the_gateway(tmp_path: Path) -> None:
    told = run(
        tmp_path, "import sys\n\ndef test_nothing():\n    assert 'gateway.app' not in sys.modules\n"
    )

    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize(("words", "status"), [("two pizzas", 0), ("three pizzas", 1)])
def test_somebody_elses_agent_is_rehearsed_from_their_own_script(
    tmp_path: Path, words: str, status: int
) -> None:
    """With their configuration and their file of tools; and the verdict is the test's."""
    files = {"order.yaml": ORDER % words, "mine.toml": MINE, "tools.py": TOOLS}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    told = run(tmp_path, REHEARSED)

    assert told.returncode == status, told.stdout
    assert ("wrong: `heard`: 'three pizzas. goodbye' is not in" in told.stdout) == bool(status)
    assert ("agent     “Two pizzas. Goodbye!”" in told.stdout) == bool(status)
