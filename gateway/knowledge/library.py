"""Passages in SQLite, found by words. Blocking; no trio.

Source: "FTS5 extension", SQLite docs. The index holds folded words only; what is told is the
passage as it was written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from math import log
from pathlib import Path
from typing import Final

import attrs

from gateway.knowledge.folder import Document
from gateway.knowledge.passages import Passage
from gateway.knowledge.terms import Term, expression, folded, splits, terms

FOUND_MAX: Final = 5
PER_DOCUMENT_MAX: Final = 3
"""So that one long document does not hide the others."""
CANDIDATES: Final = 40
"""Passages that are looked at closely."""
COMPOUNDS_MAX: Final = 12
"""Words that a word of the question is a part of."""
COVERED_LEAST: Final = 0.25
"""Of what a question asks for, by weight. Below it a passage merely shares a common word."""

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE document (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER, mtime INTEGER);
CREATE TABLE passage (
    id INTEGER PRIMARY KEY, document INTEGER, trail TEXT, page INTEGER, text TEXT
);
CREATE INDEX passage_document ON passage (document);
CREATE VIRTUAL TABLE told USING fts5 (
    name, trail, text, content = '', prefix = '4', tokenize = "unicode61 remove_diacritics 0"
);
CREATE TABLE word (word TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID;
CREATE TABLE backwards (word TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID;
"""


@attrs.frozen
class Found:
    """A passage that may answer a question."""

    document: str
    """Its path in the folder."""
    passage: Passage


@attrs.frozen
class Library:
    """Documents that can be searched. To be used by one thread at a time.

    Resource handling: whoever makes it calls `close`.
    """

    _sql: sqlite3.Connection

    @classmethod
    def create(cls, path: Path | None = None) -> Library:
        """Make an empty one: in a file that there is not yet, or in memory."""
        sql = sqlite3.connect(":memory:" if path is None else path, check_same_thread=False)
        sql.executescript(_SCHEMA)
        return cls(sql)

    @classmethod
    def at(cls, path: Path) -> Library:
        """Open a finished one, to be read.

        Raises:
            sqlite3.Error: It is none.

        """
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        return cls(sqlite3.connect(uri, uri=True, check_same_thread=False))

    def close(self) -> None:
        """Let it go. Idempotent."""
        self._sql.close()

    def add(self, document: Document, pieces: Iterable[Passage]) -> None:
        """Put a document into it, which is not there yet."""
        row = (document.name, document.size_bytes, document.mtime_ns)
        cursor = self._sql.execute("INSERT INTO document VALUES (NULL, ?, ?, ?)", row)
        number, name = cursor.lastrowid, _readable(document.name)
        for one in pieces:
            text = one.text.encode(errors="replace").decode()
            trail = one.trail.encode(errors="replace").decode()
            cursor = self._sql.execute(
                "INSERT INTO passage VALUES (NULL, ?, ?, ?, ?)", (number, trail, one.page, text)
            )
            self._sql.execute(
                "INSERT INTO told (rowid, name, trail, text) VALUES (?, ?, ?, ?)",
                (cursor.lastrowid, name, folded(trail), folded(text)),
            )

    def passages_of(self, document: Document) -> list[Passage] | None:
        """What it has of exactly this content; `None`: nothing."""
        row = (document.name, document.size_bytes, document.mtime_ns)
        known = self._sql.execute(
            "SELECT id FROM document WHERE name = ? AND size = ? AND mtime = ?", row
        ).fetchone()
        if known is None:
            return None
        rows = self._sql.execute(
            "SELECT text, trail, page FROM passage WHERE document = ? ORDER BY id", known
        )
        return [Passage(*row) for row in rows]

    def finish(self) -> None:
        """Make what was added ready to be searched. Nothing is added after that."""
        self._sql.execute("INSERT INTO told (told) VALUES ('optimize')")
        self._sql.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, told, row)")
        self._sql.execute("INSERT INTO word SELECT term, doc FROM vocabulary")
        self._sql.create_function("reversed", 1, lambda word: word[::-1], deterministic=True)
        self._sql.execute("INSERT INTO backwards SELECT reversed(word), count FROM word")
        self._sql.execute("DROP TABLE temp.vocabulary")
        self._sql.commit()

    def find(self, question: str, most: int = FOUND_MAX) -> list[Found]:
        """The passages that are most about it, best first. None at all if nothing is.

        Raises:
            sqlite3.Error: The library was damaged.

        """
        (total,) = self._sql.execute("SELECT max(id) FROM passage").fetchone()
        asked = [self._known(term, total or 0) for term in terms(question)]
        ways = [way for one in asked for way in one.ways()]
        if not ways:
            return []
        rows = self._sql.execute(
            # The weights are of the document's name, the headings, and the text.
            "SELECT document.name, text, trail, page, score FROM"
            " (SELECT rowid AS id, bm25(told, 2.0, 2.0, 1.0) AS score FROM told WHERE told MATCH ?"
            "  ORDER BY score LIMIT ?)"
            " JOIN passage USING (id) JOIN document ON document.id = passage.document",
            (" OR ".join(ways), CANDIDATES),
        ).fetchall()
        weight = sum(one.weight for one in asked)
        shaped = [(one, one.shapes()) for one in asked]
        ranked: list[tuple[float, Found]] = []
        for name, text, trail, page, score in rows:
            words = f" {_readable(name)} {folded(trail)} {folded(text)}"
            covered = sum(
                one.weight for one, shapes in shaped if all(shape.search(words) for shape in shapes)
            )
            covered /= weight
            if covered >= COVERED_LEAST:
                found = Found(name, Passage(text, trail, page))
                # The scores of BM25 are below zero. What has every word of the question comes
                # before what has one of them many times.
                ranked.append((score * (0.2 + covered), found))
        ranked.sort(key=lambda one: one[0])
        return _varied([found for _, found in ranked], most)

    def _known(self, term: Term, total: int) -> _Asked:
        """See in which forms a word is in the documents."""
        compounds: list[str] = []
        parts: list[str] = []
        count = sum(self._count(form, term.is_beginning) for form in term.forms)
        if term.is_beginning:
            for form in term.forms:
                compounds += self._ending_in(form)
            if count == 0 and not compounds:
                parts = self._parts(term.word)
        count += sum(self._count(word, False) for word in compounds)
        count = count or min((self._count(part, True) for part in parts), default=0)
        # A word that is nowhere cannot be found, and is often one that the caller only says so.
        rarity = min(log(1 + total / (count + 0.5)), log(1 + total / 1.5))
        weight = rarity if count else rarity / 2
        return _Asked(term, tuple(compounds), tuple(parts), weight)

    def _count(self, form: str, is_beginning: bool) -> int:
        """In how many passages a word is, or those that begin with it are: at most, and about."""
        end = form + ("\U0010ffff" if is_beginning else "")
        (count,) = self._sql.execute(
            "SELECT sum(count) FROM word WHERE word BETWEEN ? AND ?", (form, end)
        ).fetchone()
        return count or 0

    def _ending_in(self, form: str) -> list[str]:
        """Longer words that end in it, or nearly: `frist` ends `ruckgabefrist` and its plural."""
        start = form[::-1]
        found: list[tuple[int, str]] = []
        for ending in ("", "s", "n", "en", "e", "er", "es"):
            begin = ending[::-1] + start
            found += self._sql.execute(
                "SELECT count, word FROM backwards WHERE word > ? AND word < ?"
                " ORDER BY count DESC LIMIT ?",
                (begin, begin + "\U0010ffff", COMPOUNDS_MAX),
            )
        found.sort(reverse=True)
        return [word[::-1] for _, word in found[:COMPOUNDS_MAX]]

    def _parts(self, word: str) -> list[str]:
        """The parts of a compound, when both are in the documents: `kosten` of `lieferkosten`."""
        for first, second in splits(word):
            if self._count(first, True) and self._count(second, True):
                return [first, second]
        return []


