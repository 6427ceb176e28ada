"""Values of arguments as they are said: numbers digit by digit, addresses, dates. Pure.

They are the caller's own words as often as not, and stand inside a question of the gateway's. So
none may sound like a part of that question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from actors.errors import ToolRefused
from gateway.permission.phrases import PHRASES, Phrases

LONGEST_CHARS: Final = 600
"""Of what will be done: most of a minute. Nobody remembers the beginning of more."""
TOO_LONG: Final = "not run: it is too long to be read back to the caller; make it shorter"
BARE_WORDS: Final = 3
"""So many are plainly one name or thing. More are said as a quotation."""
DEPTH_MAX: Final = 4

_BREAKS: Final = re.compile(r"[\s\u2028\u2029]+")
_UNSEEN: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U000e0100-\U000e01ef]"
)
"""Letters and marks without a look or a sound. Source: Unicode, Default_Ignorable_Code_Point, but
for those that their category tells; and the empty Braille pattern."""
_UNSAID: Final = re.compile(r"[<>{}\[\]|\\^~`*#\"“”„«»]")
"""What has no sound, or is a voice's own language."""
_NUMBER: Final = re.compile(r"(?<!\w)\+?\d(?:[ ().\-/]{0,2}\d){4,}(?!\w)")
"""Five digits or more: what is dialled, or typed from paper, and no amount of things."""
_DECIMAL: Final = re.compile(
    r"(?<![\w.,])(?=(?:[.,]?\d){5})"
    r"(?:\d+(?:,\d{3})*\.\d{1,2}|\d+(?:\.\d{3})*,\d{1,2})(?!\w|[.,]\d)"
)
"""Of as many digits, what has a part behind its point or comma: 1000.50 and 10.000,50."""
_MINUS: Final = re.compile(r"(?<!\S)[-\u2212](?=\d)")
_DATE: Final = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?(?![\d-])")
_ADDRESS: Final = re.compile(r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+")
_ENDS: Final = re.compile(r"[.,!?;:]\s|[.,!?;:]$")

_KEYS: Final = (
    r"1|2|one|two|eins?|zwei|une?|deux|uno|dos|due|een|twee|key|button|taste|knopf|touche|bouton|"
    r"tecla|boton|tasto|pulsante|toets|knop|star|hash|pound|raute|stern|diese|etoile|almohadilla|"
    r"cancelletto|asterisco|hekje|sterretje"
)
_PRESSING: Final = (
    r"press\w*|push\w*|hit|dial\w*|tap|punch|druck\w*|drueck\w*|tipp\w*|wahl\w*|waehl\w*|appuy\w*|"
    r"tape[zr]?|compose[zr]?|puls\w*|presion\w*|marque|marca|oprim\w*|prem[aeio]\w*|digit[aio]\w*|"
    r"druk\w*|toets\w*"
)
_SAYING: Final = r"says?|answer|reply|sag\w*|antwort\w*|dites|dis|repond\w*|diga|di|dica|zeg\w*"
_ANSWERS: Final = r"yes|no|yeah|ja|nein|oui|non|si|nee"
_FAKES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:{_PRESSING})\b(?: \w+){{0,4}} (?:{_KEYS})\b",
        rf"\b(?:{_SAYING})\b(?: \w+){{0,2}} (?:{_ANSWERS})\b",
        r"\b(?:to|please) (?:confirm|refuse)\b",
        r"\bzum (?:bestatigen|ablehnen)\b|\bbestatigen sie\b",
        r"\bpour (?:confirmer|refuser)\b|\bveuillez confirmer\b",
        r"\bpara (?:confirmar|rechazar)\b|\bfavor confirme\b",
        r"\bper (?:confermare|rifiutare)\b|\bconfermi per\b",
        r"\bte (?:bevestigen|weigeren)\b|\bbevestig dit\b",
    )
)


def spoken(value: Any, words: Phrases, depth: int = 0) -> str:  # noqa: ANN401 - whatever JSON holds.
    """How a value is said.

    Raises:
        ToolRefused: It cannot be, or would sound like the question around it.

    """
    if depth > DEPTH_MAX:
        raise ToolRefused("not run: the arguments are nested too deep to be read back")
    match value:
        case None:
            return words.nothing
        case bool():
            return words.yes if value else words.no
        case int() | float():
            return _number(format(Decimal(repr(value)), "f"), words)
        case str():
            return _said(value, words)
        case list():
            return ", ".join(spoken(part, words, depth + 1) for part in value) or words.nothing
        case dict():
            parts = (
                f"{in_words(_said(str(name), words))}: {spoken(part, words, depth + 1)}"
                for name, part in value.items()
            )
            return ", ".join(parts) or words.nothing
        case _:
            raise ToolRefused("not run: the arguments cannot be read back")


def check(values: Mapping[str, Any]) -> None:
    """Look at every text in these arguments.

    Raises:
        ToolRefused: One cannot be read back. Quotes nothing of it.

    """
    waiting: list[Any] = [dict(values)]
    # Together, too: what is harmless by itself may not be, beside another.
    together: list[str] = []
    while waiting:
        match waiting.pop():
            case str() as text:
                together.append(cleaned(text))
                _refuse_fakes(together[-1])
            case list() as parts:
                waiting += reversed(parts)
            case dict() as parts:
                for name, part in reversed(parts.items()):
                    waiting += [part, name]
            case _:
                pass
    _refuse_fakes(" ".join(together))


