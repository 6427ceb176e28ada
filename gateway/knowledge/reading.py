"""Files as passages. Blocking, and as slow as the file wants: see `builder` for the bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import pypdf
from pypdf.errors import PyPdfError

from gateway.knowledge.folder import FILE_BYTES_MAX
from gateway.knowledge.passages import Block, Passage, html, markdown, passages, plain_text

PAGES_MAX: Final = 1_000
DOCUMENT_CHARS_MAX: Final = 4 * 1024 * 1024
"""Of one document: a thousand pages have three million."""

_CHARSET: Final = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_-]{1,40})""")
_BOMS: Final[Mapping[bytes, str]] = {
    b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
_HYPHENATED: Final = re.compile(r"(?<=[a-zäöüß])-\n(?=[a-zäöüß])")


@attrs.frozen
class Unreadable(Exception):
    """Nothing can be had of a file. Says why, and quotes nothing of it."""

    why: str

    def __str__(self) -> str:
        return self.why


def read_document(path: Path) -> Iterator[Passage]:
    """Read a file by its suffix, see `folder.KINDS`. Its passages come as they are read.

    Raises:
        Unreadable: It has no text that could be had, or is not what its suffix says.
        OSError: It cannot be read.

    """
    kind = path.suffix.lower()
    if kind == ".pdf":
        yield from _read_pdf(path)
        return
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise Unreadable("has grown too large")
    text = _decoded(data, is_html=kind in (".html", ".htm"))[:DOCUMENT_CHARS_MAX]
    as_blocks: Callable[[str], Iterator[Block]] = plain_text
    if kind in (".md", ".markdown"):
        as_blocks = markdown
    elif kind in (".html", ".htm"):
        as_blocks = html
    yield from _some(passages(as_blocks(text)))


def _read_pdf(path: Path) -> Iterator[Passage]:
    try:
        yield from _some(_pages(pypdf.PdfReader(path, strict=False)))
    except RecursionError:
        raise Unreadable("is nested too deep") from None
    except MemoryError:
        raise Unreadable("needs too much memory") from None
    except (Unreadable, OSError, TimeoutError):
        raise
    except (PyPdfError, Exception) as error:
        # On a broken file the library raises whatever the break led to.
        raise Unreadable(f"is not a PDF that can be read ({type(error).__name__})") from error


def _pages(reader: pypdf.PdfReader) -> Iterator[Passage]:
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("is encrypted")
    chars = 0
    for number, page in enumerate(reader.pages, 1):
        if number > PAGES_MAX or chars > DOCUMENT_CHARS_MAX:
            return
        text = _HYPHENATED.sub("", page.extract_text())
        chars += len(text)
        yield from passages(plain_text(text), page=number)


def _some(found: Iterator[Passage]) -> Iterator[Passage]:
    """All of them, of which there has to be one."""
    first = next(found, None)
    if first is None:
        raise Unreadable("has no text")
    yield first
    yield from found


def _decoded(data: bytes, *, is_html: bool) -> str:
    """Text in the encoding it says it has, or in the likeliest."""
    encodings = ["utf-8", "cp1252"]
    if is_html and (declared := _CHARSET.search(data[:2048])):
        encodings.insert(0, declared[1].decode())
    encodings = [name for bom, name in _BOMS.items() if data.startswith(bom)] or encodings
    if b"\x00" in data[:4096] and "utf-16" not in encodings:
        raise Unreadable("is not text")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("cp1252", errors="replace")
