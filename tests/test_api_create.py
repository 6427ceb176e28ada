"""The rehearsal's Twilio, asked for calls and messages by the official SDK and by nonsense."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import attrs
import httpx
import pytest
import trio
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http import HttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from gateway.lab.twilio.api_create import AccountRules
from gateway.lab.twilio.twilio_api import ApiFault, TwilioApi

ACCOUNT_SID = "AC" + "0" * 31 + "1"
PASSWORD = "twelve345"
CALL = {"To": "+4930123456", "From": "+4930999888", "Url": "https://gw.example.net/voice"}
MESSAGE = {"To": "+4930123456", "From": "+4930999888", "Body": "Hello."}


@attrs.define(eq=False)
class InMemory(HttpClient):  # type: ignore[misc]  # The SDK has no types.
    """Stands for the SDK's way to the network: it ends at the rehearsal's Twilio."""

    api: TwilioApi

    def request(self, method: str, url: str, **more: Any) -> Response:  # noqa: ANN401
        form = {key: text for key, text in more["data"].items() if isinstance(text, str | int)}
        headers, auth = more["headers"], more["auth"]

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.api.transport()) as client:
                return await client.request(method, url, data=form, headers=headers, auth=auth)

        found = trio.from_thread.run(ask)
        return Response(found.status_code, found.text)


def account(rules: AccountRules | None = None) -> TwilioApi:
    return TwilioApi(ACCOUNT_SID, PASSWORD, answer_s=0.0, rules=rules or AccountRules())


def sdk(api: TwilioApi, password: str = PASSWORD) -> Client:
    return Client(ACCOUNT_SID, password, http_client=InMemory(api))


async def asked(
    api: TwilioApi,
    what: str,
    form: dict[str, str],
    *,
    password: str = PASSWORD,
    method: str = "POST",
) -> httpx.Response:
    async with httpx.AsyncClient(transport=api.transport()) as client:
        return await client.request(
            method,
            f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/{what}.json",
            content=urlencode(form),
            headers={
                "Authorization": "Basic " + b64encode(f"{ACCOUNT_SID}:{password}".encode()).decode()
            },
        )


async def test_the_official_client_reads_the_call_that_it_placed() -> None:
    api = account()

    def place() -> Any:  # noqa: ANN401
        return sdk(api).calls.create(
            to=CALL["To"], from_=CALL["From"], url=CALL["Url"], timeout=30, time_limit=600
        )

    call = await trio.to_thread.run_sync(place)
    (placed,) = api.placed

    assert (call.sid, call.status, call.direction) == (placed.call_sid, "queued", "outbound-api")
    assert (call.to, call._from, call.queue_time) == (CALL["To"], CALL["From"], "0")
    assert (placed.ring_s, placed.longest_s) == (30.0, 600.0)


async def test_the_official_client_reads_the_message_that_it_sent() -> None:
    api = account()

    def send() -> Any:  # noqa: ANN401
        return sdk(api).messages.create(to=CALL["To"], from_=CALL["From"], body="ç" * 71)

    message = await trio.to_thread.run_sync(send)
    (sent,) = api.messages

    assert (message.sid, message.status, message.num_segments) == (sent.sid, "queued", "2")
    assert (message.to, message.from_, message.body) == (CALL["To"], CALL["From"], "ç" * 71)


async def test_the_official_client_reads_a_refusal() -> None:
    api = account(AccountRules(permitted=("+1",)))

    def place() -> None:
        sdk(api).calls.create(to=CALL["To"], from_=CALL["From"], url=CALL["Url"])

    with pytest.raises(TwilioRestException) as refused:
        await trio.to_thread.run_sync(place)

    assert (refused.value.status, refused.value.code) == (400, 21215)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21201),
        ({"To": ""}, 21201),
        ({"From": None}, 21213),
        ({"To": "4930123456"}, 21211),
        ({"To": "+49 30 123456"}, 21211),
        ({"To": "+\uff14930123456"}, 21211),
        ({"To": "+4930123456,+4930123457"}, 21211),
        ({"To": "+49301234567890123"}, 21211),
        ({"From": "offhook"}, 21212),
        ({"Url": None}, 21205),
        ({"Url": "gw.example.net"}, 21205),
        ({"Url": "wss://gw.example.net/"}, 21205),
        ({"Twiml": "<Response/>"}, 21205),
        ({"Url": None, "Twiml": "<Reponse/>"}, 21218),
        ({"Url": None, "Twiml": "x" * 4001}, 21218),
        ({"StatusCallback": "nowhere"}, 21609),
        ({"Method": "PUT"}, 20001),
        ({"Timeout": "0"}, 20001),
        ({"Timeout": "601"}, 20001),
        ({"Timeout": "half a minute"}, 20001),
        ({"TimeLimit": "-1"}, 20001),
        ({"TimeLimit": "99999"}, 20001),
        ({"Timelimit": "60"}, 20001),
    ],
)
async def test_a_call_is_refused_for(changes: dict[str, str | None], code: int) -> None:
    api = account()
    form = {key: value for key, value in {**CALL, **changes}.items() if value is not None}
    answer = await asked(api, "Calls", form)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert api.placed == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21604),
        ({"From": None}, 21603),
        ({"Body": None}, 21602),
        ({"Body": ""}, 21602),
        ({"Body": "a" * 1601}, 21617),
        ({"To": "030123456"}, 21211),
        ({"To": "+4930999888"}, 21266),
        ({"StatusCallback": "/twilio/status"}, 21609),
        ({"Text": "Hello."}, 20001),
    ],
)
async def test_a_message_is_refused_for(changes: dict[str, str | None], code: int) -> None:
    api = account()
    form = {key: value for key, value in {**MESSAGE, **changes}.items() if value is not None}
    answer = await asked(api, "Messages", form)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert api.messages == []


@pytest.mark.parametrize(
    ("rules", "call_code", "message_code"),
    [
        (AccountRules(own=frozenset({"+1"})), 21210, 21606),
        (AccountRules(verified=frozenset()), 21219, 21608),
        (AccountRules(permitted=("+1",)), 21215, 21408),
        (AccountRules(unsubscribed=frozenset({MESSAGE["To"]})), None, 21610),
        (AccountRules(own=frozenset({MESSAGE["From"]}), permitted=("+49",)), None, None),
    ],
)
async def test_an_account_has_rules(
    rules: AccountRules, call_code: int | None, message_code: int | None
) -> None:
    api = account(rules)
    call = (await asked(api, "Calls", CALL)).json()
    message = (await asked(api, "Messages", MESSAGE)).json()

    assert (call.get("code"), message.get("code")) == (call_code, message_code)


async def test_who_is_not_the_account_gets_nothing() -> None:
    api = account()
    answer = await asked(api, "Calls", CALL, password="wrong")
    looked = await asked(api, "Messages", MESSAGE, method="GET")

    assert (answer.status_code, answer.json()["code"]) == (401, 20003)
    assert looked.status_code == 405
    assert (api.placed, api.messages) == ([], [])


@pytest.mark.parametrize("obeyed", [True, False])
async def test_a_fault_may_hide_that_it_was_done(obeyed: bool) -> None:
    api = account()
    api.faults.append(ApiFault(500, obeyed=obeyed))
    answer = await asked(api, "Messages", MESSAGE)
    after = await asked(api, "Messages", MESSAGE)

    assert (answer.status_code, after.status_code) == (500, 201)
    assert len(api.messages) == 1 + obeyed
    assert [request.obeyed for request in api.requests] == [obeyed, True]
