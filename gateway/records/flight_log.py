"""The flight log of one call: what is in it, and how it is read back.

Pure. A log is lines of JSON, compressed in zstd frames that each stand alone, so that whatever was
written before a crash can be read. The first line says what the call was about; every other is
`[ms since the session began to connect, place, content]`, in the words of `gateway.records.tap`;
from the second of the call's connections to a model on, with the number of that behind it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import Any, Final

import attrs
import cattrs
import orjson
import zstandard

from actors.call import Limits, Plan
from actors.messages import CreateResponse
from actors.policy.manners import Manners
from actors.policy.record import CallFacts
from actors.wire.openai import SessionSettings
from actors.wire.openai_session import without_secrets
from gateway.records.tap import Content
from gateway.session.connections import Bounds
from gateway.session.realtime import Patience

FORMAT: Final = 2
"""Raised when an older reader would misread a log. 1: a call had one connection to a model."""
LARGEST_BYTES: Final = 128 * 2**20
"""Uncompressed. Twice what a recorder writes; more is a bomb."""
_BITE: Final = 1024
"""Compressed bytes at a time, so that a bomb is noticed while it is small: 32 MiB at the worst."""


@attrs.frozen
class NotAFlightLog(Exception):
    """A file that cannot be replayed."""

    reason: str
    """The rest of a sentence that begins with the name of the file."""

    def __str__(self) -> str:
        return self.reason


@attrs.frozen
class Lasting:
    """How a session goes on that outlives its connections."""

    bounds: Bounds
    fallback_model: str | None
    unix_s: float | None
    """When the call began. `None`: its session had no clock to compare with."""


@attrs.frozen(kw_only=True)
class Header:
    """What the call was about: everything that is needed to run it once more."""

    flight: int = FORMAT
    offhook: str
    """Version of the gateway that wrote it."""
    began_at: str
    """UTC, ISO 8601: when the call began, which is after the log did."""
    with_audio: bool
    facts: CallFacts
    greeting: CreateResponse | None
    silence_ms: int
    padding_ms: int
    server_interrupts: bool
    server_answers: bool
    limits: Limits
    session: SessionSettings
    patience: Patience
    manners: Manners = attrs.field(factory=Manners)
    """Older logs have none: those calls had none."""
    lasting: Lasting | None = None
    """`None`: the session was one connection, and ended with it."""

    def plan(self) -> Plan:
        """The plan of the same call."""
        return Plan(
            self.facts,
            self.greeting,
            silence_ms=self.silence_ms,
            padding_ms=self.padding_ms,
            server_interrupts=self.server_interrupts,
            server_answers=self.server_answers,
            manners=self.manners,
        )


@attrs.frozen
class Entry:
    """One line of a log."""

    at_ms: float
    """Since the log began."""
    place: str
    content: Any
    """JSON: a list that begins with a word, an event of the model's, or text that is none."""
    session: int = 1
    """Which of the call's connections to a model it is about, counted from 1."""


@attrs.frozen
class FlightLog:
    """A log that was read."""

    header: Header
    entries: tuple[Entry, ...]

    @property
    def lost(self) -> int:
        """Entries that the recorder had no room for, anywhere in the log."""
        lost = 0
        for entry in self.entries:
            match entry.place, entry.content:
                case "flight", ["lost", int(count)]:
                    lost += count
                case _:
                    pass
        return lost

    @property
    def stood_still(self) -> tuple[Entry, ...]:
        """Where the gateway's whole process stood still, as far as somebody noticed."""
        return tuple(entry for entry in self.entries if _is_about(entry, "flight", "stood still"))

    @property
    def is_full(self) -> bool:
        """Whether its end is missing because there was too much of it."""
        return bool(self.entries) and _is_about(self.entries[-1], "flight", "full")

    @property
    def is_whole(self) -> bool:
        """Whether the end of the call is in it."""
        return bool(self.entries) and _is_about(self.entries[-1], "call", "ended")


def header_of(
    plan: Plan,
    session: SessionSettings,
    patience: Patience,
    limits: Limits,
    lasting: Lasting | None = None,
    *,
    with_audio: bool,
) -> Header:
    """The header of a call that is about to begin."""
    return Header(
        offhook=own_version(),
        began_at=plan.facts.started_at,
        with_audio=with_audio,
        # Whose numbers they were is in the call's record, and decides nothing.
        facts=attrs.evolve(plan.facts, from_number="", to_number=""),
        greeting=plan.greeting,
        silence_ms=plan.silence_ms,
        padding_ms=plan.padding_ms,
        server_interrupts=plan.server_interrupts,
        server_answers=plan.server_answers,
        limits=limits,
        session=without_secrets(session),
        patience=patience,
        manners=plan.manners,
        lasting=lasting,
    )


