"""`make_call` and `send_sms`, against the rehearsal's Twilio and against a stub that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import attrs
import httpx
import pytest
import trio

from actors.errors import EffectUnknown, ToolRefused
from actors.policy.record import CallFacts
from actors.toolbox import Toolbox
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config, Secret, ServerSettings, TwilioSettings
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.twilio.api_create import AccountRules
from gateway.lab.twilio.twilio_api import ApiFault, TwilioApi
from gateway.permission.caps import Caps, MemorySpending, Spending, SpendingFailed, Wish
from gateway.permission.numbers import Reach, dialable
from gateway.tools.builtin import BUILTIN, builtin_tools
from gateway.tools.means import Means
from gateway.twilio.outgoing import OutgoingCalls
from gateway.twilio.twilio_rest import CREATE_S, open_rest
from tests.calls import RefusingCall
from tests.number_strings import TRICKS
from tests.test_legs import FACTS

ACCOUNT_SID = "AC" + "0" * 31 + "1"
PASSWORD = "twelve345"
PUBLIC_URL = "https://gw.example.net/phone/"
OURS = "+4930999888"
THEIRS = "+4930123456"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
POLICY = PolicySettings(countries=("DE", "US"), calls_per_day=2, messages_per_day=3)
AGENT = AgentSettings(builtin_tools=("make_call", "send_sms"))
CALL = RefusingCall(
    facts=attrs.evolve(FACTS, call_sid="CA1", to_number=OURS, agent="default"),
)


@attrs.define(eq=False)
class BrokenSpending:
    """Stands for a book on a disk that is gone."""

    releases: bool = False

    async def reserve(self, wish: Wish, caps: Caps) -> int:
        await trio.lowlevel.checkpoint()
        if self.releases:
            return 1
        raise SpendingFailed(f"no {wish.kind} of {caps.calls}")

    async def release(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        raise SpendingFailed(f"not {number}")


@attrs.define(eq=False)
class Answers(httpx.AsyncBaseTransport):
    """Stands for the way to Twilio: every request meets the next of these."""

    left: list[Exception | httpx.Response | float]
    """A number: nothing happens for so many seconds."""
    asked: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.1)
        await request.aread()
        self.asked += 1
        match self.left.pop(0):
            case Exception() as error:
                raise error
            case httpx.Response() as response:
                return response
            case seconds:
                await trio.sleep(seconds)
                raise AssertionError("nobody waits so long")


@attrs.define(eq=False)
class Desk:
    """The tools of one gateway, and everything that they reach."""

    means: Means
    spending: Spending
    api: TwilioApi
    agent: AgentSettings = AGENT
    box: Toolbox | None = None

    async def run(self, name: str, call: RefusingCall = CALL, **arguments: str) -> dict[str, Any]:
        # Made when the first is run: tests change what they are made of before that.
        self.box = self.box or builtin_tools(self.means, self.agent)
        text = await self.box.run(name, json.dumps(arguments), call)
        found: dict[str, Any] = json.loads(text)
        return found

    async def call(self, to: str = THEIRS, task: str = "Say hello.") -> dict[str, Any]:
        return await self.run("make_call", to=to, task=task)

    async def message(self, to: str = THEIRS, text: str = "Hello.") -> dict[str, Any]:
        return await self.run("send_sms", to=to, text=text)

    @property
    def entries(self) -> int:
        """How much is counted as spent."""
        return len(self.micros)

    @property
    def micros(self) -> list[int]:
        """What each cost."""
        assert isinstance(self.spending, MemorySpending)
        return [wish.micros for wish in self.spending.entries.values()]


def desk(
    *,
    policy: PolicySettings = POLICY,
    spending: Spending | None = None,
    rules: AccountRules | None = None,
    way: httpx.AsyncBaseTransport | None = None,
    public_url: str | None = PUBLIC_URL,
    agent: AgentSettings = AGENT,
) -> Desk:
    api = TwilioApi(ACCOUNT_SID, PASSWORD, rules=rules or AccountRules())
    twilio = TwilioSettings(account_sid=ACCOUNT_SID, auth_token=Secret(PASSWORD))
    config = Config(
        agent=agent, policy=policy, twilio=twilio, server=ServerSettings(public_url=public_url)
    )
    book = MemorySpending() if spending is None else spending
    means = Means(
        config=config,
        utc_now=lambda: NOON,
        rest=open_rest(twilio, way or api.transport()),
        spending=book,
        outgoing=OutgoingCalls(Random(1).randbytes),
    )
    return Desk(means, book, api, agent)


def read_back(found: Desk, name: str, arguments: dict[str, object]) -> str:
    """What is confirmed before a tool is run."""
    (schema,) = (
        one for one in builtin_tools(found.means, found.agent).schemas() if one.name == name
    )
    assert callable(schema.read_back)
    return schema.read_back(arguments)


def test_both_are_of_high_risk_and_say_what_they_do() -> None:
    found = desk()

    assert [BUILTIN[name].risk for name in ("make_call", "send_sms")] == ["high", "high"]
    assert read_back(found, "make_call", {"to": "+49 (30) 123456", "task": "Ask\n for X."}) == (
        f"Call {THEIRS}, with this task: Ask for X."
    )
    assert read_back(found, "send_sms", {"to": THEIRS, "text": "I am late."}) == (
        f"Send a text message to {THEIRS}, which says: I am late."
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("make_call", {"to": "+18765551234", "task": "Say hello."}),
        ("make_call", {"to": "tel:" + THEIRS, "task": "Say hello."}),
        ("make_call", {"to": "+4930777111", "task": "Say hello."}),
        ("make_call", {"to": THEIRS, "task": "a\u202eb"}),
        ("send_sms", {"to": "+499001234567", "text": "Hello."}),
        ("send_sms", {"to": THEIRS, "text": "\0"}),
    ],
)
def test_nobody_is_asked_to_confirm_what_would_be_refused(
    name: str, arguments: dict[str, object]
) -> None:
    found = desk()
    found.means = attrs.evolve(found.means, own_numbers=lambda: ("+4930777*",))

    with pytest.raises(ToolRefused):
        read_back(found, name, arguments)


@pytest.mark.parametrize("odd", [None, 7, ["+4930123456"], {}])
def test_arguments_of_another_type_are_read_back_as_they_are(odd: object) -> None:
    """They are refused when the tool is run."""
    found = desk()

    assert str(odd) in read_back(found, "make_call", {"to": odd, "task": odd})
    assert "None" in read_back(found, "send_sms", {})


async def test_a_call_is_placed_at_our_address_with_a_key(autojump_clock: trio.abc.Clock) -> None:
    found = desk()
    assert await found.call("+49 (30) 12-34-56") == {"placed": True, "status": "queued"}
    (placed,) = found.api.placed
    key = placed.form["Url"].partition("?placed=")[2]

    assert len(key) == 48
    assert placed.form == {
        "To": THEIRS,
        "From": OURS,
        "Url": f"https://gw.example.net/phone/twilio/voice?placed={key}",
        "Method": "POST",
        "StatusCallback": f"https://gw.example.net/phone/twilio/status?placed={key}",
        "StatusCallbackMethod": "POST",
        "Timeout": "30",
        "TimeLimit": "600",
    }
    assert found.entries == 1


async def test_a_message_goes_out_as_it_is(autojump_clock: trio.abc.Clock) -> None:
    found = desk()
    text = "Two lines,\nand a family 👨‍👩‍👧: & + = %20"
    assert await found.message(text=text) == {"sent": True, "status": "queued"}
    (message,) = found.api.messages

    assert message.form == {
        "To": THEIRS,
        "From": OURS,
        "Body": text,
        "StatusCallback": "https://gw.example.net/phone/twilio/status",
    }


async def test_without_a_public_address_messages_go_out_and_calls_do_not(
    autojump_clock: trio.abc.Clock,
) -> None:
    found = desk(public_url=None)
    await found.message()
    with pytest.raises(ToolRefused, match="no public address"):
        await found.call()

    assert "StatusCallback" not in found.api.messages[0].form


async def test_a_gateway_without_an_account_says_so() -> None:
    found = desk()
    found.means = attrs.evolve(found.means, rest=None)
    for what in (found.call, found.message):
        with pytest.raises(ToolRefused, match="no access to the carrier's account"):
            await what()


@pytest.mark.parametrize(
    ("called", "numbers", "ours"),
    [
        pytest.param("+4930777", (), "+4930777", id="the number that was called"),
        pytest.param("sip:desk@example.com", ("sip:a@b.c", "+4930*", "+49301"), None, id="none"),
        pytest.param("client:x", ("+49*", "+4930777", "+4930778"), "+4930777", id="the agent's"),
        pytest.param("\uff0b4930777", (), None, id="what looks like one"),
    ],
)
async def test_what_goes_out_comes_from_a_number_of_the_agents(
    called: str, numbers: tuple[str, ...], ours: str | None, autojump_clock: trio.abc.Clock
) -> None:
    found = desk()
    found.agent = attrs.evolve(AGENT, numbers=numbers)
    call = RefusingCall(facts=attrs.evolve(CALL.facts, to_number=called))
    with suppress(ToolRefused):
        await found.run("send_sms", call, to="+12125551234", text="Hello.")

    assert [message.form["From"] for message in found.api.messages] == ([ours] if ours else [])


async def test_in_a_call_that_we_placed_our_number_is_the_one_it_is_from(
    autojump_clock: trio.abc.Clock,
) -> None:
    found = desk()
    facts: CallFacts = attrs.evolve(
        CALL.facts, direction="outbound", from_number=OURS, to_number=THEIRS
    )
    await found.run("send_sms", RefusingCall(facts=facts), to=THEIRS, text="As promised.")
    with pytest.raises(ToolRefused, match="own"):
        await found.run("send_sms", RefusingCall(facts=facts), to=OURS, text="To me.")

    assert [message.form["From"] for message in found.api.messages] == [OURS]


async def test_nothing_is_asked_of_anybody_for_a_number_that_is_refused() -> None:
    found = desk()
    for to in ("+18765551234", OURS, "tel:" + THEIRS, "110", THEIRS + ";ext=1"):
        for what in (found.call, found.message):
            with pytest.raises(ToolRefused):
                await what(to)

    assert (found.api.requests, found.entries) == ([], 0)


async def test_numbers_that_agents_got_since_are_our_own_too() -> None:
    found = desk()
    found.means = attrs.evolve(found.means, own_numbers=lambda: ("+4930123*",))

    with pytest.raises(ToolRefused, match="own"):
        await found.message()


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "\n",
        "a\0b",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\u200bb",
        "a\u2066b",
        "\ud800",
        "a\tb",
        "\ufdd0",
    ],
)
async def test_what_cannot_be_read_back_is_not_sent(text: str) -> None:
    found = desk()
    for what in (found.message(text=text), found.call(task=f"x{text}\u200b")):
        with pytest.raises(ToolRefused):
            await what

    assert (found.api.requests, found.entries) == ([], 0)


async def test_a_message_and_a_task_have_a_longest_length(
    autojump_clock: trio.abc.Clock,
) -> None:
    found = desk(policy=attrs.evolve(POLICY, message_usd=0.01))
    await found.message(text="a" * 1600)
    await found.call(task="a" * 500)
    for what in (found.message(text="a" * 1601), found.call(task="a" * 501)):
        with pytest.raises(ToolRefused, match="bad arguments"):
            await what

    assert found.micros == [110_000, 500_000]


async def test_so_many_messages_a_day_and_no_more(autojump_clock: trio.abc.Clock) -> None:
    found = desk()
    for _ in range(3):
        await found.message()
    with pytest.raises(ToolRefused, match=r"no more than 3 messages.*tomorrow"):
        await found.message()

    assert len(found.api.requests) == 3


async def test_two_at_once_do_not_share_the_last_message(autojump_clock: trio.abc.Clock) -> None:
    found = desk(policy=attrs.evolve(POLICY, messages_per_day=1))
    refused: list[str] = []

    async def send() -> None:
        try:
            await found.message()
        except ToolRefused as error:
            refused.append(error.reason)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)

    assert (len(found.api.messages), len(refused)) == (1, 4)


async def test_what_a_call_may_cost_is_counted_before_it(autojump_clock: trio.abc.Clock) -> None:
    """Ten minutes at five cents, of which there is one dollar."""
    policy = attrs.evolve(POLICY, calls_per_day=99, usd_per_day=1.0)
    found = desk(policy=policy)
    for number in range(2):
        await found.run(
            "make_call",
            RefusingCall(facts=attrs.evolve(CALL.facts, call_sid=f"CA{number}")),
            to=THEIRS,
            task="Say hello.",
        )
    with pytest.raises(ToolRefused, match=r"1\.00 dollars"):
        await found.message()


async def test_a_book_that_cannot_be_written_lets_nothing_out() -> None:
    found = desk(spending=BrokenSpending())
    for what in (found.call, found.message):
        with pytest.raises(ToolRefused, match="nothing was sent"):
            await what()

    assert found.api.requests == []


async def test_a_refused_request_counts_for_nothing(autojump_clock: trio.abc.Clock) -> None:
    found = desk(rules=AccountRules(permitted=("+1",)))
    for what in (found.call, found.message):
        with pytest.raises(ToolRefused, match="permissions"):
            await what()

    assert found.entries == 0
    assert len(found.api.requests) == 2


async def test_a_refused_call_leaves_its_place_to_the_next(autojump_clock: trio.abc.Clock) -> None:
    found = desk(policy=attrs.evolve(POLICY, calls_per_day=1))
    found.api.faults.append(ApiFault(400, 21211))
    with pytest.raises(ToolRefused, match="there is no such number"):
        await found.call()
    await found.call()

    assert (len(found.api.placed), found.entries) == (1, 1)


async def test_who_cannot_release_has_spent_it(autojump_clock: trio.abc.Clock) -> None:
    found = desk(spending=BrokenSpending(releases=True), rules=AccountRules(permitted=("+1",)))

    with pytest.raises(ToolRefused, match="it was not done"):
        await found.message()


@pytest.mark.parametrize("what", ["make_call", "send_sms"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.ReadTimeout("slow"), id="no answer in time"),
        pytest.param(httpx.ReadError("reset"), id="reset while it was read"),
        pytest.param(httpx.WriteError("reset"), id="reset while it was sent"),
        pytest.param(httpx.RemoteProtocolError("gone"), id="closed without an answer"),
        pytest.param(60.0, id="never"),
        pytest.param(httpx.Response(500, json={"code": 20500}), id="500"),
        pytest.param(httpx.Response(502, text="<html>"), id="502"),
        pytest.param(httpx.Response(408), id="408"),
        pytest.param(httpx.Response(201, text="<html>"), id="201 that cannot be read"),
        pytest.param(httpx.Response(201, json={"sid": "CA1"}), id="201 without a SID"),
        pytest.param(httpx.Response(201, json=[]), id="201 that is no object"),
    ],
)
async def test_what_may_have_been_done_is_not_tried_again(
    what: str,
    answer: Exception | httpx.Response | float,
    autojump_clock: trio.abc.Clock,
) -> None:
    way = Answers([answer])
    found = desk(way=way)
    with pytest.raises(EffectUnknown, match="whether it took effect is not known"):
        await (found.call() if what == "make_call" else found.message())

    assert way.asked == 1
    assert found.entries == 1


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([httpx.ConnectError("refused")] * 2, id="nobody listens"),
        pytest.param([httpx.ConnectTimeout("slow")], id="nobody answers"),
        pytest.param([httpx.PoolTimeout("full")], id="no connection was free"),
        pytest.param([httpx.Response(429, json={"code": 20429})] * 2, id="too many requests"),
    ],
)
async def test_what_was_certainly_not_done_is_tried_again(
    answers: Sequence[Exception | httpx.Response], autojump_clock: trio.abc.Clock
) -> None:
    sent = httpx.Response(201, json={"sid": "SM" + "0" * 32, "status": "queued"})
    way = Answers([*answers, sent])
    found = desk(way=way)

    assert await found.message() == {"sent": True, "status": "queued"}
    assert way.asked == len(answers) + 1


async def test_trying_again_has_an_end_and_nothing_was_spent(
    autojump_clock: trio.abc.Clock,
) -> None:
    way = Answers([httpx.ConnectError("refused") for _ in range(100)])
    found = desk(way=way)
    began_s = trio.current_time()
    with pytest.raises(ToolRefused, match="could not be reached"):
        await found.message()

    assert trio.current_time() - began_s < CREATE_S + 1
    assert (found.entries, way.asked) == (0, 100 - len(way.left))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404])
async def test_any_other_refusal_is_one(status: int, autojump_clock: trio.abc.Clock) -> None:
    found = desk(way=Answers([httpx.Response(status, headers={"location": "https://x.example/"})]))
    with pytest.raises(ToolRefused, match=f"HTTP {status}") as refused:
        await found.message()

    assert not isinstance(refused.value, EffectUnknown)
    assert found.entries == 0


async def test_who_is_cancelled_while_the_carrier_thinks_has_spent_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    found = desk()
    with trio.move_on_after(0.1):
        await found.call()

    assert found.entries == 1
    with pytest.raises(ToolRefused, match="one call at a time"):
        await found.call()


async def test_of_all_strings_what_the_carrier_is_asked_for_is_what_was_checked(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The guard alone has 100,000 of them; here they take the whole way, to the account."""
    policy = PolicySettings(
        countries=("DE", "US", "GB"), messages_per_day=10**6, usd_per_day=1e6, message_usd=0.0
    )
    found = desk(policy=policy)
    found.api.answer_s = 0.0
    reach, random, sent = Reach.of(found.means.config), Random(5), 0
    for number in range(8000):
        written = list(TRICKS.values())[number % len(TRICKS)](random)
        try:
            checked = dialable(written, reach)
        except ToolRefused:
            if number % 12 == 0:
                with pytest.raises(ToolRefused):
                    await found.message(written)
            continue
        await found.message(written)
        sent += 1
        assert found.api.messages[-1].to == checked

    assert len(found.api.requests) == len(found.api.messages) == sent > 50
