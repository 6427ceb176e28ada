"""Which telephone numbers may be dialled: text of a model's in, the very number dialled out. Pure.

Whoever speaks to the model chooses the text, and somebody earns money by being called. So nothing
is guessed or repaired: a number is written out internationally and in full, or it is refused, and
what is allowed is what the owner has listed.
Source: "ITU-T E.164"; kinds and countries of numbers: phonenumbers (libphonenumber's metadata).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs
import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberType

from actors.errors import ToolRefused
from gateway.configuration.settings import Config
from gateway.configuration.tool_settings import NumberType

LONGEST_TEXT: Final = 32
"""Characters: fifteen digits, a sign, and a decoration between any two digits."""
WAY_OUT: Final = "write it internationally and in full, as +4930123456"

_WRITTEN: Final = re.compile(r"\+(?:[0-9]|[ .()-](?![ .()-]{2}))+", re.ASCII)
"""A plus, digits, and what people put between them: nothing else is looked at. Letters, pauses,
extensions, other scripts' digits and characters that cannot be seen are all something else."""
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_LOCAL_PREMIUM: Final = re.compile(r"\+1[0-9]{3}(?:976[0-9]{4}|5551212)", re.ASCII)
"""The exchange 976 and the directory of every North American area cost extra, and the metadata
calls them ordinary."""
_NAMES: Final[dict[int, NumberType]] = {
    PhoneNumberType.FIXED_LINE: "fixed_line",
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed_line_or_mobile",
    PhoneNumberType.TOLL_FREE: "toll_free",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.PERSONAL_NUMBER: "personal_number",
}
"""What can be allowed. A kind that is not here costs extra, or is nobody's telephone."""


def _real_countries(listed: Iterable[str]) -> frozenset[str]:
    return frozenset(listed) & phonenumbers.SUPPORTED_REGIONS


@attrs.frozen(kw_only=True)
class Reach:
    """Whom the owner lets be called and written to."""

    countries: frozenset[str] = attrs.field(converter=_real_countries)
    """ISO 3166 codes. A number's own country, and not who shares its country code: a Jamaican
    number is no American one. Networks above all countries, as satellites, have none: whatever
    else is listed here allows nothing."""
    number_types: frozenset[NumberType]
    own: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Numbers that this gateway answers, or patterns of them that end in `*`."""

    @classmethod
    def of(cls, config: Config) -> Reach:
        """Take from the settings what this needs."""
        agents = (config.agent, *config.agents.values())
        return cls(
            countries=frozenset(country.upper() for country in config.policy.countries),
            number_types=frozenset(config.policy.number_types),
            own=tuple(number for agent in agents for number in agent.numbers),
        )


def is_e164(text: str) -> bool:
    """Whether this is the international form of a number, without any decoration."""
    return _E164.fullmatch(text) is not None


def dialable(text: str, reach: Reach, *, also_own: Iterable[str] = ()) -> str:
    """The number to dial, in E.164. Exactly this was checked.

    Args:
        text: As the model wrote it.
        reach: See `Reach`.
        also_own: Further numbers of the gateway's.

    Raises:
        ToolRefused: It is not to be dialled. Never quotes the text.

    """
    number, parsed = _read(text, reach)
    country = phonenumbers.region_code_for_number(parsed) or ""
    if country not in reach.countries:
        raise _foreign(reach)
    kind = _NAMES.get(phonenumbers.number_type(parsed))
    if kind is None or kind not in reach.number_types or _LOCAL_PREMIUM.fullmatch(number):
        allowed = ", ".join(sorted(reach.number_types)) or "none"
        raise ToolRefused(f"numbers of that kind are not allowed; allowed are: {allowed}")
    if _is_short(parsed, country):
        raise ToolRefused("emergency and short numbers are never dialled")
    if any(_is_own(number, own) for own in (*reach.own, *also_own)):
        raise ToolRefused("that is a number of this gateway's own, and it would answer itself")
    return number


def prepare(reach: Reach) -> None:
    """Load what is known of the allowed countries' numbers, which takes milliseconds for each.

    Blocking. Without it, the first number that is judged waits for it, and every call with it.
    """
    for country in reach.countries:
        code = phonenumbers.country_code_for_region(country)
        for neighbour in phonenumbers.region_codes_for_country_code(code):
            PhoneMetadata.metadata_for_region(neighbour, None)
        PhoneMetadata.short_metadata_for_region(country, None)


def _foreign(reach: Reach) -> ToolRefused:
    allowed = ", ".join(sorted(reach.countries)) or "none"
    return ToolRefused(f"numbers of that country are not allowed; allowed are: {allowed}")


def _read(text: str, reach: Reach) -> tuple[str, PhoneNumber]:
    """Read a number without repairing it. Raises `ToolRefused`."""
    if len(text) > LONGEST_TEXT or _WRITTEN.fullmatch(text) is None:
        raise ToolRefused(f"that is not one telephone number; {WAY_OUT}")
    number = re.sub(r"[ .()-]", "", text)
    if not is_e164(number):
        raise ToolRefused(f"that is not an international number; {WAY_OUT}")
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        raise ToolRefused(f"no country has such numbers; {WAY_OUT}") from None
    # Before anything is looked up: what is known of a country takes milliseconds to load.
    neighbours = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    if reach.countries.isdisjoint(neighbours):
        raise _foreign(reach)
    # What the parser drops or adds, as the zero of "+49 (0)30", would be dialled otherwise than it
    # was judged.
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != number:
        raise ToolRefused(f"it has digits that are not dialled from abroad; {WAY_OUT}")
    if not phonenumbers.is_valid_number(parsed):
        raise ToolRefused(f"there cannot be such a number: digits are missing or wrong; {WAY_OUT}")
    return number, parsed


def _is_short(parsed: PhoneNumber, country: str) -> bool:
    local = phonenumbers.national_significant_number(parsed)
    return phonenumbers.is_emergency_number(local, country) or bool(
        phonenumbers.is_valid_short_number_for_region(parsed, country)
    )


def _is_own(number: str, own: str) -> bool:
    prefix, star, _ = own.partition("*")
    return number.startswith(prefix) if star else number == prefix
