"""Tools of servers that the model's own server asks: what it is told, and who gives leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.approvals import NOT_ASKED, Approvals
from actors.errors import ToolRefused
from actors.exits import AgentHungUp
from actors.guard import BY_ITSELF, WITHOUT_LEAVE, GuardedTools
from actors.lanes import Lane
from actors.messages import ApproveRun, RanElsewhere, SessionOrder, ToolCall
from actors.toolbox import Toolbox
from gateway.configuration.config import Config, ConfigError, load
from gateway.configuration.convert import Secret
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.rehearsing.rehearse import Rehearsed, rehearse
from gateway.lab.rehearsing.scenario import parse
from gateway.lab.replaying.replay import replay
from gateway.mcp.model_tools import ModelTools, tool_servers
from gateway.mcp.tools import McpServers
from gateway.permission.audit_log import MemoryAudit
from gateway.permission.read_back import Questions
from gateway.records.flight_log import parse as parse_log
from gateway.tools.toolset import Layered
from gateway.web.public_web import PublicWeb
from tests.guards import STRANGER, utc_now

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
TWICE = """
caller:
  - {wait: agent_quiet, say: "Is Ada on the list?"}
  - {wait: agent_quiet, quiet_ms: 600, say: "Thank you, bye."}
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
    assert rows(one) == [
        f"{event} crm_add" for event in ("asked", "verified", "confirmed", "began", "finished")
    ]
    assert one.complaints == ()


def test_a_stranger_gets_no_leave_and_is_told_so() -> None:
    one = played(model(HELLO, items(ADD), BYE) + ASKS + ENDS)

    ((name, outcome, output),) = tool_runs(one)
    assert (name, outcome) == ("crm_add", "refused")
    assert "only the owner" in str(output)
    assert answers(one) == [False]
    assert rows(one) == ["asked crm_add", "refused crm_add"]
    assert one.complaints == ()


def test_an_owner_who_says_no_gives_no_leave() -> None:
    no = OWNS.replace("Yes, please.", "No, do not.")
    one = played(OWNER + model(HELLO, items(ADD), BYE) + ASKS + no + ENDS)

    assert answers(one) == [False]
    assert rows(one)[-1] == "declined crm_add"
    assert one.complaints == ()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((items(FIND, '{say: "Ada is there."}'),), id="goes-on-by-itself"),
        pytest.param((items(FIND), items('{say: "Ada is there."}')), id="waits-for-a-response"),
    ],
)
def test_what_is_low_runs_without_us_and_is_written_down(answer: tuple[str, ...]) -> None:
    expect = 'expect: {heard: ["Ada is there"]}\n'
    one = played(model(HELLO, *answer, BYE) + TWICE + ENDS + expect)

    assert tool_runs(one) == [("crm_find", "returned", '{"found": 1}')]
    assert answers(one) == []
    assert rows(one) == ["asked crm_find", "finished crm_find"]
    assert one.complaints == ()


def test_a_hang_up_beside_it_waits_for_the_answer_and_the_run() -> None:
    hangs_up = items('{say: "Then goodbye."}', ADD, "{call: {name: hangup}}")
    one = played(OWNER + model(HELLO, hangs_up) + ASKS + OWNS + ENDS)

    assert tool_runs(one) == [("crm_add", "returned", '"added Ada"')]
    assert rows(one)[-1] == "finished crm_add"
    assert isinstance(one.ending, AgentHungUp)
    assert one.complaints == ()


def test_one_yes_gives_leave_once_although_two_requests_are_the_same() -> None:
    one = played(OWNER + model(HELLO, items(ADD, ADD), BYE) + ASKS + OWNS + ENDS)

    assert sorted(answers(one)) == [False, True]
    assert rows(one).count("began crm_add") == rows(one).count("finished crm_add") == 1
    assert rows(one).count("asked crm_add") == 2


