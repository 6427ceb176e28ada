"""Single values of the configuration: from text and TOML, and what is wrong with them. Pure.

What is wrong is said as the rest of a sentence that began with the place of the mistake, and ends
with the nearest value that would have been right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

import attrs
import orjson

FlightMode = Literal["off", "events", "audio"]
"""What a flight log holds."""
UnknownNumbers = Literal["default", "refuse"]
"""Who answers a number that no agent has."""
Auth = Literal["auto", "bearer", "api_key"]
"""How a model's server is shown the key."""

NOTHING: Final = "none"
"""What stands for `None` where that is a value: neither TOML nor the environment has one."""
_HUGE: Final = 10**18
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})

Convert = Callable[[object, bool], Any]
"""Takes a value, and whether it is text from the environment. Raises `ValueError`."""


@attrs.frozen
class Secret:
    """A text that must not be seen: neither shown, logged, nor part of a traceback."""

    _text: str = attrs.field(repr=False)

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __str__(self) -> str:
        return "Secret()"


def converter(kind: Any) -> Convert:  # noqa: ANN401 - any annotation of a setting.
    """How to read a value of this type.

    Raises:
        TypeError: No setting is of such a type.

    """
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return partial(_to_choice, choices=parts)
    if get_origin(kind) is tuple:
        return partial(_to_list, part=converter(parts[0]))
    if get_origin(kind) in (Union, UnionType) and len(parts) == 2:
        kind, other = parts
        if other is NoneType:
            return partial(_to_optional, convert=converter(kind))
        if kind is int and get_origin(other) is Literal:
            return partial(_to_number_or_word, words=get_args(other))
    raise TypeError(f"no setting can be of type {kind}")


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of a sentence that was about `word`: the known one that was meant, or all of them."""
    known = list(words)
    close = closest(word, known)
    return f"; did you mean {close}?" if close else f"; there is {', '.join(sorted(known))}"


def closest(word: str, words: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word that was probably meant."""
    by_folded = {known.casefold(): known for known in words}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def split_bind(bind: str) -> tuple[str, int]:
    """`host:port` in its two parts, an IPv6 host without its brackets.

    Raises:
        ValueError: It is not of this form.

    """
    host, colon, port = bind.rpartition(":")
    in_brackets = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not in_brackets):
        only_port = bind.isascii() and bind.strip(":").isdigit() and int(bind.strip(":")) <= 65535
        meant = f"127.0.0.1:{bind.strip(':')}" if only_port else "127.0.0.1:8080"
        raise ValueError(f"must be host:port, as {meant}, not {bind!r}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"must end in a port of 0 to 65535, as {host}:8080, not {bind!r}")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant. Looks nothing up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def without_query(url: str) -> str:
    """An address for somebody to read: a query may hold a key."""
    bare, mark, _ = url.partition("?")
    return f"{bare}?..." if mark else url


def url_flaw(url: str, scheme: str, on_loopback: str, *, with_query: bool = False) -> str | None:
    """What is wrong with `url`, as the rest of a sentence. A password or query is never quoted."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return f"is not a URL; it should look like {scheme}://host"
    if parts.username is not None or parts.password is not None:
        return f"must not contain a user or a password, but begin with {scheme}://{host}"
    shown = without_query(url)
    if ("?" in url and not with_query) or "#" in url:
        bare = url.partition("#")[0].partition("?")[0]
        if with_query:
            bare = without_query(url.partition("#")[0])
        return f"must end before its query, as {bare}: no ? and no #, not {shown!r}"
    url = shown
    rest = url.partition("://")[2] if "://" in url else url.lstrip(":/")
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        meant = "".join(rest.split()) if rest.isascii() and rest.isprintable() and rest else "host"
        return f"must look like {scheme}://{meant}, not {url!r}"
    if parts.scheme == scheme or (parts.scheme == on_loopback and is_loopback(host)):
        return None
    why = f": {on_loopback}:// is for loopback" if parts.scheme == on_loopback else ""
    return f"must begin with {scheme}://, as {scheme}://{rest}, not {url!r}{why}"


def _to_text(value: object, _from_environ: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, {_quoted_hint(value)}not {_kind(value)}")  # noqa: TRY004
    return value


def _to_secret(value: object, _from_environ: bool) -> Secret | None:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {_kind(value, shown=False)}")  # noqa: TRY004
    if not value:
        return None
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("holds spaces or characters that no key or token has")
    return Secret(value)


def _to_number(value: object, from_environ: bool, *, kind: type[int | float]) -> float:
    what = "a whole number" if kind is int else "a number"
    number: int | float | None = None
    meant = ""
    if isinstance(value, str):
        number = _number_of(value, kind)
        close = _number_of(value.strip().rstrip("msec %").replace(",", "."), float)
        if close is not None and math.isfinite(close):
            meant = f", as {_shown(kind(close))}"
        if not from_environ:
            raise ValueError(f"must be {what}{meant}, not the text {value!r}")
    elif isinstance(value, int | kind) and not isinstance(value, bool):
        # TOML's whole numbers have no bound, and floats do.
        number = kind(max(-_HUGE, min(_HUGE, value)) if isinstance(value, int) else value)
    elif isinstance(value, float):
        meant = f", as {round(value)}" if abs(value) < 1e15 else ""
    if number is None:
        shown = repr(value) if from_environ else _kind(value)
        raise ValueError(f"must be {what}{meant}, not {shown}")
    return number


def _number_of(text: str, kind: type[int | float]) -> int | float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _to_number_or_word(value: object, from_environ: bool, *, words: tuple[str, ...]) -> int | str:
    if isinstance(value, str) and value in words:
        return value
    if isinstance(value, float) and str(value) in words:  # TOML's own inf.
        return str(value)
    try:
        return int(_to_number(value, from_environ, kind=int))
    except ValueError as error:
        meant = f"; did you mean {words[0]!r}?" if isinstance(value, str) else ""
        raise ValueError(f"{error}; or {' or '.join(map(repr, words))}{meant}") from None


def _to_switch(value: object, from_environ: bool) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).casefold()
    if from_environ and word in _TRUE | _FALSE:
        return word in _TRUE
    meant = "false" if word in _FALSE | {"f", "n", "flase", "fales", "never"} else "true"
    raise ValueError(f"must be true or false, not {_kind(value)}; did you mean {meant}?")


def _to_path(value: object, from_environ: bool) -> Path:
    text = _to_text(value, from_environ)
    if not text or "\0" in text:
        raise ValueError("must be the path of a file, as ./name, not an empty text")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"must be a path, and nobody's home is {text!r}; as ~/name") from None


def _to_choice(value: object, _from_environ: bool, *, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in choices:
        return value
    close = closest(str(value), choices) or choices[0]
    raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}; did you mean {close}?")


def _to_list(value: object, from_environ: bool, *, part: Convert) -> tuple[Any, ...]:
    if from_environ and isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise ValueError(
                    f'must be a list, as a, b or ["a", "b"] in JSON, not {value!r}'
                ) from None
        else:
            value = [piece.strip() for piece in value.split(",") if piece.strip()]
    if not isinstance(value, list):
        meant = f'as ["{value}"], ' if isinstance(value, str) else ""
        raise ValueError(f"must be a list, {meant}not {_kind(value)}")  # noqa: TRY004
    return tuple(part(piece, from_environ) for piece in value)


def _to_optional(value: object, from_environ: bool, *, convert: Convert) -> Any:  # noqa: ANN401
    if value == "" or (value == NOTHING and convert is not _to_text):
        return None
    return convert(value, from_environ)


def _kind(value: object, *, shown: bool = True) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}" if shown else "a number"
        case str():
            return f"the text {value!r}" if shown else "text"
        case dict():
            return "a section"
        case list():
            return f"the list {value!r}" if shown else "a list"
        case _:
            return f"the date or time {value}" if shown else "a date or time"


def _quoted_hint(value: object) -> str:
    return f'as "{value}", ' if isinstance(value, int | float) and value is not True else ""


def _shown(number: float) -> str:
    return f"{number:g}"


_SIMPLE: Final[dict[Any, Convert]] = {
    str: _to_text,
    Secret: _to_secret,
    int: partial(_to_number, kind=int),
    float: partial(_to_number, kind=float),
    bool: _to_switch,
    Path: _to_path,
}
