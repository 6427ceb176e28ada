"""Documents as passages: what is read of each kind, and what becomes of those that are no good."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.knowledge.builder import Job, build
from gateway.knowledge.folder import FILE_BYTES_MAX, Document, list_folder
from gateway.knowledge.library import Library, find_at
from gateway.knowledge.live import BUILDER
from gateway.knowledge.passages import (
    LONGEST_CHARS,
    Heading,
    Passage,
    html,
    markdown,
    passages,
    plain_text,
)
from gateway.knowledge.reading import Unreadable, read_document
from tests.pdf_files import encrypted, pdf, pdf_of, slow_pdf


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# Text, Markdown and HTML.


def test_markdown_is_its_sections_without_its_marks() -> None:
    text = (
        "---\ntitle: x\n---\n# Prices\n\nAll **net**, see [terms](https://x.example/t).\n\n"
        "Old\n---\n\n- one\n- *two*\n\n## Bikes ##\n| a | b |\n|---|---|\n| City | `599` |\n"
        "```\n# not a heading\n```\n# Other\nEnd.\n"
    )

    assert list(passages(markdown(text))) == [
        Passage("All net, see terms.", "Prices"),
        Passage("- one\n- two", "Prices / Old"),
        Passage("a | b\nCity | 599\n# not a heading", "Prices / Bikes"),
        Passage("End.", "Other"),
    ]


def test_html_is_what_is_read_of_it() -> None:
    text = (
        "<html><head><title>Shop</title><style>p{}</style></head><body><nav>Home</nav>"
        "<h1>Prices</h1><p>City <b>bike</b>: 599&nbsp;&euro;</p><table><tr><td>a<td>b</tr></table>"
        "<script>alert('x')</script><h2>More</h2>Line<br>next</body>"
    )

    assert list(passages(html(text))) == [
        Passage("City bike: 599 €\na | b", "Shop / Prices"),
        Passage("Line\nnext", "Shop / Prices / More"),
    ]


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    text = "It is so. " * 500

    pieces = [one.text for one in passages(plain_text(text))]

    assert all(len(one) <= LONGEST_CHARS and one.endswith("so.") for one in pieces)
    assert " ".join(pieces) == text.strip()


@given(st.text())
def test_any_text_is_some_passages_of_bounded_length(text: str) -> None:
    for kind in (plain_text, markdown, html):
        for one in passages(kind(text)):
            assert one.text.strip()
            assert len(one.text) <= LONGEST_CHARS + 900


def test_control_characters_are_not_read_out() -> None:
    assert list(plain_text("a\x1b[31m\u202eb\x07")) == ["a[31mb"]
    assert list(markdown("# a\x00b")) == [Heading(1, "ab")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", "Grüße".encode()),
        ("a.txt", "Grüße".encode("utf-8-sig")),
        ("a.txt", "Grüße".encode("utf-16")),
        ("a.md", "Grüße".encode("cp1252")),
        ("a.html", b"<meta charset='iso-8859-1'><p>" + "Grüße".encode("latin-1")),
        ("a.HTM", "<p>Grüße".encode()),
    ],
)
def test_text_is_read_in_the_encoding_that_it_has(tmp_path: Path, name: str, data: bytes) -> None:
    found = list(read_document(written(tmp_path, name, data)))

    assert [one.text for one in found] == ["Grüße"]


@pytest.mark.parametrize(("name", "data"), [("a.txt", b"\x7fELF\x00\x01"), ("a.md", b" \n")])
def test_what_is_no_text_is_not_read(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(Unreadable):
        list(read_document(written(tmp_path, name, data)))


# PDF.


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    path = written(tmp_path, "a.pdf", pdf("Prices\nCity bike: 599", "Terms (all)\nNo re-\nturns"))

    found = list(read_document(path))

    assert [one.page for one in found] == [1, 2]
    assert "City bike: 599" in found[0].text
    assert "No returns" in found[1].text


BAD_PDFS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no pdf": lambda: b"hello",
    "cut short": lambda: pdf("a", "b")[:300],
    "encrypted": lambda: encrypted(pdf("secret"), "pw"),
    "no text": lambda: pdf(""),
    "pages in a circle": lambda: pdf_of([b"BT ET"], kids="2 0 R"),
    "deep": lambda: pdf_of([b"[" * 100_000 + b"]" * 100_000]),
    "bomb": lambda: pdf_of([b" " * 90_000_000]),
    "noise": lambda: b"%PDF-1.7\n" + bytes(range(256)) * 99,
}


@pytest.mark.parametrize("kind", sorted(BAD_PDFS))
def test_a_bad_pdf_is_said_to_be_one(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unreadable) as refused:
        list(read_document(written(tmp_path, "a.pdf", BAD_PDFS[kind]())))

    assert "secret" not in str(refused.value)


# Folders.


def names(folder: Path) -> list[str]:
    return [one.name for one in list_folder(folder).documents]


def test_a_folder_is_looked_through_but_for_what_is_hidden(tmp_path: Path) -> None:
    for name in ("a.md", "b/c.TXT", "b/d.pdf", ".git/e.md", ".f.md", "g.docx", "h"):
        written(tmp_path, name, "x")

    assert names(tmp_path) == ["a.md", "b/c.TXT", "b/d.pdf"]


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    secret = written(tmp_path, "outside/secret.md", "x")
    inside = tmp_path / "inside"
    written(inside, ".data/real.md", "x")
    (inside / "out.md").symlink_to(secret)
    (inside / "sub").symlink_to(secret.parent)
    (inside / "in.md").symlink_to(".data/real.md")
    (inside / "gone.md").symlink_to("nowhere")
    (inside / "loop.md").symlink_to("loop.md")
    os.mkfifo(inside / "pipe.md")

    listing = list_folder(inside)

    assert [one.name for one in listing.documents] == ["in.md"]
    assert dict(listing.remarks) == {
        "out.md": "is a link that leads out of the folder",
        "pipe.md": "is not a plain file",
    } | {name: why for name, why in listing.remarks if name in ("gone.md", "loop.md")}


def test_what_is_too_large_or_too_many_is_left_out(tmp_path: Path) -> None:
    for n in range(5):
        written(tmp_path, f"{n}.md", "x")
    with (tmp_path / "big.md").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)

    listing = list_folder(tmp_path, files_max=3)

    assert [one.name for one in listing.documents] == ["0.md", "1.md", "2.md"]
    assert [name for name, _ in listing.remarks] == ["", "big.md"]


# Building.


def built(folder: Path, *, previous: Path | None = None, **limits: float) -> tuple[Path, list[str]]:
    """A library of everything in the folder, and what was told while it was made."""
    number = len(list(folder.parent.glob("*.sqlite")))
    target = folder.parent / f"{number}.sqlite"
    job = Job(folder.resolve(), target, previous, list_folder(folder).documents, **limits)  # type: ignore[arg-type]
    told = [str(line.get("why", "")) for line in build(Job.from_json(job.to_json()))]
    return target, [why for why in told if why]


def test_a_bad_document_does_not_keep_the_others_out(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    written(folder, "a.md", "# Whales\n\nThey sing.")
    written(folder, "bad.pdf", b"no")
    written(folder, "good.pdf", pdf("Dolphins jump."))

    library, told = built(folder)

    assert [one.document for one in find_at(library, "whales that sing")] == ["a.md"]
    assert [one.passage.page for one in find_at(library, "dolphins")] == [1]
    assert len(told) == 1


def test_a_pdf_that_takes_for_ever_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    written(folder, "a.md", "Whales sing.")
    written(folder, "slow.pdf", slow_pdf())

    target = tmp_path / "x.sqlite"
    job = Job(folder, target, None, list_folder(folder).documents, document_s=0.5)

    # In its own process, as it ought to be: its alarm may ring in whatever runs there.
    done = subprocess.run(BUILDER, input=job.to_json(), capture_output=True, check=True)

    told = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert {"skipped": "slow.pdf", "why": "takes longer than 0.5 s to read"} in told
    assert find_at(target, "whales") != []


def test_a_file_that_cannot_be_written_is_said_to_be_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    job = Job(tmp_path / "docs", tmp_path / "nowhere" / "x.sqlite", None, ())

    done = subprocess.run(BUILDER, input=job.to_json(), capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (1, b'{"failed":"OperationalError"}\n')


def test_all_documents_together_have_a_bound(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    written(folder, "a.md", "Whales sing.")
    written(folder, "b.md", "Dolphins " * 100)
    written(folder, "c.md", "Sharks bite.")

    library, told = built(folder, total_chars=100)

    assert len(told) == 1
    assert find_at(library, "dolphins") == []
    assert find_at(library, "sharks") != []


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    kept, changed = written(folder, "a.md", "Whales sing."), written(folder, "b.md", "Sharks bite.")
    first, _ = built(folder)
    times = kept.stat()
    kept.write_bytes(b"Nobody in.")
    kept.write_bytes(b"Nothing now."[: times.st_size].ljust(times.st_size))
    os.utime(kept, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed.write_bytes(b"Dolphins jump.")

    second, _ = built(folder, previous=first)

    assert [one.document for one in find_at(second, "whales")] == ["a.md"]
    assert find_at(second, "sharks") == []
    assert [one.document for one in find_at(second, "dolphins")] == ["b.md"]


def test_a_link_that_appears_later_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    secret = written(tmp_path, "secret.md", "Whales sing.")
    folder.mkdir()
    (folder / "a.md").symlink_to(secret)
    target = tmp_path / "x.sqlite"

    told = list(build(Job(folder, target, None, (Document("a.md", 12, 0),))))

    assert {"skipped": "a.md", "why": "is a link that leads out of the folder"} in told
    assert find_at(target, "whales") == []


def test_a_library_that_is_none_is_not_searched(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        find_at(tmp_path / "nowhere.sqlite", "whales")
    with pytest.raises(sqlite3.Error):
        find_at(written(tmp_path, "a.sqlite", "x" * 5000), "whales")


def test_words_that_are_no_text_are_kept_as_far_as_they_are() -> None:
    library = Library.create()
    library.add(Document("a.md", 1, 1), [Passage("whales \ud800 sing", "\udfff")])
    library.finish()

    assert [one.passage.text for one in library.find("whales")] == ["whales ? sing"]
    library.close()
