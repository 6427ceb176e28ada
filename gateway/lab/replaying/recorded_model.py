"""The model of a flight log: it says once more what it said then, whatever it is told today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import orjson
import trio
from trio_websocket import CloseReason, ConnectionClosed

from gateway.lab.replaying.recorded import Troubles, recorded_audio, word
from gateway.records.flight_log import Entry, FlightLog
from gateway.session.realtime import Use
from gateway.web.client_socket import CannotOpen


@attrs.define(eq=False)
class RecordedModel:
    """Everything at the other end of a session's `Connect`."""

    log: FlightLog
    now_ms: Callable[[], float]
    """Since the log began."""
    session: int = 1
    """Which of the log's connections this is."""
    troubles: Troubles = attrs.field(init=False)
    _to_session: trio.MemorySendChannel[Any] = attrs.field(init=False)
    events: trio.MemoryReceiveChannel[Any] = attrs.field(init=False)
    """What it says, and what becomes of connecting to it, in the order of the log."""

    def __attrs_post_init__(self) -> None:
        ours = (entry for entry in self.log.entries if entry.session == self.session)
        self.log = attrs.evolve(self.log, entries=tuple(ours))
        self.troubles = Troubles.of(self.log, "model")
        # As long as the log: it does not wait for anybody.
        self._to_session, self.events = trio.open_memory_channel[Any](len(self.log.entries))

    def say(self, entry: Entry) -> None:
        """Do once more what this entry says, if it was the model's doing."""
        match entry.place, entry.content:
            case ("model.connect", ["open" | "refused", *_]) | (
                "model.closed",
                ["peer" | "broken", *_],
            ):
                self._to_session.send_nowait(entry.content)
            case "model.in", content:
                self._to_session.send_nowait(_message(content))
            case _:
                pass

    def is_mute(self) -> bool:
        """Whether a ping is not answered any more."""
        pong_s = self.log.header.patience.pong_s
        # A log is written just after what it tells of.
        given_up_ms = self.now_ms() + pong_s * 1000 + 1
        return any(
            word(entry, "model.closed") == "no pong" and entry.at_ms <= given_up_ms
            for entry in self.log.entries
        )

    async def connect(self, use: Use) -> None:
        """See `gateway.session.realtime.Connect`."""
        while True:
            match await self.events.receive():
                case ["refused", str(reason), int() | None as status]:
                    raise CannotOpen(reason, status)
                case ["open", *_]:
                    await use(_Socket(self))
                    return
                case _:
                    pass  # Of an attempt that today's code has given up.


@attrs.define(eq=False)
class RecordedModels:
    """One for each of a log's connections, in the order in which they were opened."""

    log: FlightLog
    now_ms: Callable[[], float]
    _models: dict[int, RecordedModel] = attrs.field(factory=dict[int, RecordedModel], init=False)
    _opened: int = attrs.field(default=0, init=False)

    def say(self, entry: Entry) -> None:
        """Do once more what this entry says."""
        self._model(entry.session).say(entry)

    def next(self) -> RecordedModel:
        """Whoever answers the next connection. One that the log does not have is not answered."""
        self._opened += 1
        return self._model(self._opened)

    def _model(self, session: int) -> RecordedModel:
        if session not in self._models:
            self._models[session] = RecordedModel(self.log, self.now_ms, session)
        return self._models[session]


@attrs.define(eq=False)
class _Socket:
    """The model's end of one connection. Fits `gateway.session.realtime.Socket`."""

    _model: RecordedModel
    _closed: CloseReason | None = attrs.field(default=None, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    async def send_message(self, message: str | bytes) -> None:
        """Swallow it: what was answered then is answered now."""
        del message
        if self._is_closed:
            await trio.lowlevel.checkpoint()
            raise ConnectionClosed(self._closed)
        await self._model.troubles.befall(self._model.now_ms())

    async def get_message(self) -> str | bytes:
        """Wait for what the model said next."""
        match await self._model.events.receive():
            case str(text):
                return text
            case ["peer", int(code), str() | None as reason]:
                self._closed = CloseReason(code, reason)
            case _:
                pass
        self._is_closed = True
        raise ConnectionClosed(self._closed)

    async def ping(self) -> None:
        """Be answered, as long as it was."""
        await trio.lowlevel.checkpoint()
        if self._model.is_mute():
            await trio.sleep_forever()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Close it; nobody minds."""
        self._is_closed, self._closed = True, CloseReason(code, reason)
        await trio.lowlevel.checkpoint()


def _message(content: Any) -> str:  # noqa: ANN401 - whatever JSON holds.
    """A message of the model's, from what the log has of it."""
    match content:
        case {"type": "response.output_audio.delta", "delta": int() as size}:
            return orjson.dumps({**content, "delta": recorded_audio(size)}).decode()
        case str(text):
            return text
        case _:
            return orjson.dumps(content).decode()
