"""The sections about tools: what is right in them, what is refused, and what is remarked upon."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.configuration.config import ConfigError, load
from gateway.configuration.roster import Roster
from gateway.configuration.tool_rules import HIGH_RISK, offered_remarks

COMPLETE = """
[agent]
builtin_tools = ["take_message", "make_call", "send_sms", "send_email", "calendar_create_event",
  "calendar_update_event", "calendar_cancel_event", "web_research", "query_knowledge"]
[owner]
numbers = ["+4915112345678"]
pin = "480215"
totp_secret = "JBSWY3DPEHPK3PXPJBSWY3DP"
[policy]
low = ["calendar_create_event"]
high = ["web_research"]
countries = ["DE", "US"]
number_types = ["mobile", "toll_free"]
[email]
host = "smtp.example.com"
sender = "agent@example.com"
recipients = ["anna@example.com", "*@example.org"]
messages_to = "anna@example.com"
user = "agent"
password = "canary"
[calendar]
url = "https://dav.example.com/me/work/"
user = "me"
password = "canary"
timezone = "Europe/Berlin"
[knowledge]
folder = "papers"
"""
ENVIRON = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "t",
    "OFFHOOK_PUBLIC_URL": "https://gw.example.net",
}


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "papers").mkdir()
    file = tmp_path / "offhook.toml"
    file.write_text(text)
    return file


def test_a_complete_configuration_is_read_without_a_remark(tmp_path: Path) -> None:
    config = load(written(tmp_path, COMPLETE), ENVIRON)

    assert config.remarks() == ()
    assert config.knowledge.folder == tmp_path / "papers"
    assert config.calendar.timezone == "Europe/Berlin"
    assert "canary" not in repr(config)
    assert "480215" not in repr(config)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('["+4915112345678"]', '["015112345678"]', "did you mean +15112345678?"),
        ('["+4915112345678"]', '["+49 151 12345678"]', "did you mean +4915112345678?"),
        ('["+4915112345678"]', '["+49151*"]', "owner.numbers in {} must hold numbers"),
        ('"480215"', '"481"', "owner.pin in {} must be 4 to 12 digits, or what `offhook pin`"),
        ('"480215"', '"48021a"', "owner.pin in {} must be 4 to 12 digits"),
        ('"480215"', '"$argon2id$v=19$m=65536,t=3,p=4$cut"', "or what `offhook pin` makes of them"),
        ('"JBSWY3DPEHPK3PXPJBSWY3DP"', '"JBSWY3DP"', "must be base32 of at least 10 bytes"),
        ('"JBSWY3DPEHPK3PXPJBSWY3DP"', '"18!"', "must be base32 of at least 10 bytes"),
        ('low = ["calendar_create_event"]', 'low = ["a b"]', "not 'a b'; did you mean a_b?"),
        ('["DE", "US"]', '["GERMANY"]', "not 'GERMANY'; they have two letters, as DE"),
        ('["DE", "US"]', '["de"]', "not 'de'; did you mean DE?"),
        ('["DE", "US"]', "[]", "holds 'make_call', which needs policy.countries"),
        ('["mobile", "toll_free"]', "[]", "policy.number_types in {} must hold a kind of number"),
        ('["mobile", "toll_free"]', '["premium_rate"]', "policy.number_types"),
        ('"smtp.example.com"', '"smtp://x"', "email.host in {} must be the name of a server"),
        ('"agent@example.com"', '"Agent <a@b.c>"', "must be an address, as agent@example.com"),
        ('"*@example.org"', '"*"', "email.recipients in {} must hold addresses"),
        ('"*@example.org"', '"@example.org"', "email.recipients in {} must hold addresses"),
        ('user = "agent"', "", "email.password in {} and email.user go together"),
        ('user = "agent"', 'security = "none"\nuser = "a"', "email.security in {} is 'none'"),
        ('sender = "agent@example.com"', "", "holds 'send_email', which needs email.sender"),
        ('url = "https://dav.', 'url = "http://dav.', "calendar.url in {}"),
        ('"Europe/Berlin"', '"Europe/Berlim"', "did you mean Europe/Berlin?"),
        ('folder = "papers"', 'folder = "paper"', "is not a folder"),
        ('folder = "papers"', "", "holds 'query_knowledge', which needs knowledge.folder"),
        ('numbers = ["+4915112345678"]', "", "owner.pin in {} could be given by nobody"),
        ('"take_message"', '"take_mesage"', "agent.builtin_tools in {}"),
        ("[policy]", "[policy]\nconfirm_s = 31", "policy.confirm_s in {} must be 5 to 30, not 31"),
        ("[policy]", "[policy]\nusd_per_day = -1", "policy.usd_per_day in {} must be 0 to 10000"),
        ("[agent]", "[agent]\ntool_filler_after_s = 0.4", "must be 0.5 to 10, not 0.4"),
        ("[agent]", '[agent]\ntool_filler = ""\ntool_filler_after_s = 1', "has no effect"),
    ],
)
def test_one_mistake_is_refused_with_its_place_and_the_way_out(
    right: str, wrong: str, said: str, tmp_path: Path
) -> None:
    assert right in COMPLETE
    file = written(tmp_path, COMPLETE.replace(right, wrong, 1))

    with pytest.raises(ConfigError) as refused:
        load(file, ENVIRON)

    assert any(said.format(file) in problem for problem in refused.value.problems), refused.value
    assert "canary" not in str(refused.value)
    assert "480215" not in str(refused.value)


@pytest.mark.parametrize("lacking", ["TWILIO_ACCOUNT_SID", "OFFHOOK_PUBLIC_URL"])
def test_a_tool_that_places_calls_needs_the_account_and_its_way_back(
    lacking: str, tmp_path: Path
) -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != lacking}

    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, COMPLETE), environ)

    assert "agent.builtin_tools" in refused.value.problems[0]
    assert lacking in refused.value.problems[0]


def test_high_risk_tools_that_nobody_can_be_verified_for_are_remarked_upon(tmp_path: Path) -> None:
    text = COMPLETE.replace('pin = "480215"\n', "").replace("totp_secret", "# totp_secret")
    remark, numbers = load(written(tmp_path, text), ENVIRON).remarks()

    assert numbers == "owner.numbers has no effect: write owner.pin or owner.totp_secret too"
    assert "only a verified owner" in remark
    named = {name for name in HIGH_RISK if name in remark}
    assert named == HIGH_RISK - {"calendar_create_event"}
    assert "web_research" in remark


def test_a_tool_that_is_both_low_and_high_is_remarked_upon(tmp_path: Path) -> None:
    text = COMPLETE.replace('high = ["web', 'high = ["calendar_create_event", "web')
    (remark,) = load(written(tmp_path, text), ENVIRON).remarks()

    assert remark.startswith("policy.low holds 'calendar_create_event', and so does policy.high")


OWN_TOOLS = """
from gateway import tool