def own_version() -> str:
    """Version of the offhook that runs."""
    try:
        return version("offhook")
    except PackageNotFoundError:  # Run from a checkout that was never installed.
        return "unknown"


_converter: Final = cattrs.Converter()


def write_header(header: Header) -> bytes:
    """The first line of a log, without its line break."""
    return orjson.dumps(_converter.unstructure(header))


def write_entry(at_ms: float, place: str, content: Content, session: int = 1) -> bytes:
    """One line of a log, without its line break. Never raises."""
    number = [session] if session > 1 else []
    try:
        return orjson.dumps([round(at_ms, 3), place, content, *number])
    except orjson.JSONEncodeError:  # Half a surrogate pair is a Python string, and no JSON.
        return orjson.dumps([round(at_ms, 3), place, ["unwritable", ascii(content)], *number])


def compress(text: bytes) -> bytes:
    """Lines of a log as a zstd frame of its own. Lets go of the interpreter's lock meanwhile."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(text)


def read_log(data: bytes) -> FlightLog:
    """Read a log, as far as it is whole: what a crash cut off is left out.

    Raises:
        NotAFlightLog: Not even its first frame can be read, or it is not of this format.

    """
    return parse(_decompress(data))


def parse(text: bytes) -> FlightLog:
    """Read the lines of a log. See `read_log`."""
    first, _, rest = text.partition(b"\n")
    try:
        raw = orjson.loads(first)
        number = raw["flight"]
    except (ValueError, KeyError, TypeError):
        raise NotAFlightLog("is not a flight log: its first line is no header of one") from None
    if not isinstance(number, int) or number > FORMAT:
        raise NotAFlightLog(
            f"was written by a newer offhook (format {number}; this one reads {FORMAT}): upgrade"
        )
    try:
        header = _converter.structure(raw, Header)
    except cattrs.BaseValidationError as error:
        problems = "; ".join(cattrs.transform_error(error))
        raise NotAFlightLog(f"has a header that makes no sense: {problems}") from None
    # The last line is empty, or was cut off. One at a time: there may be very many bad ones.
    whole = BytesIO(rest[: rest.rfind(b"\n") + 1])
    return FlightLog(header, tuple(map(_entry, whole)))


def _entry(line: bytes) -> Entry:
    try:
        at_ms, place, content, *number = orjson.loads(line)
        session = number[0] if number else 1
        if (
            isinstance(at_ms, int | float)
            and isinstance(place, str)
            and isinstance(session, int)
            and session >= 1
        ):
            return Entry(float(at_ms), place, content, session)
    except (ValueError, TypeError):
        pass
    raise NotAFlightLog(f"has a line that makes no sense: {line[:80]!r}")


def _decompress(data: bytes) -> bytes:
    """The content of every whole frame from the beginning on."""
    if not data:
        raise NotAFlightLog("is empty: whoever wrote it stopped before it came to the call")
    if not data.startswith(zstandard.FRAME_HEADER):
        raise NotAFlightLog("is not a flight log: it is not compressed with zstd")
    frames: list[bytes] = []
    size, begin = 0, 0
    while begin < len(data):
        reader = zstandard.ZstdDecompressor().decompressobj()
        parts: list[bytes] = []
        try:
            for at in range(begin, len(data), _BITE):
                parts.append(reader.decompress(data[at : at + _BITE]))
                size += len(parts[-1])
                if size > LARGEST_BYTES:
                    raise NotAFlightLog(f"holds more than {LARGEST_BYTES >> 20} MiB")
                if reader.eof:
                    begin = min(at + _BITE, len(data)) - len(reader.unused_data)
                    break
        except zstandard.ZstdError:
            break
        if not reader.eof:
            break
        frames += parts
    if not frames:
        raise NotAFlightLog("breaks off, or is damaged, in its first second: nothing can be read")
    return b"".join(frames)


def _is_about(entry: Entry, place: str, word: str) -> bool:
    content = entry.content
    return entry.place == place and isinstance(content, list) and content[:1] == [word]
