"""What a question asks for, as words that an index can be asked for. Pure.

The question is somebody's on the phone. Nothing of it but letters and digits gets into a query.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import attrs

TERMS_MAX: Final = 16
TERM_CHARS: Final = 40
PREFIX_CHARS: Final = 4
"""Of a shorter word the beginning says nothing: `pin` begins `pink`."""
PART_CHARS: Final = 4
"""Of a compound no part is shorter."""
LINKS: Final = ("", "s", "n", "es", "en", "er", "e")
"""What joins the parts of German compounds: Rückgabe-frist, Lieferung-s-kosten, Sonne-n-brille."""

_WORD: Final = re.compile(r"[^\W_]+")
_SUFFIXES: Final = (
    "ations", "ation", "ments", "ungen", "ings", "ment", "ing", "ung", "ies", "ied", "ers", "ern",
    "est", "ed", "es", "er", "en", "em", "ly", "e", "n", "s", "y",
)  # fmt: skip
"""Endings of English and German words, the longer ones first."""
_UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue"}
_STOP: Final = frozenset(
    """
    a about all am an and any are as at be been but by can could did do does for from get give had
    has have hello hi how i if in into is it its just know like may me mean might much must my need
    no not of on one or our out please say shall should so some tell than thank that the their them
    then there these they thing this those to too up us very want was we were what when where which
    who whom whose why will with would yes you your many long
    aber alle allem allen aller alles als also am an auch auf aus bei beim bin bis bist bitte da
    damit dann das dass dem den denn der des dich die dies diese diesem diesen dieser dieses dir
    doch du durch ein eine einem einen einer eines er es euch euer eure fur gegen gibt haben habe
    hallo hat hatte hattest hier ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja
    jede jeder jetzt kann kannst konnen konnte man mein meine meinem meinen meiner mich mir mit
    muss mussen nach nein nicht noch nun nur ob oder ohne sein seine sich sie sind so soll sollen
    uber um und uns unser unsere unter viel vom von vor wann war waren warum was weil welche welchem
    welchen welcher welches wenn wer werden wie wieder wieviel wir wird wo woher wohin wurde wurden
    zu zum zur
    """.split()  # noqa: SIM905 - a list of 250 would be a line each.
)
"""Words that any text has, in English and German, as `folded` writes them."""


@attrs.frozen
class Term:
    """A word of a question, in every form it is looked for."""

    forms: tuple[str, ...]
    """Of which any will do: as they are, or as beginnings where `is_beginning`."""
    is_beginning: bool

    @property
    def word(self) -> str:
        """The word as it was asked, folded."""
        return self.forms[0]


def folded(text: str) -> str:
    """Letters without case, accents or ligatures: `Straße` and `STRASSE` are one word."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    if plain.isascii():
        return plain
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


def terms(question: str) -> tuple[Term, ...]:
    """The words of a question that say what it is about; all of them, if none does."""
    # Compatible forms first: what is one letter there may be a word in brackets.
    plain = unicodedata.normalize("NFKC", question).casefold()
    words = list(dict.fromkeys(_WORD.findall(plain)))
    told = [word for word in words if folded(word) not in _STOP] or words
    found = {term.word: term for term in map(_term, told[:TERMS_MAX])}
    return tuple(found.values())


def expression(forms: tuple[str, ...], *, is_beginning: bool) -> str:
    """What FTS5 is asked for: any of these words, or whatever begins with them.

    Source: "Full-text query syntax", SQLite docs. A string in double quotes is only ever a string.
    """
    star = " *" if is_beginning else ""
    return " OR ".join(f'"{form.replace(chr(34), chr(34) * 2)}"{star}' for form in forms)


def _term(word: str) -> Term:
    """The word itself comes first, cut to its stem where it is long enough for one."""
    written_out = "".join(_UMLAUTS.get(letter, letter) for letter in word)
    plain = folded(word)[:TERM_CHARS]
    joined = re.sub("ae|oe|ue", lambda pair: pair[0][0], plain)
    spellings = dict.fromkeys([plain, folded(written_out)[:TERM_CHARS], joined])
    if not plain.isalpha() or len(plain) < PREFIX_CHARS:
        return Term(tuple(spellings), is_beginning=False)
    return Term(tuple(dict.fromkeys(map(stem, spellings))), is_beginning=True)


def stem(word: str) -> str:
    """A beginning that the other forms of a word share. Often too short, never too long by much."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= PREFIX_CHARS:
            short = word.removesuffix(suffix)
            is_doubled = len(short) > PREFIX_CHARS and short[-1] == short[-2]
            return short[:-1] if is_doubled and short[-1] not in "aeiou" else short
    return word


def splits(word: str) -> tuple[tuple[str, str], ...]:
    """Every way to see a word as a compound of two: the first without what joins them."""
    found: dict[tuple[str, str], None] = {}
    for end in range(PART_CHARS, len(word) - PART_CHARS + 1):
        first, second = word[:end], word[end:]
        for link in LINKS:
            if first.endswith(link) and len(first) - len(link) >= PART_CHARS:
                found[first.removesuffix(link), second] = None
    return tuple(found)