def test_what_the_owner_calls_high_needs_leave_although_it_was_declared_low() -> None:
    one = played(
        model(HELLO, items(FIND), BYE) + ASKS + ENDS, policy=PolicySettings(high=("crm_find",))
    )

    assert answers(one) == [False]
    assert rows(one) == ["asked crm_find", "refused crm_find"]


@pytest.mark.parametrize(
    ("kind", "outcome", "row"),
    [
        ("tool_execution_error", "refused", "failed crm_add"),
        ("http_error", "refused", "unknown crm_add"),
    ],
)
def test_a_run_that_fails_is_told_as_what_is_known_of_it(kind: str, outcome: str, row: str) -> None:
    fails = ADD.replace('output: "added Ada"', f'error: "Not now", error_type: {kind}')
    one = played(OWNER + model(HELLO, items(fails), BYE) + ASKS + OWNS + ENDS)

    assert [run[1] for run in tool_runs(one)] == [outcome]
    assert rows(one)[-1] == row
    assert answers(one) == [True]
    assert one.complaints == ()


def asked_and_lost(at_ms: int) -> Rehearsed:
    """The owner's call, whose session breaks at this moment, and its successor does not."""
    slow = ADD.replace("tool: add", "tool: add, takes_ms: 6000")
    faults = f"  faults: [{{at: {{at_ms: {at_ms}}}, do: close, connections: 1}}]\n"
    answered = model(HELLO, items(slow), items('{say: "I do not know."}'), BYE)
    return played(OWNER + answered + faults + ASKS + OWNS + ENDS)


def outputs_told(one: Rehearsed) -> list[str]:
    """Outputs of functions that the last session of a call was given."""
    return [
        event["item"]["output"]
        for event in one.testimony.sessions[-1]
        if event.get("item", {}).get("type") == "function_call_output"
        and "hung_up" not in event["item"]["output"]
    ]


def test_a_session_that_is_lost_behind_our_leave_leaves_it_unknown_for_ever() -> None:
    one = asked_and_lost(at_ms=24_000)

    assert answers(one) == [True]
    assert rows(one)[-2:] == ["began crm_add", "unknown crm_add"]
    (told,) = outputs_told(one)
    assert "not known" in told
    assert len(one.testimony.sessions) == 2
    assert one.complaints == ()


def test_a_session_that_is_lost_before_our_leave_gets_none_and_neither_does_the_next() -> None:
    one = asked_and_lost(at_ms=19_000)

    assert answers(one) == []
    assert rows(one)[-1] == "failed crm_add"
    (told,) = outputs_told(one)
    assert "Ask for it again" in told
    assert one.complaints == ()


def test_a_run_that_takes_too_long_is_unknown_and_its_late_end_changes_nothing() -> None:
    slow = ADD.replace("tool: add", "tool: add, takes_ms: 40000")
    one = played(
        OWNER
        + model(HELLO, items(slow), items('{say: "Nobody knows."}'), BYE)
        + ASKS
        + OWNS
        + "  - {wait: call_end}\n"
    )

    assert [run[:2] for run in tool_runs(one)] == [("crm_add", "timed_out")]
    assert answers(one) == [True]
    assert rows(one)[-1] == "unknown crm_add"
    assert len(rows(one)) == 5


def test_a_caller_who_hangs_up_while_it_runs_leaves_it_unknown() -> None:
    slow = ADD.replace("tool: add", "tool: add, takes_ms: 9000")
    leaves = "  - {wait: agent_quiet, quiet_ms: 3500, hang_up: true}\n"
    one = played(OWNER + model(HELLO, items(slow), BYE) + ASKS + OWNS + leaves)

    assert answers(one) == [True]
    assert rows(one)[-2:] == ["began crm_add", "unknown crm_add"]


