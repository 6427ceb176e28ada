"""Strings that somebody may pass off as a telephone number: seeded, by kind of trick."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat

REGIONS: Final = sorted(phonenumbers.SUPPORTED_REGIONS)
KINDS: Final = tuple(range(11))
"""All of `PhoneNumberType`, premium rate and pagers among them."""
_UNSEEN: Final = (
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2069\ufeff\u00ad\u061c"
)
_ZEROS: Final = (0xFF10, 0x0660, 0x06F0, 0x0966, 0x1D7CE, 0x0BE6)
"""Of full-width, Arabic, Persian, Devanagari, mathematical and Tamil digits."""
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def e164(parsed: PhoneNumber) -> str:
    return phonenumbers.format_number(parsed, PhoneNumberFormat.E164)


def _shown(regions: Iterable[str], kinds: Iterable[int]) -> list[str]:
    pairs = ((region, kind) for region in regions for kind in kinds)
    found = (phonenumbers.example_number_for_type(region, kind) for region, kind in pairs)
    return [e164(one) for one in found if one is not None]


EVERYWHERE: Final = _shown(REGIONS, KINDS)
NEAR: Final = _shown(("DE", "US", "GB", "IT", "FR"), KINDS)
"""Of countries that tests allow: half of all strings begin as one of these."""


def example(random: Random) -> str:
    """A number of some country and kind, or one near it."""
    text = random.choice(random.choice((EVERYWHERE, NEAR)))
    if random.random() < 0.5:  # Another subscriber, if there is one.
        text = text[:-3] + f"{random.randrange(1000):03d}"
    return text


def digits_of(text: str, zero: int) -> str:
    return "".join(chr(zero + int(one)) if one.isdigit() else one for one in text)


def _plain(random: Random) -> str:
    return example(random)


def _decorated(random: Random) -> str:
    text = example(random)
    out = text[:2]
    for one in text[2:]:
        out += random.choice(("", "", "", " ", "-", ".", "(", ")")) + one
    return out


def _printed(random: Random) -> str:
    parsed = phonenumbers.parse(example(random), None)
    form = random.choice(
        (PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.RFC3966, PhoneNumberFormat.NATIONAL)
    )
    return phonenumbers.format_number(parsed, form)


def _foreign_digits(random: Random) -> str:
    text, zero = example(random), random.choice(_ZEROS)
    if random.random() < 0.5:
        return digits_of(text, zero)
    at = random.randrange(1, len(text))
    return text[:at] + digits_of(text[at], zero) + text[at + 1 :]


def _plus(random: Random) -> str:
    return (
        random.choice(("\uff0b", "\ufe62", "\u207a", "\u208a", "&#43;", "%2B", "++"))
        + example(random)[1:]
    )


def _extension(random: Random) -> str:
    behind = (
        ";ext=",
        " ext. ",
        "x",
        " x",
        "#",
        ",",
        ",,",
        ";",
        "p",
        "w",
        ";postd=",
        ";isub=",
        "*",
        "~",
    )
    return example(random) + random.choice(behind) + str(random.randrange(10**4))


def _uri(random: Random) -> str:
    text = example(random)
    before = ("tel:", "TEL:", "tel://", "sip:", "callto:", "sms:", "tel:00", "//")
    behind = ("", ";phone-context=+1", "@evil.example", "?x=1", ";isub=12", ";user=phone")
    return random.choice(before) + text + random.choice(behind)


def _letters(random: Random) -> str:
    text = example(random)
    at = random.randrange(2, len(text))
    return text[:at] + "".join(random.choice(_LETTERS) for _ in text[at:])


def _unseen(random: Random) -> str:
    text = example(random)
    for _ in range(random.randrange(1, 3)):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(_UNSEEN) + text[at:]
    return text


def _prefix(random: Random) -> str:
    text = example(random)
    return (
        random.choice(
            ("00", "011", "+00", "+011", "0", "", "1", "+0", "810", "+1 00", "*67", "#31#")
        )
        + text[1:]
    )


def _control(random: Random) -> str:
    text = example(random)
    return text + random.choice(
        ("\n", "\r\n", "\0", "\t", "\x0b", "\u2028", "\u00a0", "\n+1900", "\x1b[2J")
    )


def _two(random: Random) -> str:
    between = ("", " ", ",", ";", "/", " or ", "&", "|", "\n", "+")
    return example(random) + random.choice(between) + example(random)


def _long(random: Random) -> str:
    return example(random) + "".join(
        random.choice("0123456789") for _ in range(random.randrange(1, 40))
    )


def _short(random: Random) -> str:
    shorts = (
        "110",
        "112",
        "911",
        "999",
        "000",
        "+49110",
        "+112",
        "+1911",
        "+44999",
        "+1411",
        "118118",
        "+49118",
    )
    return random.choice(shorts)


def _sky(random: Random) -> str:
    """Satellites, and networks above all countries."""
    codes = ("870", "881", "882", "883", "878", "888", "979", "800", "808", "991", "999", "210")
    return "+" + random.choice(codes) + str(random.randrange(10**6, 10**10))


def _islands(random: Random) -> str:
    """America by its code, and not by its prices; and its own ways to cost extra."""
    areas = (
        "809",
        "829",
        "876",
        "268",
        "284",
        "473",
        "649",
        "767",
        "900",
        "976",
        "700",
        "500",
        "242",
        "784",
    )
    area = random.choice(areas)
    exchange = random.choice(("976", str(random.randrange(200, 999))))
    return f"+1{area}{exchange}{random.randrange(10**4):04d}"


def _trunk_zero(random: Random) -> str:
    text = example(random)
    at = random.randrange(2, 5)
    return text[:at] + random.choice(("0", "(0)", " (0) ")) + text[at:]


def _noise(random: Random) -> str:
    return "".join(
        random.choice("+0123456789 ()-.;=,#*extEXT\u0660\uff11\u202e")
        for _ in range(random.randrange(24))
    )


TRICKS: Final[dict[str, Callable[[Random], str]]] = {
    "plain": _plain,
    "decorated": _decorated,
    "as printed": _printed,
    "foreign digits": _foreign_digits,
    "another plus": _plus,
    "extension, pause": _extension,
    "URI": _uri,
    "letters": _letters,
    "unseen characters": _unseen,
    "00 and prefixes": _prefix,
    "controls": _control,
    "two numbers": _two,
    "too many digits": _long,
    "emergency, short": _short,
    "satellites": _sky,
    "islands, premium": _islands,
    "trunk zero": _trunk_zero,
    "noise": _noise,
}