def cleaned(text: str) -> str:
    """A text with nothing in it that has no sound but spaces.

    Raises:
        ToolRefused: It holds what nobody hears and a machine may obey.

    """
    text = _BREAKS.sub(" ", text)
    kinds = {unicodedata.category(letter) for letter in text}
    # The sign behind a picture that makes it coloured is the one that people do write.
    pictures = re.sub(r"(?<=[\u2000-\u32ff\U0001f000-\U0001faff])\ufe0f(?!\ufe0f)", "", text)
    if kinds & {"Cc", "Cf", "Co", "Cs", "Cn"} or _UNSEEN.search(pictures):
        raise ToolRefused(
            "not run: the arguments hold invisible characters, which cannot be read back. Leave "
            "them out"
        )
    return text.strip()


def is_quoted(text: str) -> bool:
    """Whether a cleaned text needs marks around it, so that it is clear where it ends."""
    if any(one.fullmatch(text) for one in (_ADDRESS, _DATE, _DECIMAL, _NUMBER)):
        return False
    return len(text.split()) > BARE_WORDS or _ENDS.search(text) is not None


def quotation(text: str, words: Phrases) -> str:
    """A text with such marks."""
    return f"{words.quote}: {text.rstrip()} {words.end_of_quote}"


def spoken_text(text: str, words: Phrases) -> str:
    """A text with its numbers, addresses and dates as they are said.

    Raises:
        ToolRefused: It is too long. Before anybody looks for those: that takes its time squared.

    """
    if len(text) > LONGEST_CHARS:
        raise ToolRefused(TOO_LONG)
    at, dot, hyphen, underscore, plus = words.signs.split()
    text = _MINUS.sub(f"{words.minus} ", text)

    def address(found: re.Match[str]) -> str:
        said = found[0]
        for sign, name in zip("@.-_+", (at, dot, hyphen, underscore, plus), strict=True):
            said = said.replace(sign, f" {name} ")
        return _BREAKS.sub(" ", said).strip()

    def number(found: re.Match[str]) -> str:
        digits = [letter for letter in found[0] if letter.isdigit()]
        groups = [" ".join(digits[start : start + 3]) for start in range(0, len(digits), 3)]
        return (f"{plus} " if found[0].startswith("+") else "") + ", ".join(groups)

    parts: list[str] = []
    rest = 0
    # Dates first: their digits are not to be said one by one.
    kinds = (_ADDRESS, _DATE, _DECIMAL, _NUMBER)
    for found in re.finditer("|".join(kind.pattern for kind in kinds), text):
        parts.append(text[rest : found.start()])
        if _ADDRESS.fullmatch(found[0]):
            parts.append(address(found))
        elif _DATE.fullmatch(found[0]) and (day := spoken_date(found[0], words)):
            parts.append(day)
        elif _DECIMAL.fullmatch(found[0]):
            whole, part = found[0][:-3], found[0][-3:]
            if part[0].isdigit():
                whole, part = found[0][:-2], found[0][-2:]
            whole = re.sub(r"[.,]", "", whole)
            parts.append(_number(f"{whole}.{part[1:]}", words))
        elif _NUMBER.fullmatch(found[0]):
            parts.append(number(found))
        else:
            parts.append(found[0])
        rest = found.end()
    said = "".join([*parts, text[rest:]])
    said = "".join(
        letter for letter in said if unicodedata.category(letter) != "So" and letter != "\ufe0f"
    )
    return _BREAKS.sub(" ", _UNSAID.sub(" ", said)).strip()


def spoken_date(iso: str, words: Phrases) -> str | None:
    """A day, or a moment, as it is said; `None`: there is no such day."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    day = _day(moment.date(), words)
    return day if len(iso) == len("2026-11-24") else f"{day}, {moment:%H:%M}"


def in_words(name: str) -> str:
    """The name of a tool or of an argument."""
    return _BREAKS.sub(" ", re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.]+", " ", name)).strip()


def _day(day: date, words: Phrases) -> str:
    weekday, month = words.weekdays.split()[day.weekday()], words.months.split()[day.month - 1]
    return f"{weekday} {day.day} {month} {day.year}"


def _number(text: str, words: Phrases) -> str:
    """A number with words for its signs, which have no sound: 1000.50 is not 100050."""
    whole, _, part = text.lstrip("-").partition(".")
    said = [words.minus] if text.startswith("-") else []
    said.append(spoken_text(whole, words))
    if part:
        said += [words.point, *part]
    return " ".join(said)


def _said(text: str, words: Phrases) -> str:
    text = cleaned(text)
    said = spoken_text(text, words)
    if not said:
        return words.nothing
    return quotation(said, words) if is_quoted(text) else said


def _refuse_fakes(text: str) -> None:
    plain = _plain(text)
    marks = (one.end_of_quote for one in PHRASES.values())
    if any(fake.search(plain) for fake in _FAKES) or any(_plain(mark) in plain for mark in marks):
        raise ToolRefused(
            "not run: the arguments sound like the question itself (keys to press, or what to "
            "say). Put it in other words"
        )


def _plain(text: str) -> str:
    """Letters and digits only, without marks: as much alike as two texts may sound."""
    parts = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", bare))