@attrs.frozen
class _Asked:
    """A word of a question, as these documents have it."""

    term: Term
    compounds: tuple[str, ...]
    parts: tuple[str, ...]
    weight: float
    """The more, the rarer it is."""

    def ways(self) -> list[str]:
        """What the index is asked for."""
        ways = [expression(self.term.forms, is_beginning=self.term.is_beginning)]
        if self.compounds:
            ways.append(expression(self.compounds, is_beginning=False))
        if self.parts:
            ways.append(expression(self.parts, is_beginning=True))
        return ways

    def shapes(self) -> list[re.Pattern[str]]:
        """What is all in the folded words of a passage that has it."""
        if self.parts:
            return [re.compile(rf"\b{part}") for part in self.parts]
        forms = "|".join(self.term.forms)
        if not self.term.is_beginning:
            return [re.compile(rf"\b(?:{forms})\b")]
        return [re.compile(rf"\b(?:{'|'.join([forms, *self.compounds])})")]


def _readable(name: str) -> str:
    """A file's name as words: `price_list-2026.pdf` is about a price list."""
    stem, _, _ = name.rpartition(".")
    return " ".join(re.findall(r"[^\W_]+", folded(stem)))


def _varied(found: Sequence[Found], most: int) -> list[Found]:
    """The best, and not all of one document."""
    told: list[Found] = []
    for one in found:
        if sum(other.document == one.document for other in told) < PER_DOCUMENT_MAX:
            told.append(one)
    return told[:most]


def find_at(path: Path, question: str) -> list[Found]:
    """What a finished library in a file has about a question.

    Raises:
        sqlite3.Error: There is none, or it was damaged.

    """
    library = Library.at(path)
    with closing(library):
        return library.find(question)