@tool
def from_before_there_were_risks() -> str: ...

@tool(risk="low")
def opening_hours() -> str: ...
"""


def offered(tmp_path: Path, text: str) -> tuple[str, ...]:
    (tmp_path / "own.py").write_text(OWN_TOOLS)
    config = load(written(tmp_path, f'[agent]\ntools = ["own.py"]\n{text}'), {})
    return offered_remarks(config, Roster.of(config).agents)


def test_a_written_tool_that_nobody_can_have_run_is_remarked_upon_once(tmp_path: Path) -> None:
    (remark,) = offered(tmp_path, '[agents.night]\nnumbers = ["+4930111333"]\n')

    assert remark.startswith("agent: nobody can have from_before_there_were_risks run")
    assert "owner.pin" in remark
    assert "risk = 'low'" in remark


@pytest.mark.parametrize(
    "text",
    [
        '[owner]\nnumbers = ["+4915112345678"]\npin = "480215"',
        '[policy]\nlow = ["from_before_there_were_risks"]\nhigh = ["send_dtmf", "send_email"]',
    ],
)
def test_written_tools_that_somebody_can_have_run_are_not_remarked_upon(
    text: str, tmp_path: Path
) -> None:
    assert offered(tmp_path, text) == ()


def test_a_policy_about_hanging_up_is_remarked_upon(tmp_path: Path) -> None:
    policy = '[policy]\nlow = ["from_before_there_were_risks"]\nhigh = ["hangup"]\n'
    (remark,) = offered(tmp_path, policy)

    assert (
        remark
        == "policy.high holds 'hangup', and every agent may hang up, whoever calls: take it out"
    )


@pytest.mark.parametrize("key", ["low", "high"])
def test_a_policy_about_a_tool_that_is_not_there_is_remarked_upon(key: str, tmp_path: Path) -> None:
    owner = '[owner]\nnumbers = ["+4915112345678"]\npin = "480215"\n'
    servers = '[mcp.crm]\nurl = "https://crm.example.com/mcp"\n'
    policy = f'[policy]\n{key} = ["opening_huors", "crm_whatever_it_offers"]\n'
    (remark,) = offered(tmp_path, owner + servers + policy)

    assert remark == (
        f"policy.{key} holds 'opening_huors', and there is no such tool; "
        "did you mean opening_hours?"
    )
