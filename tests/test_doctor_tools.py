"""The doctor, and what tools need: documents, mail, a calendar, a model that looks things up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import attrs
import pytest
import trio

from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config
from gateway.configuration.convert import Secret
from gateway.configuration.doctor_net import _researcher
from gateway.configuration.doctor_tools import tool_findings
from gateway.configuration.findings import Finding
from gateway.configuration.settings import OpenAISettings
from gateway.configuration.tool_settings import (
    CalendarSettings,
    EmailSettings,
    KnowledgeSettings,
    ResearchSettings,
)
from tests.calendar_servers import CalendarServer, calendar_server
from tests.mail_servers import LOGIN, mail_server, settings_for

TODAY = date(2026, 11, 20)


async def examined(config: Config, *, offline: bool = False) -> list[Finding]:
    found: list[Finding] = []
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    await tool_findings(config, found.append, utc_now=lambda: now, offline=offline)
    return found


async def only(config: Config) -> Finding:
    (finding,) = await examined(config)
    return finding


async def nobody_listens() -> int:
    """A port that was just given back."""
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


async def test_nothing_is_looked_at_that_no_section_names() -> None:
    assert await examined(Config()) == []


async def test_without_the_network_the_network_is_left_alone(tmp_path: Path) -> None:
    config = Config(
        email=settings_for(1),
        calendar=CalendarSettings(url="https://dav.example/x/"),
        knowledge=KnowledgeSettings(folder=tmp_path),
    )

    found = await examined(config, offline=True)

    assert [one.level for one in found] == ["warn", "skip", "skip"]


async def test_documents_are_counted_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    config = Config(knowledge=KnowledgeSettings(folder=tmp_path / "docs"))
    assert (await only(config)).level == "fail"
    (tmp_path / "docs").mkdir()
    assert "has no documents" in (await only(config)).text
    (tmp_path / "docs" / "a.md").write_text("Whales sing.")
    assert await only(config) == Finding("ok", "knowledge.folder", "1 documents")
    (tmp_path / "b.md").write_text("Sharks bite.")
    (tmp_path / "docs" / "b.md").symlink_to(tmp_path / "b.md")

    finding = await only(config)

    assert finding.level == "warn"
    assert "b.md is a link" in finding.text


async def test_a_login_that_is_good_is_said_to_be_and_no_letter_is_sent() -> None:
    with mail_server(login=True) as box:
        finding = await only(Config(email=settings_for(box.port, password=LOGIN[1])))

    assert finding == Finding("ok", "email", "127.0.0.1 accepts the login")
    assert (box.logins, box.taken) == (1, [])


async def test_a_mail_server_without_a_login_is_said_to_answer() -> None:
    with mail_server() as box:
        finding = await only(Config(email=settings_for(box.port)))

    assert finding.level == "ok"
    assert "no login is set" in finding.text


async def test_a_mail_server_that_would_take_no_letter_is_said_to_be_it() -> None:
    wrong: list[EmailSettings] = [settings_for(await nobody_listens())]
    with mail_server(login=True) as box:
        wrong.append(settings_for(box.port, password="canary"))
        wrong.append(settings_for(box.port, "starttls"))
        found = [await only(Config(email=one)) for one in wrong]

    assert [one.level for one in found] == ["fail"] * 3
    assert "does not accept the login" in found[1].text
    assert "email.security" in found[2].text
    assert "canary" not in str(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalendarServer]:
    with calendar_server(tmp_path_factory.mktemp("calendars")) as running:
        yield running


async def test_a_calendar_that_can_be_read_is_said_to_be(server: CalendarServer) -> None:
    finding = await only(Config(calendar=server.calendar().settings))

    assert finding == Finding("ok", "calendar", "can be read")


async def test_a_calendar_that_cannot_be_read_is_said_to_be_it(server: CalendarServer) -> None:
    good = server.calendar().settings
    wrong = [
        attrs.evolve(good, password=Secret("canary")),
        attrs.evolve(good, url=f"http://127.0.0.1:{server.port}/owner/nowhere/"),
        attrs.evolve(good, url=f"http://127.0.0.1:{await nobody_listens()}/owner/1/"),
    ]

    found = [await only(Config(calendar=one)) for one in wrong]

    assert [one.level for one in found] == ["fail"] * 3
    assert all("calendar.url" in one.text for one in found)
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("listed", "level", "says"),
    [
        ({"gpt-5-mini": None}, "ok", "has gpt-5-mini"),
        ({"gpt-5-nano": None}, "fail", "no 'gpt-5-mini'"),
        ({}, "fail", "ask for access"),
        ({"gpt-5-mini": "2026-12-01"}, "warn", "2026-12-01"),
        ({"gpt-5-mini": "2026-10-01"}, "fail", "2026-10-01"),
    ],
)
def test_the_model_that_looks_things_up_is_one_that_the_key_has(
    listed: dict[str, object], level: str, says: str
) -> None:
    config = Config(
        agent=AgentSettings(builtin_tools=("web_research",)),
        research=ResearchSettings(model="gpt-5-mini"),
    )

    (finding,) = _researcher(config, listed, TODAY)

    assert (finding.level, finding.subject) == (level, "research.model")
    assert says in finding.text


def test_a_model_that_nobody_asks_or_that_azure_names_is_not_looked_for() -> None:
    azure = OpenAISettings(base_url="https://x.openai.azure.com/openai/v1")
    used = AgentSettings(builtin_tools=("web_research",))

    assert _researcher(Config(), {}, TODAY) == []
    assert _researcher(Config(agent=used, openai=azure), {}, TODAY) == []
