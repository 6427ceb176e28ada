"""What single values of the sections about tools must be, beyond their type. Pure.

Each rule says what is wrong as the rest of a sentence, with what would be right.
"""

from __future__ import annotations

import re
from base64 import b32decode
from typing import Final
from zoneinfo import available_timezones

import argon2
import phonenumbers

from gateway.configuration.convert import Secret, closest
from gateway.configuration.mail_address import address_of, recipient_of

SHORTEST_PIN: Final = 4
LONGEST_PIN: Final = 12
TOTP_BYTES: Final = 10
"""Of a secret, at least. Authenticator apps have 10 to 32. Source: RFC 4226, section 4."""
HASHED_PIN: Final = "$argon2id$"

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_PIN: Final = re.compile(rf"[0-9]{{{SHORTEST_PIN},{LONGEST_PIN}}}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}", re.ASCII)


def numbers(values: tuple[str, ...]) -> str | None:
    """Whose they are is decided by being equal, so they have to be written as carriers do."""
    for number in values:
        if _E164.fullmatch(number) is None:
            digits = re.sub(r"[^0-9]", "", number).lstrip("0")[:15]
            meant = f"+{digits}" if _E164.fullmatch(f"+{digits}") else "+4930123456"
            return f"must hold numbers, as +4930123456, not {number!r}; did you mean {meant}?"
    return None


def pin(value: Secret) -> str | None:
    """Nothing of it is quoted."""
    text = value.reveal()
    if _PIN.fullmatch(text) or (text.startswith(HASHED_PIN) and _is_hash(text)):
        return None
    return f"must be {SHORTEST_PIN} to {LONGEST_PIN} digits, or what `offhook pin` makes of them"


def _is_hash(text: str) -> bool:
    """Whether a PIN can be compared with it: what was cut short would fit none, ever."""
    try:
        argon2.extract_parameters(text)
    except ValueError:
        return False
    return True


def totp_secret(value: Secret) -> str | None:
    """Nothing of it is quoted."""
    text = value.reveal().upper()
    try:
        raw = b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        raw = b""
    if len(raw) >= TOTP_BYTES:
        return None
    return f"must be base32 of at least {TOTP_BYTES} bytes, as an authenticator app is given it"


def functions(names: tuple[str, ...]) -> str | None:
    """Names of functions."""
    for name in names:
        if _NAME.fullmatch(name) is None:
            meant = re.sub(r"[^A-Za-z0-9_-]", "_", name.strip())[:64] or "send_email"
            return f"must hold names of functions, not {name!r}; did you mean {meant}?"
    return None


def countries(codes: tuple[str, ...]) -> str | None:
    """As the library that judges numbers knows them."""
    for code in codes:
        if code not in phonenumbers.SUPPORTED_REGIONS:
            # Not by the first letters of a name: GERMANY would open GE, which is Georgia.
            meant = code.strip().upper()
            is_known = meant in phonenumbers.SUPPORTED_REGIONS
            hint = f"; did you mean {meant}?" if is_known else "; they have two letters, as DE"
            return f"must hold ISO 3166 codes, not {code!r}{hint}"
    return None


def number_types(types: tuple[str, ...]) -> str | None:
    """At least one."""
    return None if types else "must hold a kind of number, as mobile; countries = [] bars them all"


def host(name: str) -> str | None:
    """A name or an address, and no more."""
    if _HOST.fullmatch(name):
        return None
    return f"must be the name of a server, as smtp.example.com, not {name!r}"


def address(text: str) -> str | None:
    """One bare address."""
    if address_of(text) is not None:
        return None
    return f"must be an address, as agent@example.com, not {text!r}"


def recipients(patterns: tuple[str, ...]) -> str | None:
    """Addresses, or everybody at a domain."""
    for one in patterns:
        if recipient_of(one) is None:
            return (
                "must hold addresses, as anna@example.com, or *@example.com for all of a domain, "
                f"not {one!r}"
            )
    return None


def timezone(name: str) -> str | None:
    """As the tz database has it."""
    known = available_timezones()
    if name in known:
        return None
    meant = closest(name, known) or "Europe/Berlin"
    return f"must be a zone of the tz database, not {name!r}; did you mean {meant}?"
