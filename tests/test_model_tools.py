"""Tools of servers that the model's own server asks: what it is told, and who gives leave."""

from __future__ import annotations

from typing import Any

from gateway.configuration.config import Config
from gateway.configuration.convert import Secret
from gateway.configuration.mcp_server import McpServer
from gateway.lab.rehearsing.rehearse import Rehearsed, rehearse
from gateway.lab.rehearsing.scenario import parse

CANARY = "c4n4ry-t0ken-0f-the-crm"
CRM = McpServer(
    name="crm",
    url=f"https://crm.example.com/mcp?key={CANARY}-url",
    run="model",
    headers=(
        ("Authorization", Secret(f"Bearer {CANARY}")),
        ("X-Key", Secret(f"{CANARY}-header")),
    ),
    tools=("find", "add"),
    low=("find",),
)
OWNER = """
calling: "+4915112345678"
config:
  owner: {numbers: ["+4915112345678"], pin: "480215"}
"""
ADD = '{mcp: {server: crm, tool: add, arguments: {who: Ada, visits: 3}, output: "added Ada"}}'
FIND = '{mcp: {server: crm, tool: find, arguments: {who: Ada}, output: "{\\"found\\": 1}"}}'
ASKS = """
caller:
  - {wait: agent_quiet, say: "Add Ada to the list, please."}
"""
OWNS = """
  - {wait: agent_quiet, quiet_ms: 400, press: "480215#"}
  - {wait: agent_quiet, quiet_ms: 400, say: "Yes, please."}
"""
ENDS = """
  - {wait: call_end}
"""


def model(*answers: str) -> str:
    lines = "".join(f"    - {answer}\n" for answer in answers)
    return f"model:\n  answers:\n{lines}"


def items(*several: str, more: str = "") -> str:
    return f"{{items: [{', '.join(several)}]{more}}}"


HELLO = items('{say: "Hello! How can I help you?"}')
BYE = items('{say: "That is all. Goodbye!"}', "{call: {name: hangup, arguments: {reason: done}}}")


def played(text: str, *servers: McpServer, **more: Any) -> Rehearsed:  # noqa: ANN401 - of a config
    mcp = {server.name: server for server in servers or (CRM,)}
    return rehearse(parse(f"name: test\n{text}"), config=Config(mcp=mcp, **more))


def rows(one: Rehearsed) -> list[str]:
    return list(one.testimony.audit or ())


def tool_runs(one: Rehearsed) -> list[tuple[str, str | None, str | None]]:
    assert one.record is not None
    return [
        (run["name"], run["outcome"], run["output"])
        for run in one.record["tool_calls"]
        if run["name"] != "hangup"
    ]


def answers(one: Rehearsed) -> list[bool]:
    """What was given or refused, over all sessions of the call."""
    return [
        event["item"]["approve"]
        for events in one.testimony.sessions
        for event in events
        if event.get("item", {}).get("type") == "mcp_approval_response"
    ]


def test_the_owner_gives_leave_by_a_yes_and_the_result_is_spoken_about() -> None:
    one = played(OWNER + model(HELLO, items('{say: "One moment."}', ADD), BYE) + ASKS + OWNS + ENDS)

    assert tool_runs(one) == [("crm_add", "returned", '"added Ada"')]
    assert answers(one) == [True]
    assert [row for row in rows(one) if "hangup" not in row] == [
        *("asked crm_add", "verified", "confirmed crm_add", "began crm_add", "finished crm_add"),
    ]
    assert one.complaints == ()
