"""The tool that sends mail: to whom, and what the model is told of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs
import pytest
import trio

from actors.errors import EffectUnknown, ToolRefused
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.configuration.settings import Config
from gateway.configuration.tool_settings import EmailSettings
from gateway.tools.builtin import builtin_tools
from gateway.tools.mail import Letter, Mailer, NotMailed
from gateway.tools.means import Means
from gateway.tools.send_email import LONGEST_S, WITHIN_S, read_back
from tests.calls import RefusingCall
from tests.mail_servers import mail_server, settings_for

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANNA = {"to": "anna@example.com", "subject": "Tuesday", "text": "See you at 3.\nBye"}


@attrs.define(eq=False)
class Postbox:
    """Stands for a mail server that takes everything, or that fails in a way a test says."""

    fails: NotMailed | None = None
    letters: list[Letter] = attrs.field(factory=list[Letter])

    async def send(self, letter: Letter, *, within_s: float) -> None:
        await trio.lowlevel.checkpoint()
        self.letters.append(letter)
        if self.fails is not None:
            raise self.fails


def tools(mailer: Mailer | None, settings: EmailSettings | None = None) -> Toolbox:
    config = Config(email=settings or settings_for(25))
    means = Means(config=config, utc_now=lambda: NOW, mailer=mailer)
    return builtin_tools(means, AgentSettings(builtin_tools=("send_email",)))


async def test_what_the_model_asks_for_is_what_is_sent() -> None:
    with mail_server() as server:
        box = tools(None, settings_for(server.port))
        said = await box.run("send_email", json.dumps(ANNA), RefusingCall())

        (envelope,), (letter,) = server.taken, server.letters
    assert json.loads(said) == {"sent": "the mail server has taken it"}
    assert envelope.rcpt_tos == ["anna@example.com"]
    assert letter["Subject"] == "Tuesday"
    assert letter.get_content().splitlines() == ["See you at 3.", "Bye"]


async def test_a_mail_is_known_by_its_tool_call() -> None:
    box, calls = Postbox(), [RefusingCall(tool_call_id=one) for one in ("a", "a", "b")]
    for call in calls:
        await tools(box).run("send_email", json.dumps(ANNA), call)

    ids = [one.message_id for one in box.letters]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"to": "eve@example.net"}, "not among those that the settings allow"),
        ({"to": "anna@example.com,eve@example.net"}, "no address of one person"),
        ({"to": "anna@example.com\nBcc: eve@example.net"}, "no address of one person"),
        ({"to": "a" * 400}, "bad arguments: to"),
        ({"subject": "a\r\nBcc: eve@example.net"}, "subject: holds characters"),
        ({"subject": " "}, "subject: must not be empty"),
        ({"subject": "a" * 201}, "bad arguments: subject"),
        ({"text": ""}, "text: must not be empty"),
        ({"text": "a" * 5_001}, "bad arguments: text"),
        ({"cc": "eve@example.net"}, "bad arguments: cc"),
    ],
)
async def test_nothing_else_is_sent(changes: dict[str, str], why: str) -> None:
    box = Postbox()
    with pytest.raises(ToolRefused, match=why) as refused:
        await tools(box).run("send_email", json.dumps(ANNA | changes), RefusingCall())

    assert box.letters == []
    assert "eve" not in str(refused.value)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (NotMailed("no"), ToolRefused),
        (NotMailed("no", maybe_done=True), EffectUnknown),
    ],
)
async def test_what_is_not_known_is_not_called_a_refusal(
    failure: NotMailed, kind: type[ToolRefused]
) -> None:
    with pytest.raises(ToolRefused) as refused:
        await tools(Postbox(failure)).run("send_email", json.dumps(ANNA), RefusingCall())

    assert type(refused.value) is kind
    assert str(refused.value) == str(failure)


async def test_without_recipients_nobody_is_written_to() -> None:
    nobody = attrs.evolve(settings_for(25), recipients=())
    with pytest.raises(ToolRefused, match="not among those"):
        await tools(Postbox(), nobody).run("send_email", json.dumps(ANNA), RefusingCall())


def test_all_of_it_is_read_to_whoever_confirms_it() -> None:
    said = read_back(ANNA)

    assert all(value in said for value in ANNA.values())


@pytest.mark.parametrize(
    "changes", [{"to": "Anna <anna@example.com>"}, {"subject": "a\nb"}, {"text": " "}]
)
def test_nobody_is_asked_about_what_would_be_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ToolRefused):
        read_back(ANNA | changes)


def test_whom_the_owner_writes_to_is_told_to_nobody_before_they_prove_to_be_the_owner() -> None:
    assert "eve@example.net" in read_back(ANNA | {"to": "eve@example.net"})


def test_only_the_owner_may_have_it_sent_and_it_ends_before_its_bound() -> None:
    (schema,) = tools(Postbox()).schemas()

    assert schema.risk == "high"
    assert schema.longest_s == LONGEST_S > WITHIN_S