def test_a_function_of_that_name_is_run_by_nobody() -> None:
    """The model asks us for what only its own server can do."""
    call = "{call: {name: crm_add, arguments: {who: Ada}}}"
    one = played(OWNER + model(HELLO, items(call), BYE) + ASKS + OWNS + ENDS)

    assert answers(one) == []
    assert [run[:2] for run in tool_runs(one)] == [("crm_add", "refused")]
    assert rows(one)[-1] == "failed crm_add"


def test_no_key_is_in_anything_that_a_call_leaves_behind() -> None:
    error = f'{{code: bad, message: "no {CANARY} and no {CANARY}-url", type: invalid}}'
    fault = f"  faults: [{{at: {{at_ms: 3000}}, do: error, error: {error}}}]\n"
    one = played(model(HELLO, items(FIND), BYE) + fault + TWICE + ENDS)

    left = dict(one.testimony.left_behind)
    assert b"mcp_call" in left["the flight log"]
    assert b'"message":"no hidden' in left["the flight log"]
    assert [where for where, text in left.items() if CANARY.encode() in text] == []
    assert CANARY not in repr(CRM) + repr(one.record) + repr(one.events)
    update, *_ = one.testimony.sessions[0]
    (told,) = (tool for tool in update["session"]["tools"] if tool["type"] == "mcp")
    assert told == {
        "type": "mcp",
        "server_label": "crm",
        "server_url": CRM.url,
        "allowed_tools": ["find", "add"],
        "require_approval": {
            "never": {"tool_names": ["find"]},
            "always": {"tool_names": ["add"]},
        },
        "authorization": CANARY,
        "headers": {"X-Key": f"{CANARY}-header"},
    }


def test_a_server_that_does_not_say_what_it_can_do_is_named_in_the_log() -> None:
    one = played(model(HELLO, BYE) + "  mcp_down: [crm]\n" + ASKS + ENDS)

    (failed,) = (entry for entry in one.events if entry["event"] == "mcp.not_listed_by_the_model")
    assert failed["server"] == "crm"
    assert one.complaints == ()


def test_a_call_with_leave_in_it_is_decided_the_same_way_again() -> None:
    one = played(OWNER + model(HELLO, items(ADD), items(FIND), BYE) + ASKS + OWNS + ENDS)
    log = parse_log(dict(one.testimony.left_behind)["the flight log"])
    again = replay(log)

    assert again.differences == ()
    assert answers(one) == [True]


# Who gives leave.


def test_what_has_lost_its_name_to_another_tool_is_not_offered() -> None:
    box = Toolbox()

    @box.add
    def crm_add() -> str:
        """Another one."""
        return ""

    twins = (
        CRM,
        attrs.evolve(CRM, name="crm_a", tools=("b",)),
        attrs.evolve(CRM, name="crm", tools=("a_b",)),
    )
    tools = Layered(box, ModelTools.of((CRM,)))
    (server,) = tool_servers((CRM,), tools.schemas(), {})

    assert (server.low, server.high) == (("find",), ())
    assert ModelTools.of(twins[1:]).schemas() == ()
    assert tool_servers((CRM,), box.schemas(), {}) == ()


async def test_leave_is_given_once_however_often_it_is_asked_for(autojump_clock: MockClock) -> None:
    lane = Lane[SessionOrder]("session", 64)
    approvals = Approvals(lane)
    outcomes: list[str] = []

    async def approve() -> None:
        try:
            outcomes.append(await approvals.approve("mcpr_1"))
        except ToolRefused as refused:
            outcomes.append(refused.reason)

    approvals.asked(ToolCall("mcpr_1", "crm_add", "{}", needs_approval=True))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(approve)
        await trio.sleep(1)
        assert approvals.ran(RanElsewhere("mcp_1", "crm_add", "{}", "returned", '"ok"', "mcpr_1"))
        assert approvals.ran(RanElsewhere("mcp_2", "crm_add", "{}", "returned", '"no"', "mcpr_1"))
    await approve()
    approvals.answer("mcpr_1", '"ok"')
    await approve()

    assert sorted(outcomes) == ['"ok"', *[NOT_ASKED] * 4]
    assert lane.left_over() == [ApproveRun("mcpr_1")]


