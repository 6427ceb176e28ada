"""Who is on the phone, by what the carrier says: the owner's number exactly, or anybody."""

# ruff: noqa: RUF001 - lookalikes are what some of these numbers are made of.

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.risk import Risk, Step, Tier, step_for
from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import OwnerSettings
from gateway.permission.callers import caller_of, tier_of

NUMBER = "+4930123456"
OWNER = OwnerSettings(numbers=("+15550001111", NUMBER), pin=Secret("4711"))
FORMS = [
    "",
    " ",
    "anonymous",
    "Anonymous",
    "Restricted",
    "unknown",
    "unavailable",
    "+266696687",
    "+7378742833",
    "+2562533",
    "+8656696",
    "+86282452253",
    "sip:+4930123456@example.com",
    "sip:owner@example.com",
    "tel:+4930123456",
    "client:owner",
    "client:+4930123456",
    "+4930123456;ext=1",
    "+49 30 123456",
    "+49-30-123456",
    "+49(30)123456",
    " +4930123456",
    "+4930123456 ",
    "+4930123456\n",
    "4930123456",
    "004930123456",
    "030123456",
    "0123456",
    "123456",
    "+49301234567",
    "+493012345",
    "++4930123456",
    "+14930123456",
    "+4930123456,+15550001111",
    "＋４９３０１２３４５６",
    "+49３0123456",
    "+٤٩٣٠١٢٣٤٥٦",
    "+4930\u200b123456",
    "\u202a+4930123456\u202c",
    "+4930123456\0",
    "+493o123456",
    "*",
    "+49*",
    "%2B4930123456",
]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_the_owners_number_exactly_is_anybody(form: str) -> None:
    assert tier_of(form, OWNER) is Tier.ANONYMOUS
    assert not caller_of(form, OWNER).can_verify


@pytest.mark.parametrize("form", FORMS)
def test_even_a_setting_makes_no_owner_of_what_is_no_number(form: str) -> None:
    is_number = form in {"+49301234567", "+493012345", "+14930123456"}

    known = tier_of(form, OwnerSettings(numbers=(form,)))

    assert known is (Tier.KNOWN if is_number else Tier.ANONYMOUS)


def test_the_owners_number_is_known_and_no_more() -> None:
    assert tier_of(NUMBER, OWNER) is Tier.KNOWN
    assert caller_of(NUMBER, OWNER).can_verify


def test_whoever_we_called_is_anybody() -> None:
    anywhere = OwnerSettings(numbers=(NUMBER,), pin=Secret("4711"), verify_anywhere=True)

    assert tier_of(NUMBER, anywhere, outgoing=True) is Tier.ANONYMOUS
    assert not caller_of(NUMBER, anywhere, outgoing=True).can_verify


def test_without_a_proof_nobody_can_give_one() -> None:
    assert not caller_of(NUMBER, OwnerSettings(numbers=(NUMBER,))).can_verify
    assert not caller_of("", OwnerSettings(verify_anywhere=True)).can_verify


def test_a_proof_can_be_given_from_anywhere_if_the_owner_says_so() -> None:
    by_code = OwnerSettings(totp_secret=Secret("JBSWY3DPEHPK3PXP"), verify_anywhere=True)

    assert caller_of("anonymous", by_code).can_verify
    assert caller_of("anonymous", by_code).tier is Tier.ANONYMOUS


@given(st.text(max_size=30) | st.from_regex(r"\W*\+?4930123456\W*"))
def test_no_other_text_is_the_owners_number(text: str) -> None:
    assert (tier_of(text, OWNER) is Tier.KNOWN) == (text in OWNER.numbers)


@given(st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z"), st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z"))
def test_of_two_numbers_only_the_same_is_the_same(one: str, other: str) -> None:
    assert (tier_of(other, OwnerSettings(numbers=(one,))) is Tier.KNOWN) == (one == other)


@pytest.mark.parametrize("can_verify", [False, True])
@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("risk", ["low", "high"])
def test_the_policy_as_a_table(risk: Risk, tier: Tier, can_verify: bool) -> None:
    by_hand = {
        ("low", Tier.ANONYMOUS): Step.RUN,
        ("low", Tier.KNOWN): Step.RUN,
        ("low", Tier.VERIFIED): Step.RUN,
        ("high", Tier.ANONYMOUS): Step.VERIFY if can_verify else Step.REFUSE,
        ("high", Tier.KNOWN): Step.VERIFY if can_verify else Step.REFUSE,
        ("high", Tier.VERIFIED): Step.CONFIRM,
    }

    assert step_for(risk, tier, can_verify=can_verify) is by_hand[risk, tier]
