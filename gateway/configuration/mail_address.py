"""Mail addresses: what is one, and whom somebody may write to. Pure.

Whoever speaks on the telephone chooses the address, so only the plainest form is one. RFC 5322
allows display names, comments, quoted parts, groups and routes besides: each of them is a way to
write to somebody else than it seems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ADDRESS_MAX_CHARS: Final = 254
"""Source: "4.5.3.1.3. Path", RFC 5321: 256 with its angle brackets."""
LOCAL_MAX_CHARS: Final = 64
ANYBODY: Final = "*"
"""In place of the local part, in a list of recipients: anybody at exactly this domain."""

_LOCAL: Final = re.compile(
    r"[a-z0-9#$&'+/=?^_`{|}~-]+(\.[a-z0-9#$&'+/=?^_`{|}~-]+)*", re.IGNORECASE | re.ASCII
)
"""A dot-atom, but for `%` and `!`, in which old servers see a route to somewhere else, and for `*`,
which is a list's."""
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def address_of(text: str) -> str | None:
    """The address that mail is sent to, its domain in ASCII and lower case.

    Returns:
        `None`: it is not one address and nothing else.

    """
    local, mark, domain = text.partition("@")
    if not mark or len(local) > LOCAL_MAX_CHARS or _LOCAL.fullmatch(local) is None:
        return None
    # A mail server's programs that are handed such an address take it for an option.
    if local.startswith("-"):
        return None
    plain = _domain_of(domain)
    if plain is None or len(local) + 1 + len(plain) > ADDRESS_MAX_CHARS:
        return None
    return f"{local}@{plain}"


def recipient_of(text: str) -> str | None:
    """One entry of a list of recipients: an address, or `*@domain`. `None`: it is neither."""
    local, _, domain = text.partition("@")
    if local != ANYBODY:
        return address_of(text)
    plain = _domain_of(domain)
    return None if plain is None else f"{ANYBODY}@{plain}"


def allowed_recipient(text: str, recipients: Iterable[str]) -> str | None:
    """The address to write to, if the list has it: as the list spells it, when it is in there.

    Args:
        text: What somebody asked for.
        recipients: See `recipient_of`. What is no entry allows nobody.

    """
    address = address_of(text)
    if address is None:
        return None
    wanted = address.lower()
    known = {entry.lower(): entry for one in recipients if (entry := recipient_of(one)) is not None}
    if wanted in known:
        return known[wanted]
    domain = wanted.partition("@")[2]
    return address if f"{ANYBODY}@{domain}" in known else None


def _domain_of(text: str) -> str | None:
    """A domain in ASCII; `None`: it is none, or not certainly this one."""
    try:
        plain = text.encode("idna").decode("ascii").lower()
        # Some letters become others on the way: full-width ones, and the sharp s, which is a letter
        # of its own to newer software. Whoever means such a domain writes it as `xn--`.
        same = plain == text.lower() or plain.encode("ascii").decode("idna") == text.lower()
    except UnicodeError:
        return None
    if not same or not all(_LABEL.fullmatch(label) for label in plain.split(".")):
        return None
    return None if plain.rpartition(".")[2].isdigit() else plain
