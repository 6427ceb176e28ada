"""Which documents are in a folder. Blocking."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

KINDS: Final = (".md", ".markdown", ".txt", ".html", ".htm", ".pdf")
FILES_MAX: Final = 2_000
FILE_BYTES_MAX: Final = 20 * 1024 * 1024
ENTRIES_MAX: Final = 20_000
"""Looked at, of any kind: somebody's whole disk is no folder of documents."""
DEPTH_MAX: Final = 16
NAME_CHARS: Final = 300


@attrs.frozen(order=True)
class Document:
    """A file that can be read. Another content has another size or time."""

    name: str
    """Its path in the folder, with `/`."""
    size_bytes: int
    mtime_ns: int

    @property
    def kind(self) -> str:
        """Its suffix, in small letters."""
        return Path(self.name).suffix.lower()


@attrs.frozen
class Listing:
    """What is there."""

    documents: tuple[Document, ...] = ()
    """In the order of their names."""
    remarks: tuple[tuple[str, str], ...] = ()
    """What is not read, each with the reason: a file, or `""` for the folder."""


def list_folder(folder: Path, files_max: int = FILES_MAX) -> Listing:
    """Look through a folder and those in it, without hidden ones, and without reading a file.

    Links lead to files inside the folder only: what is beside it was not meant to be read out.

    Raises:
        OSError: There is no such folder, or it cannot be looked into.

    """
    root = real_path(folder)
    found: list[Document] = []
    remarks: list[tuple[str, str]] = []
    entries = 0
    for entry in _entries(root, DEPTH_MAX):
        entries += 1
        if entries > ENTRIES_MAX:
            remarks.append(("", f"has more than {ENTRIES_MAX} entries; the rest is left out"))
            break
        name = Path(entry.path).relative_to(root).as_posix()
        if Path(name).suffix.lower() not in KINDS:
            continue
        try:
            is_inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
            status = entry.stat() if is_inside else None
            name.encode()
        except (OSError, ValueError, RuntimeError):
            continue  # It is going, leads round in a circle, or has a name that is no text.
        if status is None:
            remarks.append((name, "is a link that leads out of the folder"))
        elif not stat.S_ISREG(status.st_mode) or len(name) > NAME_CHARS:
            remarks.append((name[:NAME_CHARS], "is not a plain file"))
        elif status.st_size > FILE_BYTES_MAX:
            remarks.append((name, f"is larger than {FILE_BYTES_MAX // 1024**2} MiB"))
        else:
            found.append(Document(name, status.st_size, status.st_mtime_ns))
    found.sort()
    if len(found) > files_max:
        remarks.append(("", f"has {len(found)} documents; the first {files_max} are read"))
    return Listing(tuple(found[:files_max]), tuple(sorted(remarks)))


def real_path(folder: Path) -> Path:
    """Where it is, without links.

    Raises:
        OSError: Nowhere.

    """
    # `Path.resolve` raises something else at a link that leads to itself.
    return Path(os.path.realpath(folder, strict=True))


def _entries(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    """Every file below, depth first, in the order of names."""
    with os.scandir(folder) as listed:
        entries = sorted(
            (one for one in islice(listed, ENTRIES_MAX) if not one.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield entry
        elif depth > 0:
            try:
                yield from _entries(Path(entry.path), depth - 1)
            except OSError:
                continue  # Not ours to look into, or just gone.
