"""What the pages in docs/ show is what works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.configuration.config import load
from gateway.configuration.roster import Roster
from gateway.lab.rehearsing import scenario as scenarios
from gateway.lab.rehearsing.rehearse import Rehearsed, rehearse
from gateway.lab.rehearsing.rehearse_command import toolbox_for
from gateway.lab.rehearsing.scenario import parse

DOCS = Path(__file__).parent.parent / "docs"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [block for kind, block in FENCED.findall(text) if kind == language]


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder with the files that the page on agents shows."""
    for name, language in (("offhook.toml", "toml"), ("bank.py", "python"), ("pin.yaml", "yaml")):
        (tmp_path / name).write_text(blocks("agents.md", language)[0], encoding="utf-8")
    return tmp_path


def ran(folder: Path, name: str) -> Rehearsed:
    path = folder / name
    return rehearse(
        scenarios.load(path),
        config=load(folder / "offhook.toml", {}),
        toolbox=toolbox_for(str(path)),
    )


def test_the_agents_that_are_shown_can_take_calls(shown: Path) -> None:
    config = load(shown / "offhook.toml", {})
    roster = Roster.of(config)

    assert config.remarks() == ()
    assert [agent.name for agent in roster.agents] == ["default", "bank", "praxis", "old-line"]
    assert roster.agent_for("+4930111333") is None


def test_the_scenario_that_is_shown_holds(shown: Path) -> None:
    done = ran(shown, "pin.yaml")

    assert done.complaints == ()
    assert done.record is not None
    assert done.record["agent"] == "bank"


@pytest.mark.parametrize("text", blocks("scenarios.md", "yaml"))
def test_a_scenario_that_the_language_is_explained_with_is_one(text: str) -> None:
    assert parse(text).caller
