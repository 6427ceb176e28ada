"""PDF files of a test's own, good and bad."""

from __future__ import annotations

import zlib
from io import BytesIO

import pypdf


def pdf(*pages: str) -> bytes:
    """A file with these lines on its pages."""
    return pdf_of([_page(text) for text in pages])


def pdf_of(contents: list[bytes], *, kids: str | None = None) -> bytes:
    """A file with these content streams, compressed."""
    count = len(contents)
    numbers = " ".join(f"{4 + 2 * n} 0 R" for n in range(count)) if kids is None else kids
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{numbers}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        packed = zlib.compress(content)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(head + packed + b"\nendstream")
    out = BytesIO()
    out.write(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.writelines(f"{place:010} 00000 n \n".encode() for place in places)
    out.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\n".encode())
    out.write(f"startxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def encrypted(data: bytes, password: str) -> bytes:
    """The same, to be opened by who knows the password."""
    writer = pypdf.PdfWriter(clone_from=BytesIO(data))
    writer.encrypt(password, algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def slow_pdf() -> bytes:
    """A small file that says so much that reading it takes minutes."""
    return pdf_of([b"BT /F1 12 Tf 50 750 Td\n" + b"(ab) Tj 1 0 Td " * 1_500_000 + b"\nET"])


def _page(text: str) -> bytes:
    shown = [
        b"(" + line.encode("cp1252").replace(b"(", b"\\(").replace(b")", b"\\)") + b") Tj 0 -14 Td"
        for line in text.split("\n")
    ]
    return b"BT /F1 12 Tf 50 750 Td\n" + b"\n".join(shown) + b"\nET"
