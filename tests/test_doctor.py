"""The doctor, against servers on loopback that answer as OpenAI and Twilio publish they do."""

from __future__ import annotations

import base64
import json
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import attrs
import pytest
from openai.types import Model
from twilio.rest.api.v2010.account.incoming_phone_number import (  # type: ignore[import-untyped]
    IncomingPhoneNumberInstance,
)

from gateway.configuration.doctor import examine
from gateway.configuration.doctor_net import _dated
from gateway.configuration.findings import Finding
from gateway.lab.rehearsing.speech import speak
from tests.doors import Receive, Scope, Send, serving
from tests.model_servers import rehearsal_model

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY, ACCOUNT, TOKEN = "sk-rehearsal", "AC" + "1" * 32, "secret-token"
NUMBER = "+4930123456"
MODEL = """
about: Somebody connects and says nothing.
model: {answers: []}
"""


def model_entry(name: str, shutdown_date: str | None = None) -> dict[str, Any]:
    """Source: "The model object", OpenAI API reference."""
    entry = {"id": name, "object": "model", "created": 1757000000, "owned_by": "system"}
    return entry | {"shutdown_date": shutdown_date}


def number_entry(number: str = NUMBER, **changes: str) -> dict[str, Any]:
    """Source: "IncomingPhoneNumber resource", Twilio docs."""
    return {
        "account_sid": ACCOUNT,
        "capabilities": {"fax": False, "mms": False, "sms": True, "voice": True},
        "friendly_name": "desk",
        "phone_number": number,
        "sid": "PN" + "2" * 32,
        "status": "in-use",
        "trunk_sid": None,
        "voice_application_sid": "",
        "voice_method": "POST",
        "voice_url": "",
    } | changes


@attrs.define
class Net:
    """Stands for OpenAI's REST interface, Twilio's, and this gateway's own public address."""

    models: list[dict[str, Any]] = attrs.field(
        factory=lambda: [model_entry("gpt-realtime-2.1"), model_entry("gpt-4o")]
    )
    numbers: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    account_status: str = "active"
    health: tuple[int, bytes] = (200, b"ok\n")
    asked: list[str] = attrs.field(factory=list[str])
    base: str = ""
    realtime_url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked.append(scope["path"])
        status, body = self.answer(scope)
        # The server below dates it, by the clock on the wall.
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def answer(self, scope: Scope) -> tuple[int, bytes]:
        path, headers = scope["path"], dict(scope["headers"])
        if path == "/healthz":
            return self.health
        if path == "/v1/models":
            if headers.get(b"authorization") != f"Bearer {KEY}".encode():
                return 401, b'{"error": {"message": "Incorrect API key", "type": "x"}}'
            return 200, json.dumps({"object": "list", "data": self.models}).encode()
        basic = b"Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode())
        if headers.get(b"authorization") != basic:
            return 401, b'{"code": 20003, "message": "Authenticate", "status": 401}'
        if path == f"/2010-04-01/Accounts/{ACCOUNT}.json":
            return 200, json.dumps({"sid": ACCOUNT, "status": self.account_status}).encode()
        if path == f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json":
            wanted = parse_qs(scope["query_string"].decode()).get("PhoneNumber", [""])[0]
            found = [entry for entry in self.numbers if wanted in entry["phone_number"]]
            page = {"page": 0, "page_size": 50, "incoming_phone_numbers": found}
            return 200, json.dumps(page).encode()
        return 404, b'{"code": 20404, "status": 404}'

    @property
    def webhook(self) -> str:
        return f"{self.base}/twilio/voice"


@asynccontextmanager
async def out_there() -> AsyncIterator[Net]:
    net = Net()
    async with serving(net) as served, rehearsal_model(MODEL, speak) as model:
        net.base, net.realtime_url = served.base, model.url
        net.numbers = [number_entry(voice_url=net.webhook)]
        yield net


