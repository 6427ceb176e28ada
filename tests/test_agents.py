"""Who answers which number, what they are told, and how they are exchanged while calls go on."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.toolbox import Toolbox
from gateway.app import NOT_SERVED, create_app
from gateway.calls import IncomingCall
from gateway.configuration.agent_rules import SEND_DTMF, TRANSFER_CALL
from gateway.configuration.agents import PHONE_MENUS, AgentSettings, instructions_for
from gateway.configuration.config import Config, ConfigError, ServerSettings, load
from gateway.configuration.convert import Secret, UnknownNumbers
from gateway.configuration.reload import Reloader
from gateway.configuration.roster import LiveRoster, Roster, version_of
from gateway.tools.toolset import toolbox_of
from tests.doors import SilentSession, call_sid, serving

TODAY = date(2026, 11, 20)
TOOLS = "from gateway import tool\n\n@tool\ndef look_up(order: int) -> str:\n    return 'there'\n"


def roster(unknown_numbers: UnknownNumbers = "default", /, **agents: AgentSettings) -> Roster:
    server = ServerSettings(unknown_numbers=unknown_numbers)
    default = agents.pop("default", AgentSettings())
    return Roster.of(Config(agent=default, agents=agents, server=server))


def who(found: Roster, called: str) -> str | None:
    agent = found.agent_for(called)
    return None if agent is None else agent.name


@pytest.mark.parametrize(
    ("called", "name"),
    [
        pytest.param("+4930123456", "exact", id="written-out"),
        pytest.param("+4930123457", "longer", id="the-longest-pattern"),
        pytest.param("+4930999", "city", id="the-only-pattern"),
        pytest.param("+4930", "city", id="a-pattern-fits-nothing-more"),
        pytest.param("+4940", "default", id="unknown"),
        pytest.param("SIP:Desk@acme.example", "sip", id="sip-in-any-case"),
        pytest.param("", "default", id="no-number"),
    ],
)
def test_a_called_number_picks_its_agent(called: str, name: str) -> None:
    found = roster(
        city=AgentSettings(numbers=("+4930*",)),
        longer=AgentSettings(numbers=("+4930123*", "+431")),
        exact=AgentSettings(numbers=("+4930123456",)),
        sip=AgentSettings(numbers=("sip:desk@acme.example",)),
    )

    assert who(found, called) == name


def test_an_unknown_number_can_be_refused() -> None:
    found = roster(
        "refuse",
        default=AgentSettings(numbers=("+491",)),
        sales=AgentSettings(numbers=("+492",)),
    )

    assert [who(found, called) for called in ("+491", "+492", "+493")] == ["default", "sales", None]


def test_a_disabled_agent_answers_nobody_and_nobody_answers_for_it() -> None:
    found = roster(sales=AgentSettings(numbers=("+492",), enabled=False))

    assert who(found, "+492") is None
    assert who(found, "+493") == "default"
    assert who(roster(default=AgentSettings(enabled=False)), "+493") is None


def test_the_date_and_the_caller_are_woven_in() -> None:
    settings = AgentSettings(instructions="{date}, {caller}; {other} {{date}}")

    assert instructions_for(settings, "+4930123456", TODAY) == (
        "Friday, 2026-11-20, +4930123456; {other} {Friday, 2026-11-20}"
    )


@pytest.mark.parametrize(
    "caller",
    ["anonymous", "", "+266696687", "+7378742833", "client:bob", "sip:a b@c", "{date}", "+1\n"],
)
def test_a_caller_without_a_number_is_none_and_writes_nothing_of_their_own(caller: str) -> None:
    settings = AgentSettings(instructions="Caller: {caller}.")

    assert instructions_for(settings, caller, TODAY) == "Caller: a withheld number."


def test_guidance_for_phone_menus_is_added_when_it_is_wanted() -> None:
    settings = AgentSettings(instructions="You call Acme.", phone_menus=True)
    text = instructions_for(settings, "", TODAY)

    assert text == f"You call Acme.\n\n{PHONE_MENUS}"
    for word in ("send_dtmf", "whole menu", "Invalid option", "Hold music", "send 0", "Voice mail"):
        assert word in text
    assert "send_dtmf" not in instructions_for(AgentSettings(), "", TODAY)


def test_a_version_is_of_what_makes_an_agent(tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text(TOOLS)
    agent = AgentSettings(tools=(tools,))
    version = version_of(agent)

    assert len(version) == 12
    assert version == version_of(AgentSettings(tools=(tools,)))
    # Keys are no part of it, nor where a file is.
    assert version == version_of(attrs.evolve(agent, fallback_api_key=Secret("sk-1")))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tools.py").write_text(TOOLS)
    assert version == version_of(AgentSettings(tools=(elsewhere / "tools.py",)))
    others = {
        version_of(attrs.evolve(agent, voice="cedar")),
        version_of(attrs.evolve(agent, instructions="Other.")),
        version_of(attrs.evolve(agent, keywords=("Acme",))),
        version_of(AgentSettings()),
    }
    tools.write_text(TOOLS + "# changed\n")
    assert len(others | {version, version_of(agent)}) == 6


def test_every_setting_makes_another_version_but_keys_and_places_of_files() -> None:
    plain = AgentSettings()
    same = {
        name
        for name in attrs.fields_dict(AgentSettings)
        if name != "tools"
        and version_of(attrs.evolve(plain, **cast("dict[str, Any]", {name: "changed"})))
        == version_of(plain)
    }

    assert same == {"instructions_file", "fallback_api_key"}


def test_a_file_of_tools_that_cannot_be_run_is_refused_by_name(tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text("raise RuntimeError('no database')\n")

    with pytest.raises(ConfigError) as refused:
        roster(sales=AgentSettings(tools=(tools,)))
    assert refused.value.problems == (f"tools: {tools}:1: RuntimeError: no database",)


def test_the_rules_know_the_tools_that_come_with_an_agent() -> None:
    agent = AgentSettings(phone_menus=True, transfer_to="+4930123456")
    names = {schema.name for schema in toolbox_of(agent, Toolbox()).schemas()}

    assert names == {SEND_DTMF, TRANSFER_CALL}


# Edited while it serves.


@attrs.define
class Desk:
    """A configuration that somebody edits, and the reloader that watches it."""

    file: Path
    environ: dict[str, str] = attrs.field(factory=dict[str, str])
    edits: int = 0

    def write(self, text: str, file: Path | None = None) -> None:
        """Save a file; its time is another one for certain."""
        path = file or self.file
        path.write_text(text)
        self.edits += 1
        os.utime(path, ns=(self.edits, self.edits))

    def serve(self) -> Reloader:
        config = load(self.file, self.environ)
        return Reloader(self.file, self.environ, LiveRoster(Roster.of(config)), config)


async def settle(reloader: Reloader) -> bool:
    """Look twice: at the first look, an edit may not be over yet."""
    first = await reloader.look()
    return await reloader.look() or first


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "offhook.toml")
    desk.write('[agent]\nvoice = "sage"\n')
    return desk


async def test_an_edit_is_for_new_calls_and_a_running_call_keeps_its_agent(desk: Desk) -> None:
    reloader = desk.serve()
    running = reloader.roster.agent_for("+491")
    desk.write('[agent]\nvoice = "ash"\n[agents.sales]\nnumbers = ["+491"]\n')
    with capture_logs() as logs:
        assert await settle(reloader)
    new = reloader.roster.agent_for("+491")

    assert running is not None
    assert running.settings.voice == "sage"
    assert new is not None
    assert (new.name, new.settings.voice) == ("sales", "ash")
    assert running.version != new.version
    (entry,) = logs
    assert entry["event"] == "config.reloaded"
    assert entry["versions"] == reloader.roster.current.versions()


async def test_a_broken_edit_keeps_the_old_agents_and_says_so(desk: Desk) -> None:
    reloader = desk.serve()
    before = reloader.roster.current
    desk.write('[agent]\nvoice = "marine"\nspeed = 9\n')
    with capture_logs() as logs:
        assert not await settle(reloader)
        assert not await settle(reloader)

    assert reloader.roster.current is before
    (entry,) = logs
    assert (entry["event"], entry["log_level"]) == ("config.reload_failed", "error")
    assert len(entry["problems"]) == 2
    assert "did you mean marin?" in entry["problems"][0]
    desk.write('[agent]\nvoice = "marin"\n')
    assert await settle(reloader)
    assert reloader.roster.current.agents[0].settings.voice == "marin"


async def test_a_file_that_is_still_being_written_is_left_alone(desk: Desk) -> None:
    reloader = desk.serve()
    with capture_logs() as logs:
        for half in ("[agent]\nvo", '[agent]\nvoice = "a', '[agent]\nvoice = "ash"\n'):
            desk.write(half)
            assert not await reloader.look()
        assert await reloader.look()

    assert [entry["event"] for entry in logs] == ["config.reloaded"]


async def test_a_file_that_is_gone_is_a_mistake_and_not_the_defaults(desk: Desk) -> None:
    reloader = desk.serve()
    desk.file.unlink()
    with capture_logs() as logs:
        assert not await settle(reloader)

    assert reloader.roster.current.agents[0].settings.voice == "sage"
    assert logs[0]["problems"] == [f"{desk.file} does not exist"]


async def test_files_that_the_configuration_names_are_watched(desk: Desk) -> None:
    prompt, tools = desk.file.parent / "prompt.txt", desk.file.parent / "tools.py"
    desk.write("One.", prompt)
    desk.write(TOOLS, tools)
    desk.write('[agent]\ninstructions_file = "prompt.txt"\ntools = ["tools.py"]\n')
    reloader = desk.serve()
    first = reloader.roster.current.agents[0]
    desk.write("Two.", prompt)

    assert await settle(reloader)
    second = reloader.roster.current.agents[0]
    assert second.settings.instructions == "Two."
    desk.write(TOOLS.replace("'there'", "'lost'"), tools)
    assert await settle(reloader)
    third = reloader.roster.current.agents[0]
    assert len({first.version, second.version, third.version}) == 3
    assert first.tools is not None
    assert third.tools is not None
    assert json.loads(await first.tools.run("look_up", '{"order": 1}')) == "there"
    assert json.loads(await third.tools.run("look_up", '{"order": 1}')) == "lost"


async def test_an_edited_tool_that_is_a_request_is_for_new_calls(desk: Desk) -> None:
    declared = """
