"""Single values of the configuration: from text and TOML, and what is wrong with them. Pure.

What is wrong is said as the rest of a sentence that began with the place of the mistake.
"""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import attrs

FlightMode = Literal["off", "events", "audio"]
"""What a flight log holds."""


@attrs.frozen
class Secret:
    """A text that must not be seen: neither shown, logged, nor part of a traceback."""

    _text: str = attrs.field(repr=False)

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __str__(self) -> str:
        return "Secret()"


def split_bind(bind: str) -> tuple[str, int]:
    """`host:port` in its two parts, an IPv6 host without its brackets.

    Raises:
        ValueError: It is not of this form.

    """
    host, colon, port = bind.rpartition(":")
    in_brackets = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not in_brackets):
        raise ValueError(f"must be host:port, as 127.0.0.1:8080, not {bind!r}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"must end in a port of 0 to 65535, not {bind!r}")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant. Looks nothing up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def url_flaw(url: str, scheme: str, on_loopback: str) -> str | None:
    """What is wrong with `url`, as the rest of a sentence."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password"
    if "?" in url or "#" in url:
        return "must end before its query: no ? and no #"
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return f"must look like {scheme}://host, not {url!r}"
    if parts.scheme == scheme or (parts.scheme == on_loopback and is_loopback(host)):
        return None
    if parts.scheme == on_loopback:
        return f"must begin with {scheme}://, not {url!r}: {on_loopback}:// is for loopback"
    return f"must begin with {scheme}://, not {url!r}"


def _to_text(value: object, _from_environ: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {_kind(value)}")  # noqa: TRY004
    return value


def _to_optional_text(value: object, from_environ: bool) -> str | None:
    return _to_text(value, from_environ) or None


def _to_secret(value: object, _from_environ: bool) -> Secret | None:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {_kind(value)}")  # noqa: TRY004
    if not value:
        return None
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("holds spaces or characters that no key or token has")
    return Secret(value)


def _to_number(value: object, from_environ: bool, *, kind: type[int | float]) -> float:
    what = "a whole number" if kind is int else "a number"
    if from_environ and isinstance(value, str):
        try:
            number = kind(value)
        except ValueError:
            raise ValueError(f"must be {what}, not {value!r}") from None
    elif isinstance(value, int | kind) and not isinstance(value, bool):
        number = kind(value)
    else:
        raise ValueError(f"must be {what}, not {_kind(value)}")
    if not 0 < number < 1e9:
        raise ValueError(f"must be more than 0 and less than a thousand million, not {value}")
    return number


def _to_path(value: object, from_environ: bool) -> Path:
    return Path(_to_text(value, from_environ)).expanduser()


def _to_choice(value: object, _from_environ: bool, *, kind: object) -> str:
    choices = get_args(kind)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
    return value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case dict():
            return "a section"
        case list():
            return "a list"
        case _:
            return "a date or time"


CONVERTERS: Final[dict[Any, Any]] = {
    str: _to_text,
    str | None: _to_optional_text,
    Secret | None: _to_secret,
    int: partial(_to_number, kind=int),
    float: partial(_to_number, kind=float),
    Path: _to_path,
    FlightMode: partial(_to_choice, kind=FlightMode),
}
"""By type of setting. Takes the value and whether it is text from the environment; `ValueError`."""
