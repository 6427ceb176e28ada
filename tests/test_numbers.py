"""What is dialled is what was checked, and it is in the allowed set: whatever the model writes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

import attrs
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from actors.errors import ToolRefused
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config
from gateway.configuration.tool_settings import PolicySettings
from gateway.lab.twilio.api_create import AccountRules, flaw
from gateway.permission.numbers import Reach, dialable, is_e164
from tests.number_strings import TRICKS, e164

STRINGS: Final = 100_000
OWN: Final = ("+4930111222", "+4930555*")
REACH: Final = Reach(
    countries=frozenset({"DE", "US", "GB", "IT", "FR"}),
    number_types=frozenset({"fixed_line", "mobile", "fixed_line_or_mobile"}),
    own=OWN,
)
ALLOWED_KINDS: Final = {
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
}

Guard = Callable[[str], str]


def guard(text: str) -> str:
    return dialable(text, REACH)


def complaint(written: str, dialled: str) -> str | None:
    """What is wrong with dialling this for that. Judged anew, and not as the guard does it."""
    if re.sub(r"[ .()-]", "", written) != dialled:
        return "not what was written"
    if re.fullmatch(r"\+[1-9][0-9]{6,14}", dialled, re.ASCII) is None:
        return "not E.164"
    parsed = phonenumbers.parse(dialled, None)
    if e164(parsed) != dialled or parsed.extension is not None:
        return "read otherwise"
    if not phonenumbers.is_valid_number(parsed):
        return "no number"
    if phonenumbers.region_code_for_number(parsed) not in REACH.countries:
        return "another country"
    if phonenumbers.number_type(parsed) not in ALLOWED_KINDS:
        return "another kind"
    if dialled == OWN[0] or dialled.startswith(OWN[1][:-1]):
        return "our own"
    if flaw("Calls", form(dialled), AccountRules()) is not None:
        return "refused by the carrier"
    return None


def form(to: str) -> dict[str, str]:
    return {"To": to, "From": "+4930111222", "Url": "https://gw.example.net/"}


def judged(one: Guard, strings: int, seed: int = 1) -> tuple[Counter[str], Counter[str]]:
    """How many of each trick a guard lets through, and what is wrong with them."""
    random = Random(seed)
    let_through: Counter[str] = Counter()
    complaints: Counter[str] = Counter()
    tricks = list(TRICKS.items())
    for number in range(strings):
        trick, make = tricks[number % len(tricks)]
        written = make(random)
        try:
            dialled = one(written)
        except ToolRefused:
            continue
        let_through[trick] += 1
        if (what := complaint(written, dialled)) is not None:
            complaints[what] += 1
    return let_through, complaints


def test_of_100_000_strings_what_is_dialled_was_checked_and_is_allowed() -> None:
    let_through, complaints = judged(guard, STRINGS)
    each = STRINGS // len(TRICKS)
    print(*(f"{one:20} {let_through[one]:5} of {each}" for one in TRICKS), sep="\n")  # noqa: T201

    assert not complaints
    assert let_through["plain"] > 500
    assert let_through["decorated"] > 200
    # None of these is a way to write a number, whatever the number is.
    for trick in (
        "foreign digits", "another plus", "extension, pause", "URI", "letters",
        "unseen characters", "controls", "emergency, short", "satellites",
    ):  # fmt: skip
        assert let_through[trick] == 0, trick


# The same judge catches guards that are made as they are often made.


def strips(text: str) -> str:
    """Takes the digits out of whatever it is, and asks whether they are a number."""
    digits = "+" + re.sub(r"[^0-9]", "", text)
    return allowed(text, digits)


def strips_unicode(text: str) -> str:
    """Likewise, with what Python takes for digits."""
    return allowed(text, "+" + re.sub(r"[^\d]", "", text))


def repairs(text: str) -> str:
    """Dials what the library makes of it, for any country."""
    try:
        parsed = phonenumbers.parse(text, "DE")
    except phonenumbers.NumberParseException:
        raise ToolRefused("none") from None
    return allowed(text, e164(parsed))


def by_prefix(text: str) -> str:
    """Knows countries by their codes."""
    if not text.startswith(("+49", "+1", "+44", "+39", "+33")) or not is_e164(text):
        raise ToolRefused("another country")
    return text


def dials_the_text(text: str) -> str:
    """Checks the number and dials the text."""
    dialable_number(text)
    return text


def any_kind(text: str) -> str:
    """Looks at the country only."""
    every = frozenset({*REACH.number_types, "toll_free", "voip", "personal_number"})
    return dialable(text, attrs.evolve(REACH, number_types=every))


def forgets_its_own(text: str) -> str:
    return dialable(text, attrs.evolve(REACH, own=()))


def dialable_number(text: str) -> str:
    try:
        return dialable(re.sub(r"[^0-9+]", "", text), REACH)
    except ToolRefused:
        raise ToolRefused("none") from None


def allowed(_: str, digits: str) -> str:
    return dialable(digits[:20], REACH)


@pytest.mark.parametrize(
    "mutant", [strips, strips_unicode, repairs, by_prefix, dials_the_text, any_kind]
)
def test_the_judge_catches_a_guard_that(mutant: Guard) -> None:
    _, complaints = judged(mutant, 4000)

    assert complaints


def test_the_judge_catches_a_guard_that_calls_itself() -> None:
    assert complaint(OWN[0], forgets_its_own(OWN[0])) == "our own"


@given(st.text(alphabet=st.characters() | st.sampled_from("+0123456789 .-()"), max_size=40))
@settings(max_examples=500, deadline=None)
def test_whatever_text_it_is_what_is_dialled_was_written(text: str) -> None:
    dialled = outcome(text)

    assert dialled is None or complaint(text, dialled) is None


@given(st.from_regex(r"\A\+(49|1|44|39|33)[0-9]{6,11}\Z"), st.data())
@settings(max_examples=300, deadline=None)
def test_decorations_decide_nothing(number: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(2, len(number)))
    decorated = number[:at] + data.draw(st.sampled_from(" .-()")) + number[at:]

    assert outcome(decorated) == outcome(number)


def outcome(text: str) -> str | None:
    try:
        return guard(text)
    except ToolRefused:
        return None


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("+4930123456", "+4930123456"),
        ("+49 30 123456", "+4930123456"),
        ("+49 (30) 12.34-56", "+4930123456"),
        ("+1 (212) 555-1234", "+12125551234"),
        ("+390612345678", "+390612345678"),
    ],
)
def test_a_number_as_people_write_it_is_dialled(written: str, dialled: str) -> None:
    assert guard(written) == dialled


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "not one telephone number"),
        ("030 123456", "not one telephone number"),
        ("004930123456", "not one telephone number"),
        ("tel:+4930123456", "not one telephone number"),
        ("+4930123456;ext=9", "not one telephone number"),
        ("+4930123456,,9", "not one telephone number"),
        ("+49 30 FLOWERS", "not one telephone number"),
        ("+49 30 123456 +49 30 123457", "not one telephone number"),
        ("\uff0b4930123456", "not one telephone number"),
        ("+49\u202e30123456", "not one telephone number"),
        ("+4930123456\n", "not one telephone number"),
        ("+49    30 123456", "not one telephone number"),
        ("+49" + "3" * 40, "not one telephone number"),
        ("+49301234567890123", "not an international number"),
        ("+0493012345", "not an international number"),
        ("+49 (0)30 123456", "not dialled from abroad"),
        ("+49 301", "not an international number"),
        ("+2101234567", "no country has such numbers"),
        ("+1212555123", "there cannot be such a number"),
        ("+18095551234", "of that country"),
        ("+18765551234", "of that country"),
        ("+441534440000", "of that country"),
        ("+447700300000", "of that country"),
        ("+881612345678", "of that country"),
        ("+870773111632", "of that country"),
        ("+80012345678", "of that country"),
        ("+7 999 123-45-67", "of that country"),
        ("+499001234567", "of that kind"),
        ("+4918012345", "of that kind"),
        ("+19002345678", "of that kind"),
        ("+12129761234", "of that kind"),
        ("+12125551212", "of that kind"),
        ("+447012345678", "of that kind"),
        ("+448001234567", "of that kind"),
        ("+4930111222", "own"),
        ("+49 30 555 1234", "own"),
    ],
)
def test_a_number_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(ToolRefused, match=why) as refused:
        guard(written)

    assert not written or written not in refused.value.reason


def test_nothing_is_reached_where_no_country_is_listed() -> None:
    reach = Reach(countries=frozenset(), number_types=REACH.number_types)
    for number in ("+4930123456", "+12125551234", "+881612345678", "+80012345678"):
        with pytest.raises(ToolRefused, match="of that country are not allowed; allowed are: none"):
            dialable(number, reach)


def test_a_network_above_all_countries_cannot_be_listed() -> None:
    reach = Reach(countries=frozenset({"001", "ZZ", ""}), number_types=REACH.number_types)
    for number in ("+881612345678", "+870773111632", "+979123456789"):
        with pytest.raises(ToolRefused):
            dialable(number, reach)


def test_what_is_known_of_the_allowed_countries_is_loaded_before_the_first_call() -> None:
    """In a process of its own: here, other tests have loaded it."""
    code = (
        "import sys\n"
        "from gateway.permission.numbers import Reach, dialable, prepare\n"
        "reach = Reach(countries={'US', 'GB', 'DE'}, number_types=frozenset({'mobile'}))\n"
        "prepare(reach)\n"
        "before = set(sys.modules)\n"
        "for number in ('+12125551234', '+18765551234', '+441534440000', '+4930123456'):\n"
        "    try:\n"
        "        dialable(number, reach)\n"
        "    except Exception:\n"
        "        pass\n"
        "sys.exit(len(set(sys.modules) - before))\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_who_is_on_the_line_already_is_our_own_too() -> None:
    with pytest.raises(ToolRefused, match="own"):
        dialable("+4930123456", REACH, also_own=["+4930123456"])


def test_every_number_that_the_library_shows_for_an_allowed_kind_can_be_reached() -> None:
    """The guard has no opinion of its own about who exists."""
    regions = phonenumbers.SUPPORTED_REGIONS
    reach = attrs.evolve(REACH, countries=frozenset(regions), own=())
    shown = [
        phonenumbers.example_number_for_type(region, kind)
        for region in regions
        for kind in ALLOWED_KINDS
    ]
    numbers = [e164(one) for one in shown if one is not None]

    assert len(numbers) > 500
    assert [dialable(one, reach) for one in numbers] == numbers


def test_the_reach_is_that_of_the_configuration() -> None:
    config = Config(
        policy=PolicySettings(countries=("de",), number_types=("mobile",)),
        agent=AgentSettings(numbers=("+4930111222",)),
        agents={"night": AgentSettings(numbers=("+4930555*",))},
    )
    reach = Reach.of(config)

    assert reach == Reach(countries=frozenset({"DE"}), number_types=frozenset({"mobile"}), own=OWN)