[tools.order_status]
description = "Look up where an order is."
url = "https://api.example.com/orders/{order_id}"
parameters.order_id = { type = "string" }
"""
    desk.write(declared)
    reloader = desk.serve()
    (before,) = reloader.roster.current.agents
    desk.write(declared.replace("/orders/", "/order/"))

    assert await settle(reloader)
    (after,) = reloader.roster.current.agents
    assert before.http_tools[0].url == "https://api.example.com/orders/{order_id}"
    assert after.http_tools[0].url == "https://api.example.com/order/{order_id}"
    assert before.version != after.version


async def test_a_file_that_was_missing_is_waited_for(desk: Desk) -> None:
    reloader = desk.serve()
    desk.write('[agent]\ninstructions_file = "prompt.txt"\n')
    assert not await settle(reloader)
    desk.write("There now.", desk.file.parent / "prompt.txt")

    assert await settle(reloader)
    assert reloader.roster.current.agents[0].settings.instructions == "There now."


async def test_a_configuration_can_appear_while_it_serves(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "offhook.toml")
    reloader = Reloader(desk.file, {}, LiveRoster(Roster.of(Config())), Config())
    assert not await settle(reloader)
    desk.write('[agent]\nvoice = "ash"\n')

    assert await settle(reloader)


async def test_a_file_of_tools_that_never_ends_stops_neither_the_gateway_nor_its_end(
    desk: Desk, tmp_path: Path
) -> None:
    """Its thread cannot be ended, and must not be waited for."""
    reloader = desk.serve()
    before = reloader.roster.current
    gate = tmp_path / "gate"
    waits = (
        "import time\nfrom pathlib import Path\n"
        f"for _ in range(2000):\n    if Path({str(gate)!r}).exists():\n        break\n"
        "    time.sleep(0.01)\n"
    )
    desk.write(waits + TOOLS, tmp_path / "orders.py")
    desk.write('[agent]\ntools = ["orders.py"]\n')
    with capture_logs() as logs, trio.fail_after(10):
        await reloader.look()
        assert not await reloader.look(longest_s=1.0)
    gate.touch()

    assert reloader.roster.current is before
    (entry,) = logs
    assert entry["event"] == "config.reload_failed"
    assert "longer than" in entry["problems"][0]
    desk.write(TOOLS, tmp_path / "orders.py")
    assert await settle(reloader)


async def test_a_file_that_nobody_foresaw_is_a_broken_edit_as_well(
    desk: Desk, tmp_path: Path
) -> None:
    reloader = desk.serve()
    desk.write(TOOLS.replace("order: int", "order: [].nothing"), tmp_path / "orders.py")
    desk.write('[agent]\ntools = ["orders.py"]\n')
    with capture_logs() as logs:
        assert not await settle(reloader)
        desk.write(f"deep = {'[' * 3000}{']' * 3000}\n")
        assert not await settle(reloader)
        desk.write(f"x = {'-' * 20_000}1\n", tmp_path / "orders.py")
        desk.write('[agent]\ntools = ["orders.py"]\n')
        assert not await settle(reloader)

    assert [entry["event"] for entry in logs] == ["config.reload_failed"] * 3


async def test_a_file_of_tools_that_is_saved_while_it_is_read_is_read_again(
    desk: Desk, tmp_path: Path
) -> None:
    """What runs under a version is what is in it: a later file must not be taken for the one."""
    path = tmp_path / "orders.py"
    later = TOOLS.replace("'there'", "'gone'")
    # Saved by its own first run, which is the earliest that anybody could.
    saves = f"from pathlib import Path\nPath({str(path)!r}).write_text({later!r})\n"
    desk.write(TOOLS, path)
    desk.write('[agent]\ntools = ["orders.py"]\n')
    reloader = desk.serve()
    desk.write(saves + TOOLS, path)
    await settle(reloader)
    await settle(reloader)

    agent = reloader.roster.current.agents[0]
    assert agent.tools is not None
    assert await agent.tools.run("look_up", '{"order": 1}') == '"gone"'


async def test_what_is_no_agents_needs_a_restart_and_is_said_once(desk: Desk) -> None:
    reloader = desk.serve()
    desk.write(
        '[agent]\nvoice = "ash"\nnumbers = ["+491"]\n[calls]\nmax_concurrent = 3\n'
        '[server]\nunknown_numbers = "refuse"\n'
    )
    with capture_logs() as logs:
        assert await settle(reloader)

    assert [entry["event"] for entry in logs] == ["config.restart_needed", "config.reloaded"]
    assert logs[0]["sections"] == ["server", "calls"]
    assert who(reloader.roster.current, "+492") == "default"
    desk.write('[agent]\nvoice = "sage"\n[calls]\nmax_concurrent = 3\n')
    with capture_logs() as logs:
        assert await settle(reloader)


async def test_an_edit_that_changes_no_agent_exchanges_none(desk: Desk) -> None:
    reloader = desk.serve()
    before = reloader.roster.current
    desk.write('# Sage it is.\n[agent]\nvoice = "sage"\n')
    with capture_logs() as logs:
        assert not await settle(reloader)

    assert reloader.roster.current is before
    assert logs == []


# At the front door.


async def test_the_called_number_picks_the_agent_and_an_unknown_one_is_refused_in_words() -> None:
    asked: list[IncomingCall] = []

    def open_session(incoming: IncomingCall, _nursery: trio.Nursery) -> SilentSession:
        asked.append(incoming)
        return SilentSession()

    config = Config(
        server=ServerSettings(unknown_numbers="refuse"),
        agents={"sales": AgentSettings(numbers=("+492*",), voice="ash")},
    )
    app = create_app(config, open_session=open_session)
    async with serving(app) as served:
        fields = {"AccountSid": "AC" + "1" * 32, "From": "+491"}
        known = await served.post("/twilio/voice", fields | {"CallSid": call_sid(), "To": "+49211"})
        unknown = await served.post(
            "/twilio/voice", fields | {"CallSid": call_sid(), "To": "+49311"}
        )

    assert "<Stream" in known.text
    (incoming,) = asked
    assert (incoming.agent.name, incoming.agent.settings.voice) == ("sales", "ash")
    assert incoming.agent.version == Roster.of(config).versions()["sales"]
    assert unknown.status_code == 200
    assert f"<Say>{NOT_SERVED}</Say><Hangup />" in unknown.text
