"""What Twilio's REST interface says to a new call or message: which it takes, and what it answers.

Pure. Stricter than the real one where that lets mistakes pass: it refuses what it does not know.
Source: "Call resource: create a call", "Messages resource", "Error and Warning Dictionary", Twilio
docs; the names of parameters and of what is answered: the official SDK, 9.13.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from gateway.lab.twilio.twiml_reader import TwimlFault, read_twiml
from gateway.tools.segments import segments

RING_S: Final = 60
"""How long it rings unless it is said."""
LONGEST_RING_S: Final = 600
LONGEST_CALL_S: Final = 4 * 3600
LONGEST_BODY: Final = 1600
LONGEST_TWIML: Final = 4000

_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_CALL_KEYS: Final = frozenset(
    {
        "To", "From", "Url", "Method", "Twiml", "FallbackUrl", "FallbackMethod", "StatusCallback",
        "StatusCallbackEvent", "StatusCallbackMethod", "Timeout", "TimeLimit", "CallReason",
    }
)  # fmt: skip
_MESSAGE_KEYS: Final = frozenset({"To", "From", "Body", "StatusCallback", "ValidityPeriod"})

Json = dict[str, Any]
What = Literal["Calls", "Messages"]


@attrs.frozen(kw_only=True)
class AccountRules:
    """What one account may do. Without any rule, everything that is well-formed."""

    own: frozenset[str] | None = None
    """Its numbers."""
    verified: frozenset[str] | None = None
    """The only numbers that a trial account reaches; `None`: it is none."""
    permitted: tuple[str, ...] | None = None
    """Beginnings of the numbers that its geographic permissions allow."""
    unsubscribed: frozenset[str] = frozenset()
    """Who answered STOP."""


@attrs.frozen
class PlacedCall:
    """A call that was asked for."""

    call_sid: str
    form: Mapping[str, str] = attrs.field(repr=False)

    @property
    def to(self) -> str:
        """Who is to be rung."""
        return self.form["To"]

    @property
    def from_number(self) -> str:
        """Who it is from."""
        return self.form["From"]

    @property
    def ring_s(self) -> float:
        """How long it rings at the most."""
        return float(self.form.get("Timeout", RING_S))

    @property
    def longest_s(self) -> float:
        """How long it may last, once answered."""
        return float(self.form.get("TimeLimit", LONGEST_CALL_S))


@attrs.frozen
class SentMessage:
    """A message that was asked for."""

    sid: str
    form: Mapping[str, str] = attrs.field(repr=False)

    @property
    def to(self) -> str:
        """Who gets it."""
        return self.form["To"]

    @property
    def body(self) -> str:
        """What it says."""
        return self.form["Body"]


def flaw(what: What, form: Mapping[str, str], rules: AccountRules) -> int | None:
    """The code by which this is refused; `None`: it is taken."""
    return _call_flaw(form, rules) if what == "Calls" else _message_flaw(form, rules)


def answer(what: What, account_sid: str, sid: str, form: Mapping[str, str]) -> Json:
    """What is answered, with status 201."""
    shared: Json = {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "date_created": None,
        "date_updated": None,
        "from": form["From"],
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": {},
        "to": form["To"],
        "uri": f"/2010-04-01/Accounts/{account_sid}/{what}/{sid}.json",
    }
    if what == "Calls":
        return shared | {
            "annotation": None,
            "answered_by": None,
            "caller_name": None,
            "direction": "outbound-api",
            "duration": None,
            "end_time": None,
            "forwarded_from": None,
            "from_formatted": form["From"],
            "group_sid": None,
            "parent_call_sid": None,
            "phone_number_sid": "",
            "queue_time": "0",
            "start_time": None,
            "to_formatted": form["To"],
            "trunk_sid": None,
        }
    return shared | {
        "body": form["Body"],
        "date_sent": None,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": str(segments(form["Body"])),
    }


def _call_flaw(form: Mapping[str, str], rules: AccountRules) -> int | None:
    if not set(form) <= _CALL_KEYS:
        return 20001
    for key, code in (("To", 21201), ("From", 21213)):
        if not form.get(key):
            return code
    number, ours = form["To"], form["From"]
    if _E164.fullmatch(number) is None:
        return 21211
    if _E164.fullmatch(ours) is None:
        return 21212
    if rules.own is not None and ours not in rules.own:
        return 21210
    if rules.verified is not None and number not in rules.verified:
        return 21219
    if rules.permitted is not None and not number.startswith(rules.permitted):
        return 21215
    return _document_flaw(form) or _bounds_flaw(form)


def _document_flaw(form: Mapping[str, str]) -> int | None:
    """Exactly one of a document and its address, and addresses that can be asked."""
    addresses = [form[key] for key in ("Url", "FallbackUrl") if key in form]
    if not all(map(_is_address, addresses)):
        return 21205
    if "StatusCallback" in form and not _is_address(form["StatusCallback"]):
        return 21609
    if ("Url" in form) == ("Twiml" in form):
        return 21205
    if "Twiml" in form:
        if len(form["Twiml"]) > LONGEST_TWIML:
            return 21218
        try:
            read_twiml(form["Twiml"].encode("utf-8"), "text/xml")
        except TwimlFault:
            return 21218
    return None


def _bounds_flaw(form: Mapping[str, str]) -> int | None:
    methods = ("Method", "FallbackMethod", "StatusCallbackMethod")
    if any(form.get(key, "POST") not in {"GET", "POST"} for key in methods):
        return 20001
    for key, most in (("Timeout", LONGEST_RING_S), ("TimeLimit", LONGEST_CALL_S)):
        text = form.get(key, "1")
        if _WHOLE.fullmatch(text) is None or not 1 <= int(text) <= most:
            return 20001
    return None


def _message_flaw(form: Mapping[str, str], rules: AccountRules) -> int | None:
    if not set(form) <= _MESSAGE_KEYS:
        return 20001
    for key, code in (("To", 21604), ("From", 21603), ("Body", 21602)):
        if not form.get(key):
            return code
    number, ours = form["To"], form["From"]
    found = (
        (_E164.fullmatch(number) is None, 21211),
        (_E164.fullmatch(ours) is None, 21212),
        (number == ours, 21266),
        (len(form["Body"]) > LONGEST_BODY, 21617),
        ("StatusCallback" in form and not _is_address(form["StatusCallback"]), 21609),
        (rules.own is not None and ours not in rules.own, 21606),
        (rules.verified is not None and number not in rules.verified, 21608),
        (rules.permitted is not None and not number.startswith(rules.permitted), 21408),
        (number in rules.unsubscribed, 21610),
    )
    return next((code for is_wrong, code in found if is_wrong), None)


def _is_address(text: str) -> bool:
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return found.scheme in {"http", "https"} and bool(found.hostname)