@attrs.define
class Practice:
    """A configuration, and the doctor who looks at it."""

    directory: Path
    environ: dict[str, str] = attrs.field(factory=dict[str, str])
    text: str = ""
    clock_s: float = 0.0
    """By how much this machine's clock is ahead."""

    async def findings(self, *, offline: bool = False) -> list[Finding]:
        file = self.directory / "offhook.toml"
        file.write_text(self.text)
        found: list[Finding] = []
        now = NOW if offline else datetime.now(UTC) + timedelta(seconds=self.clock_s)
        healthy = await examine(
            file, self.environ, found.append, utc_now=lambda: now, offline=offline
        )
        assert healthy == all(finding.level != "fail" for finding in found)
        return found

    async def bad(self, *, offline: bool = False) -> list[str]:
        """Everything that is not well, one line each."""
        found = await self.findings(offline=offline)
        return [str(finding) for finding in found if finding.level in ("warn", "fail")]


@pytest.fixture
def practice(tmp_path: Path) -> Practice:
    environ = {
        "OPENAI_API_KEY": KEY,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "OFFHOOK_PUBLIC_URL": "https://gw.example.net",
        "OFFHOOK_CALLS_DIRECTORY": str(tmp_path / "calls"),
    }
    return Practice(tmp_path, environ, f'[agent]\nnumbers = ["{NUMBER}"]\n')


def on(practice: Practice, net: Net) -> Practice:
    """The same, on loopback."""
    practice.environ |= {
        "OPENAI_REALTIME_URL": net.realtime_url,
        "OPENAI_BASE_URL": f"{net.base}/v1",
        "TWILIO_API_URL": net.base,
        "OFFHOOK_PUBLIC_URL": net.base,
    }
    return practice


async def test_all_is_well(practice: Practice) -> None:
    async with out_there() as net:
        found = await on(practice, net).findings()

    # Over loopback there is no https, and that is all there is to say.
    (only,) = [finding for finding in found if finding.level != "ok"]
    assert (only.level, only.subject) == ("warn", "server.public_url")
    said = "\n".join(map(str, found))
    for words in (
        "agents and their versions: default ",
        "ok    openai.api_key: accepted",
        "ok    agent.model: this key has gpt-realtime-2.1",
        "ok    agent session: gpt-realtime-2.1, voice marin: accepted",
        "ok    clock: ",
        "/healthz answers",
        f"ok    twilio: account {ACCOUNT} is active",
        f"ok    agent {NUMBER}: its webhook is {net.webhook}",
    ):
        assert words in said
    assert KEY not in said
    assert TOKEN not in said


async def test_offline_it_asks_nobody_and_says_so(practice: Practice) -> None:
    async with out_there() as net:
        found = await on(practice, net).findings(offline=True)

    assert net.asked == []
    assert found[-1].level == "skip"
    assert "--offline" in found[-1].text


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OPENAI_API_KEY", "sk-other", ["fail  openai.api_key: is not accepted", "OPENAI_API_KEY"]),
        ("TWILIO_AUTH_TOKEN", "other", ["fail  twilio: the credentials are not accepted"]),
        ("OFFHOOK_AGENT_MODEL", "gpt-realtime-2.2", ["no 'gpt-realtime-2.2'", "gpt-realtime-2.1?"]),
        ("OFFHOOK_AGENT_NUMBERS", "+4930999", ["fail  agent +4930999: does not belong"]),
        ("OPENAI_REALTIME_URL", "ws://127.0.0.1:9/v1", ["fail  agent session: ", "127.0.0.1:9"]),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1", ["fail  openai.base_url", "does not answer"]),
        ("TWILIO_API_URL", "http://127.0.0.1:9", ["fail  twilio: ", "does not answer"]),
    ],
)
async def test_what_the_world_does_not_accept_fails_with_a_way_out(
    practice: Practice, name: str, value: str, words: list[str]
) -> None:
    async with out_there() as net:
        on(practice, net).environ[name] = value
        said = "\n".join(await practice.bad())

    for word in words:
        assert word in said


def set_account(net: Net) -> None:
    net.account_status = "suspended"


def set_webhook(net: Net) -> None:
    net.numbers = [number_entry(voice_url="https://demo.twilio.com/welcome/voice/")]


def set_method(net: Net) -> None:
    net.numbers = [number_entry(voice_url=net.webhook, voice_method="GET")]


def set_trunk(net: Net) -> None:
    net.numbers = [number_entry(voice_url=net.webhook, trunk_sid="TK1")]


