"""Documents as passages: each about as much as one section says, with the headings above it.

Pure. Nothing here fails on what a document contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from typing import Final

import attrs

PASSAGE_CHARS: Final = 900
"""A passage is full then. Shorter ones say too little to be found by what they are about; longer
ones fill an answer of a few thousand characters with too few of them."""
LONGEST_CHARS: Final = 1_400
"""No passage is longer: a paragraph that is, is cut at the end of a sentence."""
TRAIL_CHARS: Final = 200
TRAIL: Final = " / "

_FENCE: Final = re.compile(r"\s{0,3}(```|~~~)")
_ATX: Final = re.compile(r"\s{0,3}(#{1,6})\s+(\S.*)")
_SETEXT: Final = re.compile(r"\s{0,3}(=+|-{2,})\s*")
_RULE: Final = re.compile(r"[\s|:*_=-]+")
_LINK: Final = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}(?: [^()]{0,200})?\)")
_EMPHASIS: Final = re.compile(r"\*\*|__|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)")
_SPACES: Final = re.compile(r"[^\S\n]+")
_SENTENCE_END: Final = re.compile(r"[.!?…]['\")\]]?\s|\n")
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_UNSAID: Final = frozenset({"script", "style", "template", "noscript", "svg", "nav"})
"""Parts of a page that nobody reads as its text."""
_BREAKS: Final = frozenset(
    {
        "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption",
        "footer", "form", "header", "hr", "li", "main", "ol", "option", "p", "pre", "section",
        "table", "tr", "ul", "title", *_HEADINGS,
    }
)  # fmt: skip
_CELLS: Final = frozenset({"td", "th"})


@attrs.frozen
class Passage:
    """A piece of a document."""

    text: str
    trail: str = ""
    """The headings above it, outermost first."""
    page: int | None = None
    """Where it is in a document that has pages, from 1."""


@attrs.frozen
class Heading:
    """A line that says what follows."""

    level: int
    """1 is the outermost."""
    text: str


Block = Heading | str
"""A part of a document: a heading, or a paragraph."""


def passages(blocks: Iterable[Block], *, page: int | None = None) -> Iterator[Passage]:
    """Put paragraphs together until a passage is full or a heading comes."""
    trail: list[Heading] = []
    held: list[str] = []

    def flush() -> Iterator[Passage]:
        text = "\n".join(held)
        held.clear()
        if text:
            yield Passage(text, TRAIL.join(one.text for one in trail)[:TRAIL_CHARS], page)

    for block in blocks:
        if isinstance(block, Heading):
            yield from flush()
            while trail and trail[-1].level >= block.level:
                trail.pop()
            trail.append(block)
            continue
        for piece in _pieces(block):
            if held and sum(map(len, held)) + len(piece) > PASSAGE_CHARS:
                yield from flush()
            held.append(piece)
    yield from flush()


def plain_text(text: str) -> Iterator[Block]:
    """The paragraphs of a text without any marks."""
    paragraph: list[str] = []
    for line in text.splitlines():
        tidy = _tidy(line)
        if tidy:
            paragraph.append(tidy)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph.clear()
    if paragraph:
        yield "\n".join(paragraph)


def markdown(text: str) -> Iterator[Block]:
    """The headings and paragraphs of Markdown, without its marks."""
    paragraph: list[str] = []
    fenced = False
    for line in _without_front_matter(text.splitlines()):
        if _FENCE.match(line):
            fenced = not fenced
            continue
        heading = None if fenced else _ATX.fullmatch(line)
        underlined = not fenced and len(paragraph) == 1 and _SETEXT.fullmatch(line)
        if heading is None and not underlined:
            said = _spoken(line)
            if said:
                paragraph.append(said)
            elif not line.strip() and paragraph:
                yield "\n".join(paragraph)
                paragraph.clear()
            continue
        if underlined:
            yield Heading(1 if line.strip().startswith("=") else 2, paragraph.pop())
            continue
        if paragraph:
            yield "\n".join(paragraph)
            paragraph.clear()
        if heading is not None and (title := _spoken(heading[2].rstrip("# "))):
            yield Heading(len(heading[1]), title)
    if paragraph:
        yield "\n".join(paragraph)


def html(text: str) -> Iterator[Block]:
    """The headings and paragraphs of a page; its title is the outermost heading."""
    page = _Page()
    # In parts, so that whoever bounds the time of this can interrupt it.
    for start in range(0, len(text), 16_384):
        page.feed(text[start : start + 16_384])
        yield from page.take()
    page.close()
    page.end_block()
    yield from page.take()


@attrs.define(eq=False, init=False)
class _Page(HTMLParser):
    """Collects blocks while it is fed."""

    blocks: list[Block]
    words: list[str]
    level: int | None
    """Of the heading it is in; `None`: in no heading."""
    unsaid: list[str]
    """What it is in that is not text, outermost first."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks, self.words, self.level, self.unsaid = [], [], None, []

    def take(self) -> list[Block]:
        blocks, self.blocks = self.blocks, []
        return blocks

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _UNSAID:
            self.unsaid.append(tag)
        elif tag in _BREAKS:
            self.end_block()
            self.level = 0 if tag == "title" else _HEADINGS.get(tag)
        elif tag in _CELLS and self.words:
            self.words.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.unsaid:
            del self.unsaid[self.unsaid.index(tag) :]
        elif tag in _BREAKS:
            self.end_block()
            self.level = None

    def handle_data(self, data: str) -> None:
        if not self.unsaid:
            self.words.append(data)

    def end_block(self) -> None:
        text = _tidy(" ".join("".join(self.words).split()))
        self.words.clear()
        if text:
            self.blocks.append(text if self.level is None else Heading(self.level, text))


def _without_front_matter(lines: list[str]) -> Iterator[str]:
    """What is about the document, between two lines of dashes at its top, is not of it."""
    start = 0
    if lines and lines[0].strip() == "---":
        ends = (at for at, line in enumerate(lines[1:100], 1) if line.strip() in ("---", "..."))
        start = next(ends, -1) + 1
    return iter(lines[start:])


def _spoken(line: str) -> str:
    """A line of Markdown as it is read."""
    if _RULE.fullmatch(line):
        return ""
    line = _EMPHASIS.sub("", _LINK.sub(r"\1", line))
    return _tidy(line).removeprefix("> ").strip("| ")


def _tidy(line: str) -> str:
    """Without what is not to be read out: control characters, runs of spaces."""
    spaced = _SPACES.sub(" ", line).strip()
    return spaced if spaced.isprintable() else "".join(c for c in spaced if c.isprintable())


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph, cut where it is too long: after a sentence, or else between words."""
    start = 0
    while len(paragraph) - start > LONGEST_CHARS:
        window = paragraph[start : start + LONGEST_CHARS]
        ends = [one.end() for one in _SENTENCE_END.finditer(window)]
        end = ends[-1] if ends and ends[-1] > LONGEST_CHARS // 3 else window.rfind(" ") + 1
        end = end or LONGEST_CHARS
        yield window[:end].strip()
        start += end
    if rest := paragraph[start:].strip():
        yield rest