async def test_what_was_run_before_we_gave_leave_gets_none() -> None:
    lane = Lane[SessionOrder]("session", 64)
    approvals = Approvals(lane)
    approvals.asked(ToolCall("mcpr_1", "crm_add", "{}", needs_approval=True))

    assert not approvals.ran(RanElsewhere("mcp_1", "crm_add", "{}", "returned", '"ok"', "mcpr_1"))
    with pytest.raises(ToolRefused):
        await approvals.approve("mcpr_1")
    assert lane.left_over() == []


async def test_what_was_run_without_leave_is_written_down_as_that() -> None:
    audit = MemoryAudit(utc_now)
    guard = GuardedTools(
        tools=ModelTools.of((CRM,)),
        call_sid="CA1",
        caller=STRANGER,
        audit=audit,
        read_out=Questions(),
    )
    for name in ("find", "add", "drop"):
        run = RanElsewhere(f"mcp_{name}", f"crm_{name}", "{}", "returned", '"ok"')
        await guard.ran_unasked(run)

    ends = [(row.tool, row.event, row.detail) for row in audit.rows if row.event != "asked"]
    assert ends == [
        ("crm_find", "finished", BY_ITSELF),
        ("crm_add", "finished", WITHOUT_LEAVE),
        ("crm_drop", "finished", WITHOUT_LEAVE),
    ]


@pytest.mark.parametrize(
    "name", ["", "the amount is five", "a" * 25, "to:", "ä", "a_b_c_d_e", "1st"]
)
def test_arguments_with_names_that_say_something_are_not_read_out(name: str) -> None:
    (_, schema) = ModelTools.of((CRM,)).schemas()

    with pytest.raises(ToolRefused):
        Questions()(schema, {name: 1})
    assert "who: Ada, visits: 3." in Questions()(schema, {"who": "Ada", "visits": 3})


# Configuration.

MODEL = 'url = "https://a.b/"\nrun = "model"\n'
WRONG = {
    MODEL: "mcp.crm.tools in FILE must name each of them",
    f'{MODEL}tools = ["*"]': "mcp.crm.tools in FILE must name each of them",
    f'{MODEL}tools = ["a b"]': "which is no tool's name",
    f'{MODEL}tools = ["a"]\ntimeout_s = 3': "mcp.crm.timeout_s in FILE has no meaning",
    f'{MODEL}tools = ["a"]\nallow_private = ["10.0.0.1"]': "mcp.crm.allow_private in FILE has no",
    'url = "http://a.b/"\nrun = "model"\ntools = ["a"]': "mcp.crm.url in FILE",
    'url = "https://10.0.0.1/"\nrun = "model"\ntools = ["a"]': "cannot be reached by the model",
    'url = "https://crm/"\nrun = "model"\ntools = ["a"]': "cannot be reached by the model",
    'url = "https://a.b/"\nrun = "modell"': "mcp.crm.run in FILE",
}


@pytest.mark.parametrize("lines", WRONG)
def test_a_mistake_is_told_with_what_would_be_right(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "offhook.toml"
    path.write_text(f"[mcp.crm]\n{lines}\n")
    with pytest.raises(ConfigError) as wrong:
        load(path, {})

    assert WRONG[lines].replace("FILE", str(path)) in str(wrong.value)


def test_a_server_that_the_model_asks_is_not_connected_to(tmp_path: Path) -> None:
    path = tmp_path / "offhook.toml"
    path.write_text(f'[mcp.crm]\n{MODEL}tools = ["find", "add"]\nlow = ["find"]\n')
    server = load(path, {}).mcp["crm"]

    assert (server.run, server.tools, server.low) == ("model", ("find", "add"), ("find",))
    assert McpServers.of([server], PublicWeb()).tools_of([server]).schemas() == ()
    assert server.fingerprint()["run"] == "model"