def set_app(net: Net) -> None:
    net.numbers = [number_entry(voice_url=net.webhook, voice_application_sid="AP1")]


def set_health(net: Net) -> None:
    net.health = (502, b"Bad Gateway")


def set_stranger(net: Net) -> None:
    net.health = (200, b"<html>Welcome to nginx</html>")


def set_soon(net: Net) -> None:
    day = (datetime.now(UTC) + timedelta(days=62)).date()
    net.models = [model_entry("gpt-realtime-2.1", day.isoformat())]


def set_over(net: Net) -> None:
    net.models = [model_entry("gpt-realtime-2.1", "2026-01-20")]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (set_account, f"fail  twilio: account {ACCOUNT} is suspended"),
        (set_webhook, f"fail  agent {NUMBER}: its webhook is https://demo.twilio.com/welcome"),
        (set_method, f"fail  agent {NUMBER}: its webhook is asked by GET"),
        (set_trunk, f"fail  agent {NUMBER}: is routed to the SIP trunk TK1"),
        (set_app, f"warn  agent {NUMBER}: is answered by the TwiML app AP1"),
        (set_health, "fail  server.public_url: http"),
        (set_stranger, "fail  server.public_url: http"),
        (set_soon, "warn  agent.model: gpt-realtime-2.1 is shut down on 20"),
        (set_over, "fail  agent.model: gpt-realtime-2.1 was shut down on 2026-01-20"),
    ],
)
async def test_what_somebody_set_elsewhere_is_found(
    practice: Practice, change: Callable[[Net], None], line: str
) -> None:
    async with out_there() as net:
        change(net)
        bad = await on(practice, net).bad()

    bad.remove(next(one for one in bad if "Twilio needs https://" in one))
    (found,) = bad
    assert found.startswith(line)


@pytest.mark.parametrize(("clock_s", "which"), [(300, "ahead of"), (-300, "behind")])
async def test_a_clock_that_is_wrong_is_found(
    practice: Practice, clock_s: float, which: str
) -> None:
    practice.clock_s = clock_s
    async with out_there() as net:
        bad = await on(practice, net).bad()

    (clock,) = [one for one in bad if one.startswith("warn  clock: ")]
    assert f" s {which} the model's server" in clock


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("Fri, 20 Nov 2026 12:00:00 GMT", 12),
        ("Fri, 20 Nov 2026 12:00:00 -0000", 12),
        ("Fri, 20 Nov 2026 12:00:00 GMT, Fri, 20 Nov 2026 12:00:01 GMT", 12),
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_date_is_read_however_it_is_written(text: str | None, hour: int | None) -> None:
    dated = _dated(text)

    assert (None if dated is None else (dated.hour, dated.tzinfo)) == (hour and (hour, UTC))


async def test_without_a_number_written_out_any_that_leads_here_will_do(
    practice: Practice,
) -> None:
    practice.text = '[agent]\nvoice = "sage"\n'
    async with out_there() as net:
        well = await on(practice, net).findings()
        set_webhook(net)
        bad = await practice.bad()

    assert "1 of the account's lead here" in "\n".join(map(str, well))
    assert bad[-1].startswith("warn  twilio numbers: none of the account's first 1 leads here")


async def test_what_a_session_refuses_is_found_for_every_agent(practice: Practice) -> None:
    practice.text += (
        '[agents.other]\nnumbers = ["+492*"]\nmodel = "gpt-other"\nphone_menus = true\n'
        'tool_choice = "send_dtmf"\nfallback_model = "gpt-realtime-mini"\n'
    )
    async with out_there() as net:
        found = await on(practice, net).findings()

    by_subject = {finding.subject: finding for finding in found}
    assert by_subject["agent session"].level == "ok"
    assert by_subject["agents.other session"].level == "fail"
    assert by_subject["agents.other fallback"].level == "ok"
    assert "name of the model" in by_subject["agents.other session"].text


