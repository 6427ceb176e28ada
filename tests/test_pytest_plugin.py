"""The pytest plugin, in a project of somebody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
