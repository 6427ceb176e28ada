"""What docs/configuration.md says of every key is what the code does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import attrs
import pytest

from gateway.configuration.config import load
from gateway.configuration.http_tool import KEYS as HTTP_TOOL_KEYS
from gateway.configuration.http_tool import HttpTool
from gateway.configuration.mcp_server import KEYS as MCP_KEYS
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.settings import KEYS, SECTIONS
from gateway.configuration.written import COMMON_NAMES

TEXT = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()


def rows(section: str) -> dict[str, list[str]]:
    """The cells of every key in the table of a section."""
    table = TEXT.partition(f"### `[{section}]`\n")[2].partition("\n### ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def shown(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case ():
            return "`[]`"
        case tuple():
            return f"`{json.dumps(default)}`"
        case str() if len(default) > 60:
            return f'`"{default[:40]}…"`'
        case str() | Path():
            return f'`"{default}"`'
        case _:
            return f"`{default:g}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    defaults = SECTIONS[section]()

    assert {key: cells[0] for key, cells in rows(section).items()} == {
        key: shown(getattr(defaults, key)) for key in KEYS[section]
    }
    assert list(rows(section)) == [field.name for field in attrs.fields(SECTIONS[section])]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_other_name_in_the_environment_is_documented_in_the_order_of_winning(
    section: str,
) -> None:
    names: dict[str, list[str]] = {}
    for name, (owner, key) in COMMON_NAMES.items():
        if owner == section:
            names.setdefault(key, []).append(f"`{name}`")

    assert {key: cells[1] for key, cells in rows(section).items() if cells[1]} == {
        key: ", ".join(found) for key, found in names.items()
    }


def test_the_example_is_one(tmp_path: Path) -> None:
    example = TEXT.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "offhook.toml").write_text(example)
    (tmp_path / "front-desk.txt").write_text("You answer for Acme.")
    (tmp_path / "orders.py").write_text("")
    config = load(tmp_path / "offhook.toml", {})

    assert list(config.agents) == list(tomllib.loads(example)["agents"]) == ["sales", "night"]
    assert config.agents["night"].transfer_to is None


def test_every_key_of_a_server_of_tools_is_documented_with_its_default() -> None:
    defaults = attrs.fields_dict(McpServer)
    documented = rows("mcp.NAME")

    assert tuple(documented) == MCP_KEYS
    for key in ("tools", "timeout_s", "low"):
        assert documented[key][0] == shown(defaults[key].default)


def test_every_key_of_a_tool_that_is_a_request_is_documented_with_its_default() -> None:
    defaults = attrs.fields_dict(HttpTool)
    documented = rows("tools.NAME")

    assert tuple(documented) == HTTP_TOOL_KEYS
    for key in ("method", "timeout_s", "max_bytes"):
        assert documented[key][0] == shown(defaults[key].default)


def test_the_example_of_a_tool_that_is_a_request_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "tools.md").read_text()
    example = text.partition("## Tools that are HTTP")[2].partition("```toml\n")[2]
    (tmp_path / "offhook.toml").write_text(example.partition("```")[0])
    config = load(tmp_path / "offhook.toml", {"ORDER_TOKEN": "t"})

    assert list(config.tools) == ["order_status"]
    assert config.tools["order_status"].in_url() == {"order_id", "lang"}
