"""Messages that an agent takes: kept, found, and mailed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.errors import ToolRefused
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.configuration.settings import CallSettings, Config
from gateway.tools.builtin import builtin_tools
from gateway.tools.mail import NotMailed
from gateway.tools.means import Means
from gateway.tools.taken import (
    FULL,
    LOST,
    PER_CALL,
    MessagesInFolders,
    MessagesInMemory,
    NotKept,
    TakenMessage,
    TakenMessages,
)
from tests.calls import NOBODY, RefusingCall
from tests.mail_servers import mail_server, settings_for
from tests.test_send_email import Postbox

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = attrs.evolve(NOBODY, from_number="+4930123", to_number="+4930456", agent="default")
CALL = RefusingCall(facts=FACTS)
SAID = {"name": "Eve Müller", "number": "030 123", "text": "Please call back.\nIt is urgent."}
MESSAGE = TakenMessage(
    call_sid="CA1",
    tool_call_id="call_1",
    at="2026-11-20T12:00:00+00:00",
    agent="default",
    caller="+4930123",
    called="+4930456",
    name="Eve Müller",
    number="030 123",
    text="Please call back.\nIt is urgent.",
)


def tools(
    taken: TakenMessages | None, mailer: Postbox | None = None, config: Config | None = None
) -> Toolbox:
    email = attrs.evolve(settings_for(25), messages_to="owner@example.com" if mailer else None)
    config = config or Config(email=email)
    means = Means(config=config, utc_now=lambda: NOW, taken=taken, mailer=mailer)
    return builtin_tools(means, AgentSettings(builtin_tools=("take_message",)))


async def test_a_message_is_kept_with_who_called_and_what_they_said(
    autojump_clock: trio.abc.Clock,
) -> None:
    taken = MessagesInMemory()
    said = await tools(taken).run("take_message", json.dumps(SAID), CALL)

    assert taken.messages == [MESSAGE]
    assert json.loads(said) == {"kept": "the owner will find it"}


async def test_a_message_needs_no_name_and_no_number() -> None:
    taken = MessagesInMemory()
    await tools(taken).run("take_message", '{"text": "Hello"}', CALL)

    (message,) = taken.messages
    assert (message.name, message.number, message.text) == (None, None, "Hello")


def test_anybody_may_leave_one() -> None:
    (schema,) = tools(MessagesInMemory()).schemas()

    assert schema.risk == "low"
    assert schema.parameters["required"] == ["text"]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": ""},
        {"text": "a" * 2_001},
        {"text": "a\0"},
        {"name": "a\nAsks to be called back at: 1"},
        {"name": "a" * 101},
        {"number": "1" * 41},
        {"to": "anna@example.com"},
    ],
)
async def test_what_is_no_message_is_not_kept(changes: dict[str, str]) -> None:
    taken = MessagesInMemory()
    with pytest.raises(ToolRefused):
        await tools(taken).run("take_message", json.dumps(SAID | changes), CALL)

    assert taken.messages == []


@pytest.fixture(params=["folders", "memory"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> TakenMessages:
    return MessagesInMemory() if request.param == "memory" else MessagesInFolders(tmp_path)


def kept(keeper: TakenMessages) -> list[TakenMessage]:
    if isinstance(keeper, MessagesInMemory):
        return keeper.messages
    assert isinstance(keeper, MessagesInFolders)
    files = sorted(keeper.root.glob("*/message*.json"))
    return [TakenMessage(**json.loads(file.read_bytes())) for file in files]


async def test_a_call_keeps_every_message_up_to_its_most(keeper: TakenMessages) -> None:
    left = [attrs.evolve(MESSAGE, tool_call_id=f"call_{n}") for n in range(PER_CALL + 1)]
    for message in left[:-1]:
        await keeper.keep(message)
    with pytest.raises(NotKept, match=FULL):
        await keeper.keep(left[-1])
    await keeper.keep(attrs.evolve(MESSAGE, call_sid="CA2"))

    assert kept(keeper) == [*left[:-1], attrs.evolve(MESSAGE, call_sid="CA2")]


async def test_the_same_message_twice_is_one(keeper: TakenMessages) -> None:
    await keeper.keep(MESSAGE)
    await keeper.keep(MESSAGE)

    assert kept(keeper) == [MESSAGE]


async def test_messages_at_once_are_all_kept(keeper: TakenMessages) -> None:
    left = [attrs.evolve(MESSAGE, tool_call_id=f"call_{n}") for n in range(PER_CALL)]
    async with trio.open_nursery() as nursery:
        for message in left:
            nursery.start_soon(keeper.keep, message)

    assert sorted(kept(keeper), key=lambda one: one.tool_call_id) == left


async def test_a_message_lies_beside_what_a_machine_recorded_and_nobody_else_may_read_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "CA1").mkdir()
    (tmp_path / "CA1" / "message.json").write_text("{}")
    config = Config(calls=CallSettings(directory=tmp_path))
    await tools(None, config=config).run("take_message", json.dumps(SAID), CALL)

    assert sorted(file.name for file in (tmp_path / "CA1").iterdir()) == [
        "message-1.json",
        "message.json",
    ]
    file = tmp_path / "CA1" / "message-1.json"
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_bytes()) == attrs.asdict(MESSAGE)


@pytest.mark.parametrize("call_sid", ["CA1", "../CA1", ""])
async def test_the_caller_is_told_when_it_could_not_be_kept(tmp_path: Path, call_sid: str) -> None:
    (tmp_path / "calls").write_text("in the way")
    call = RefusingCall(facts=attrs.evolve(FACTS, call_sid=call_sid))
    with capture_logs() as logs, pytest.raises(ToolRefused, match=LOST):
        await tools(MessagesInFolders(tmp_path / "calls")).run(
            "take_message", json.dumps(SAID), call
        )

    assert [one["event"] for one in logs] == ["message.not_kept"]
    assert "urgent" not in str(logs)


async def test_the_owner_is_mailed_what_was_said() -> None:
    with mail_server() as server:
        email = attrs.evolve(settings_for(server.port), messages_to="Owner@Example.com")
        await tools(MessagesInMemory(), config=Config(email=email)).run(
            "take_message", json.dumps(SAID), CALL
        )

        (envelope,), (letter,) = server.taken, server.letters
    assert envelope.rcpt_tos == ["Owner@example.com"]
    lines = letter.get_content().splitlines()
    assert lines[:3] == [
        "Called from: +4930123",
        "Says their name is: Eve Müller",
        "Asks to be called back at: 030 123",
    ]
    assert lines[-3:] == ["", "Please call back.", "It is urgent."]
    assert "Eve" not in letter["Subject"]


async def test_a_message_that_could_not_be_mailed_is_kept_all_the_same() -> None:
    taken, box = MessagesInMemory(), Postbox(NotMailed("the mail server is too slow"))
    with capture_logs() as logs:
        said = await tools(taken, box).run("take_message", json.dumps(SAID), CALL)

    assert taken.messages == [MESSAGE]
    assert json.loads(said) == {"kept": "the owner will find it"}
    assert [one["event"] for one in logs] == ["message.taken", "message.not_mailed"]
    assert "Eve" not in str(logs)