@pytest.mark.parametrize(
    ("text", "environ", "line"),
    [
        (
            '[agent]\nmodel = "gpt-realtime"\n',
            {},
            "warn  agent.model: gpt-realtime is shut down on",
        ),
        ('[agent]\nmodel = "gpt-4o-realtime-preview"\n', {}, "fail  agent.model: gpt-4o-realtime"),
        ('[agent]\ntranscription = "whisper-1"\n', {}, ""),
        (
            '[agent]\nmodel = "gpt-realtme-2.1"\n',
            {},
            "warn  configuration: agent.model is 'gpt-rea",
        ),
        ("[agent]\ntemperature = 0.8\n", {}, "warn  configuration: agent.temperature is 0.8"),
        ('[agent]\ninstructions = "On {data}."\n', {}, "warn  configuration: agent.instructions"),
        ("", {"OPENAI_API_KEY": ""}, "fail  openai.api_key: is not set"),
        ("", {"OPENAI_VIOCE": "sage"}, "warn  environment: OPENAI_VIOCE is not read; did you mean"),
        ("", {"OFFHOOK_CALLS_DIRECTORY": "/proc/no"}, "fail  calls.directory /proc/no: cannot be"),
        ("", {"OFFHOOK_PUBLIC_URL": ""}, "fail  configuration: twilio.auth_token is set, but"),
    ],
)
async def test_what_this_machine_can_tell_by_itself(
    practice: Practice, text: str, environ: dict[str, str], line: str
) -> None:
    practice.text, practice.environ = text, practice.environ | environ
    bad = await practice.bad(offline=True)

    assert any(one.startswith(line) for one in bad) if line else bad == []


async def test_a_tool_that_nobody_can_have_run_is_found(practice: Practice) -> None:
    (practice.directory / "own.py").write_text(
        "from gateway import tool\n@tool\ndef pay() -> str: ...\n"
    )
    practice.text += 'tools = ["own.py"]\n[mcp.crm]\nurl = "https://crm.example.com/mcp"\n'
    said = "\n".join(map(str, await practice.findings(offline=True)))

    assert "warn  configuration: agent: nobody can have pay run" in said
    assert "skip  mcp.crm: not asked: whether it answers" in said
    assert "ok    agent.tools: pay (high): low is for anybody, high for the verified owner" in said


async def test_a_fallback_that_would_be_shown_anothers_key_is_found(practice: Practice) -> None:
    practice.text += 'fallback_url = "wss://other.example/v1/realtime"\n'

    (said,) = [line for line in await practice.bad(offline=True) if "other.example" in line]
    assert said.startswith("warn  agent.fallback_url: is at other.example, which would be shown")
    practice.environ["OFFHOOK_AGENT_FALLBACK_API_KEY"] = "sk-other"
    assert not [line for line in await practice.bad(offline=True) if "other.example" in line]


async def test_the_key_in_an_addresss_query_is_not_shown(practice: Practice) -> None:
    """Azure takes it there as well."""
    async with out_there() as net:
        on(practice, net)
        practice.environ["OPENAI_REALTIME_URL"] = "ws://127.0.0.1:9/?api-key=hush"
        found = await practice.findings()

    assert any(finding.level == "fail" and "127.0.0.1:9" in str(finding) for finding in found)
    assert "hush" not in "\n".join(map(str, found))


async def test_too_few_open_files_are_said_with_both_ways_out(practice: Practice) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    practice.environ["OFFHOOK_CALLS_MAX_CONCURRENT"] = "100000"
    if hard == resource.RLIM_INFINITY or hard >= 400_064:
        pytest.skip("this machine has files enough for everybody")
    (found,) = await practice.bad(offline=True)

    assert found.startswith("fail  open files: 100000 calls at once need 400064")
    assert "ulimit -n 400064" in found


async def test_a_mistake_in_the_configuration_is_all_that_is_told(practice: Practice) -> None:
    practice.text = '[agent]\nvoice = "marine"\nspeed = 9\n'
    found = await practice.findings()

    assert [finding.level for finding in found] == ["fail", "fail", "skip"]


def test_the_stand_ins_answer_in_the_shapes_of_the_official_clients() -> None:
    entry = number_entry(voice_url="https://gw.example.net/twilio/voice")
    number = IncomingPhoneNumberInstance(None, entry, ACCOUNT)

    assert Model.model_validate(model_entry("gpt-realtime", "2027-01-20")).shutdown_date
    for key in ("phone_number", "voice_url", "voice_method", "trunk_sid", "voice_application_sid"):
        assert getattr(number, key) == entry[key]
