"""The few strokes that a timeline is drawn with, as SVG text. Pure.

Every text goes through `safe`: what people say on the phone is not markup.
"""

from __future__ import annotations

from html import escape
from typing import Final

STYLE: Final = """
text{font:12px 'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;fill:#1f2733}
.title{font-size:16px;font-weight:bold}.small{font-size:10px;fill:#5b6676}
.lane{font-size:11px;fill:#5b6676;text-anchor:end}
.tick{font-size:10px;fill:#5b6676;text-anchor:middle}
.in{font-size:10px;fill:#fff}
.grid{stroke:#e4e8ee}.base{stroke:#cfd6df}.after{fill:#f3f5f8}
.caller{fill:#2f6fb5}.agent{fill:#2e8b57}.caller,.agent{stroke:#fff}
.words-caller{fill:#1f5a99}.words-agent{fill:#1d6b41}.who{font-weight:bold}
.unheard{fill:url(#cut);stroke:#8fbfa4;stroke-width:.75}
.lost{fill:#98a2ae;text-decoration:line-through}
.response{fill:#b9a3d9}.failed{fill:#e39a9a}.tool{fill:#d98b2b}.mark{stroke:#7b8794}
.gap{fill:#f7dfc4;fill-opacity:.6}.event{fill:#44546a}
.barge{stroke:#d0342c;stroke-width:1.5;stroke-dasharray:5 3}.barged{font-size:10px;fill:#d0342c}
.end{text-anchor:end}
.wait{stroke:#c07a00;stroke-width:1.2;fill:none}.waited{font-size:10px;fill:#9a6200}
"""

HATCH: Final = (
    '<defs><pattern id="cut" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#eaf5ee"/>'
    '<rect width="2" height="6" fill="#a9d3bb"/></pattern></defs>'
)


def document(title: str, width: int, height: int, body: list[str]) -> str:
    """A whole SVG file on a white sheet: no scripts, no fonts and no links to fetch."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<title>{safe(title)}</title>",
            f"<style>{STYLE}</style>",
            HATCH,
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


def text(kind: str, x: float, y: float, words: str) -> str:
    """One line of text."""
    return f'<text class="{kind}" x="{round(x, 1)}" y="{y}">{safe(words)}</text>'


def span(kind: str, words: str, *, x: float | None = None) -> str:
    """A part of a line: behind the part before it, or at `x`."""
    place = "" if x is None else f' x="{round(x, 1)}"'
    return f'<tspan class="{kind}"{place}>{safe(words)}</tspan>'


def line_of(y: float, spans: list[str]) -> str:
    """One line made of spans."""
    return f'<text y="{y}" xml:space="preserve">{"".join(spans)}</text>'


def rect(
    kind: str, left: float, right: float, y: float, height: float, *, tip: str | None = None
) -> str:
    """A bar, wide enough to be seen, with something to read when pointed at."""
    box = (
        f'<rect class="{kind}" x="{round(left, 1)}" y="{y}" '
        f'width="{round(max(2.0, right - left), 1)}" height="{height}" rx="2"'
    )
    return f"{box}/>" if tip is None else f"{box}><title>{safe(short(tip, 600))}</title></rect>"


def path(kind: str, strokes: str) -> str:
    """A line along SVG path commands."""
    return f'<path class="{kind}" d="{strokes}"/>'


def clock(at_ms: int, *, tenths: bool = False) -> str:
    """A moment as minutes and seconds."""
    minutes, ms = divmod(max(0, at_ms), 60_000)
    if tenths:
        return f"{minutes}:{ms // 1000:02}.{ms % 1000 // 100}"
    return f"{minutes}:{ms // 1000:02}"


def short(words: str, most: int) -> str:
    """No more than `most` characters, on one line."""
    words = " ".join(words.split())
    return words if len(words) <= most else words[: max(0, most - 1)].rstrip() + "…"


def safe(words: str) -> str:
    """Make any text fit for XML: escaped, and without the characters XML has no way to say.

    Source: "Extensible Markup Language (XML) 1.0", production 2, Char.
    """
    return escape("".join(char for char in words if _is_char(char)))


def _is_char(char: str) -> bool:
    if char < " ":
        return char in "\t\n\r"
    return not "\ud800" <= char <= "\udfff" and char not in "\ufffe\uffff"
