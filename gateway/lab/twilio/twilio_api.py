"""Twilio's REST interface as far as calls and messages need it: an ASGI application of its own.

It ends calls, sends them elsewhere and places them, takes messages, and refuses what the real one
refuses, with its codes.
Source: "Call resource: update a call", "Error and Warning Dictionary", Twilio docs.
"""

from __future__ import annotations

import hashlib
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

from gateway.lab.twilio.api_create import (
    AccountRules,
    PlacedCall,
    SentMessage,
    What,
    answer,
    flaw,
)
from gateway.lab.twilio.twiml_reader import TwimlFault, Verb, read_twiml

ANSWER_S: Final = 0.15
"""From a request to its answer. *Observed*: 100 to 200 ms."""
LONGEST_TWIML: Final = 4000
REMEMBERED: Final = 10_000
"""Calls that are over and still known."""

_PATH: Final = re.compile(r"/2010-04-01/Accounts/(AC[0-9A-Za-z]*)/Calls/(CA[0-9A-Za-z]*)\.json")
_NEW_PATH: Final = re.compile(r"/2010-04-01/Accounts/(AC[0-9A-Za-z]*)/(Calls|Messages)\.json")
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
        rules: What the account may do.
        place: Is told of every call that is to be placed, and rings somebody, or nobody.

    """

    account_sid: str
    password: str = attrs.field(repr=False)
    user: str | None = None
    answer_s: float = ANSWER_S
    faults: deque[ApiFault] = attrs.field(factory=deque[ApiFault])
    """The next requests meet them, one each."""
    befall: Befall = lambda _call_sid, _form: None
    observe: Callable[[ApiRequest], None] = lambda _: None
    rules: AccountRules = attrs.field(factory=AccountRules)
    place: Callable[[PlacedCall], None] = lambda _: None
    placed: list[PlacedCall] = attrs.field(factory=list[PlacedCall], init=False)
    messages: list[SentMessage] = attrs.field(factory=list[SentMessage], init=False)
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
        made = _NEW_PATH.fullmatch(scope["path"])
        fault = self._fault("" if found is None else found[2], form)
        asked = scope["method"], headers.get("authorization", ""), form, fault
        status, content = self._answer(found, *asked) if made is None else self._make(made, *asked)
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
        found: re.Match[str] | None,
        method: str,
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
        if not self._is_theirs(found[1], authorization):
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

    def _make(
        self,
        found: re.Match[str],
        method: str,
        authorization: str,
        form: Mapping[str, str],
        fault: ApiFault | None,
    ) -> tuple[int, Json]:
        """Make what a request asks for, or say why not. Returns its status and its body."""
        what: What = "Calls" if found[2] == "Calls" else "Messages"
        status, code, sid = 0, None, ""
        if fault is None or fault.obeyed:
            status, code = 201, None
            if method != "POST":
                status, code = 405, 20004
            elif not self._is_theirs(found[1], authorization):
                status, code = 401, 20003
            elif (code := flaw(what, form, self.rules)) is not None:
                status = 400
            else:
                sid = self._made(what, form)
        if fault is not None and (fault.status != HTTPStatus.CREATED or not fault.obeyed):
            status, code = fault.status, fault.code
        request = ApiRequest(sid, dict(form), status, obeyed=bool(sid))
        self.requests.append(request)
        self.observe(request)
        if status == HTTPStatus.CREATED and sid:
            return status, answer(what, self.account_sid, sid, form)
        return status, _error(status, code)

    def _made(self, what: What, form: Mapping[str, str]) -> str:
        """Place the call or keep the message, and name it."""
        number = len(self.placed) + len(self.messages)
        sid = hashlib.sha256(f"{self.account_sid}/{number}".encode()).hexdigest()[:32]
        if what == "Messages":
            message = SentMessage(f"SM{sid}", dict(form))
            self.messages.append(message)
            return message.sid
        placed = PlacedCall(f"CA{sid}", dict(form))
        self.placed.append(placed)
        self.place(placed)
        return placed.call_sid

    def _is_theirs(self, account_sid: str, authorization: str) -> bool:
        user = f"{self.user or self.account_sid}:{self.password}".encode()
        asks = f"Basic {b64encode(user).decode()}"
        return authorization == asks and account_sid == self.account_sid


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
