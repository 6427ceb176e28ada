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


ORDERS = """
name: orders
calling: "{calling}"
agent: {{tools: [orders.py]}}
config:
  owner: {{numbers: ["+4915112345678"], pin: "480215"}}
model:
  answers:
    - items: [{{say: "Hello!"}}]
    - items: [{{call: {{name: order_status, arguments: {{order: 8}}}}}}]
    - items: [{{call: {{name: cancel_order, arguments: {{order: 8}}}}}}]
    - items: [{{say: "Goodbye!"}}, {{call: {{name: hangup, arguments: {{reason: done}}}}}}]
caller:
  - {{wait: agent_quiet, say: "Where is order eight? Cancel it."}}
{steps}
  - {{wait: call_end}}
expect:
  tools: [order_status, cancel_order, hangup]
  told: ["delivered", "{told}"]
"""


@pytest.mark.parametrize(
    ("calling", "steps", "told"),
    [
        ("+15005550006", "", "only the owner can have this done"),
        (
            "+4915112345678",
            (
                '  - {wait: agent_quiet, quiet_ms: 400, press: "480215#"}\n'
                '  - {wait: agent_quiet, quiet_ms: 400, press: "1"}'
            ),
            "order 8 is cancelled",
        ),
    ],
    ids=["a stranger", "the owner"],
)
def test_the_tool_file_that_is_shown_does_what_is_said_of_it(
    calling: str, steps: str, told: str, tmp_path: Path
) -> None:
    shown = blocks("tools.md", "python")[0]
    (tmp_path / "orders.py").write_text(shown, encoding="utf-8")
    text = ORDERS.format(calling=calling, steps=steps, told=told)
    (tmp_path / "orders.yaml").write_text(text, encoding="utf-8")
    done = rehearse(scenarios.load(tmp_path / "orders.yaml"), toolbox=toolbox_for("orders.yaml"))

    assert done.complaints == ()
    assert sum(1 for line in shown.splitlines() if line.strip()) <= 10


def test_the_call_that_is_shown_for_it_holds(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(blocks("tools.md", "python")[0], encoding="utf-8")
    (tmp_path / "offhook.toml").write_text('[agent]\ntools = ["orders.py"]\n', encoding="utf-8")
    (tmp_path / "cancel.yaml").write_text(blocks("tools.md", "yaml")[0], encoding="utf-8")

    assert ran(tmp_path, "cancel.yaml").complaints == ()


def test_the_policy_that_is_shown_is_read(tmp_path: Path) -> None:
    owner = next(block for block in blocks("tools.md", "toml") if "[owner]" in block)
    (tmp_path / "offhook.toml").write_text(owner, encoding="utf-8")

    config = load(tmp_path / "offhook.toml", {})

    assert config.owner.numbers == ("+4915112345678",)
    assert config.policy.countries == ("DE", "AT")
