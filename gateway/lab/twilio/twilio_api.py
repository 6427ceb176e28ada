"""Twilio's REST interface as far as a live call needs it: an ASGI application of its own.

It ends calls and sends them elsewhere, and refuses what the real one refuses, with its codes.
Source: "Call resource: update a call", "Error and Warning Dictionary", Twilio docs.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import attrs
import httpx
import orjson
import trio

from gateway.lab.twilio.twiml_reader import TwimlFault, Verb, read_twiml

ANSWER_S: Final = 0.15
"""From a request to its answer. *Observed*: 100 to 200 ms."""
LONGEST_TWIML: Final = 4000
REMEMBERED: Final = 10_000
"""Calls that are over and still known."""

_PATH: Final = re.compile(r"/2010-04-01/Accounts/(AC[0-9A-Za-z]*)/Calls/(CA[0-9A-Za-z]*)\.json")
_KNOWN: Final = frozenset({"Status", "Twiml"})

Json = dict[str, Any]


class LiveCall(Protocol):
    """What can be done to a call from outside."""

    @property
    def call_sid(self) -> str:
        """Its name."""

    def go_on_with(self, verbs: tuple[Verb, ...]) -> None:
        """Leave what is being done, and carry out this document."""

    def end(self) -> None:
        """Be over."""


@attrs.frozen
class ApiFault:
    """How one request goes wrong."""

    status: int = 500
    """0: no answer at all."""
    code: int | None = None
    obeyed: bool = False
    """It is done all the same."""
    late_s: float = 0.0
    """How much later than usual it is answered."""


@attrs.frozen
class ApiRequest:
    """One request, as it was answered."""

    call_sid: str
    form: dict[str, str] = attrs.field(repr=False)
    status: int
    obeyed: bool
    """What it asked for was done."""


Befall = Callable[[str, Mapping[str, str]], ApiFault | None]
"""How a request about this call, with this form, goes wrong, if it does."""


@attrs.define(eq=False)
class TwilioApi:
    """One account.

    Args:
        account_sid: Whose calls these are.
        password: Of `user`.
        user: The account itself, or the name of a key of its.
        answer_s: See `ANSWER_S`.
        befall: Is asked about every request for which nothing is in `faults`.
        observe: Is told of every request, in the moment in which it is obeyed or not.

    """

    account_sid: str
    password: str = attrs.field(repr=False)
    user: str | None = None
    answer_s: float = ANSWER_S
    faults: deque[ApiFault] = attrs.field(factory=deque[ApiFault])
    """The next requests meet them, one each."""
    befall: Befall = lambda _call_sid, _form: None
    observe: Callable[[ApiRequest], None] = lambda _: None
    requests: list[ApiRequest] = attrs.field(factory=list[ApiRequest], init=False)
    _live: dict[str, LiveCall] = attrs.field(factory=dict[str, LiveCall], init=False)
    _over: deque[str] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED), init=False)

    @contextmanager
    def reaching(self, call: LiveCall) -> Iterator[None]:
        """Let a call be reached, as long as it lasts."""
        self._live[call.call_sid] = call
        try:
            yield
        finally:
            del self._live[call.call_sid]
            self._over.append(call.call_sid)

    def transport(self) -> httpx.AsyncBaseTransport:
        """The way here without a network, for an `httpx.AsyncClient`."""
        return httpx.ASGITransport(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's)
        """Serve one request."""
        if scope["type"] == "lifespan":
            await _live_on(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        form = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True))
        await trio.sleep(self.answer_s / 2)
        found = _PATH.fullmatch(scope["path"])
        fault = self._fault("" if found is None else found[2], form)
        status, content = self._answer(
            scope["method"], found, headers.get("authorization", ""), form, fault
        )
        # What is done is done before its answer arrives.
        await trio.sleep(self.answer_s / 2 + (0.0 if fault is None else fault.late_s))
        if status == 0:
            await trio.sleep_forever()
        text = orjson.dumps(content)
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(text)).encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": text})

    def _fault(self, call_sid: str, form: Mapping[str, str]) -> ApiFault | None:
        return self.faults.popleft() if self.faults else self.befall(call_sid, form)

    def _answer(
        self,
        method: str,
        found: re.Match[str] | None,
        authorization: str,
        form: Mapping[str, str],
        fault: ApiFault | None,
    ) -> tuple[int, Json]:
        """Do what a request asks for, or say why not. Returns its status and its body."""
        call_sid = "" if found is None else found[2]
        status, code, obeyed = 0, None, False
        if fault is None or fault.obeyed:
            status, code = self._obey(method, found, authorization, form)
            obeyed = status == HTTPStatus.OK
        # A fault by which an answer is only late changes nothing about it.
        if fault is not None and (fault.status != HTTPStatus.OK or not fault.obeyed):
            status, code = fault.status, fault.code
        request = ApiRequest(call_sid, dict(form), status, obeyed)
        self.requests.append(request)
        self.observe(request)
        if code is None and status in {0, 200}:
            return status, {"sid": call_sid, "status": "in-progress"}
        return status, _error(status, code)

    def _obey(
        self, method: str, found: re.Match[str] | None, authorization: str, form: Mapping[str, str]
    ) -> tuple[int, int | None]:
        if found is None or method != "POST":
            return 404, 20404
        user = f"{self.user or self.account_sid}:{self.password}".encode()
        if authorization != f"Basic {b64encode(user).decode()}" or found[1] != self.account_sid:
            return 401, 20003
        call = self._live.get(found[2])
        if call is None:
            return (400, 21220) if found[2] in self._over else (404, 20404)
        if len(form) != 1 or not set(form) <= _KNOWN:
            return 400, 20001
        if form.get("Status") == "completed":
            call.end()
            return 200, None
        document = form.get("Twiml")
        if document is None or len(document) > LONGEST_TWIML:
            return 400, 21218 if document is not None else 20001
        try:
            verbs = read_twiml(document.encode("utf-8"), "text/xml")
        except TwimlFault:
            return 400, 21218
        call.go_on_with(verbs)
        return 200, None


def _error(status: int, code: int | None) -> Json:
    return {
        "code": code,
        "message": "The request was refused.",
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }


async def _live_on(receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's)
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
