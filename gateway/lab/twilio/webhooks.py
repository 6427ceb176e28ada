"""Twilio's HTTP side: signed webhooks, answered with documents."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

import attrs
import httpx
import trio

from gateway.lab.twilio.call_report import Request
from gateway.lab.twilio.twiml_reader import Verb, read_twiml
from gateway.twilio.signature import sign

WEBHOOK_S: Final = 15.0
"""Twilio's hard limit for one webhook. Source: "Webhooks: Connection overrides", Twilio docs."""


@attrs.frozen
class NotAnswered(Exception):
    """A webhook has no document to go on with."""

    problem: str

    def __str__(self) -> str:
        return self.problem


class Http(Protocol):
    """The part of `httpx.AsyncClient` that webhooks need."""

    async def request(
        self, method: str, url: str, *, data: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Make one request. Raises `httpx.HTTPError`."""


@attrs.frozen
class Answer:
    """What a webhook answered."""

    request: Request
    content_type: str
    body: bytes

    def verbs(self) -> tuple[Verb, ...]:
        """Read the document.

        Raises:
            NotAnswered: The status is not 200.
            TwimlFault: It is no document that Twilio would carry out.

        """
        if self.request.status != 200:
            raise NotAnswered(f"{self.request.path} answered with status {self.request.status}")
        return read_twiml(self.body, self.content_type)


@attrs.frozen(kw_only=True)
class Webhooks:
    """Makes requests as Twilio makes them.

    Args:
        base_url: Where the gateway listens.
        public_url: What it believes to be its address: signed for, and then sent to `base_url`.
        auth_token: `None`: no signatures.
        http: Whoever opened it closes it.
        new_id: Names a request, in the form of a UUID.

    """

    base_url: str
    public_url: str
    auth_token: str | None
    http: Http
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())

    async def request(self, url: str, method: str, form: Mapping[str, str]) -> Answer:
        """Make one request. Cancellable; takes at most `WEBHOOK_S`.

        Raises:
            NotAnswered: Nobody listens, or nobody answered in time.

        """
        if method == "GET":
            url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(form)}"
            form = {}
        headers = {
            "User-Agent": "TwilioProxy/1.1",
            "I-Twilio-Idempotency-Token": self.new_id(),
            **self.signed(url, form),
        }
        path = urlsplit(url).path
        try:
            with trio.fail_after(WEBHOOK_S):
                response = await self.http.request(
                    method, self.reached(url), data=form or None, headers=headers
                )
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
            reason = str(error) or type(error).__name__
            raise NotAnswered(f"{path} was not answered: {reason}") from error
        content_type = response.headers.get("content-type", "")
        return Answer(Request(path, response.status_code), content_type, response.content)

    def signed(self, url: str, form: Mapping[str, str]) -> dict[str, str]:
        """Give the header that says who asks, if there is a token to say it with."""
        if self.auth_token is None:
            return {}
        return {"X-Twilio-Signature": sign(self.auth_token, url, form.items())}

    def reached(self, url: str) -> str:
        """Where a URL of the gateway's public address is reached from here."""
        wanted, public, base = urlsplit(url), urlsplit(self.public_url), urlsplit(self.base_url)
        if wanted.netloc != public.netloc:
            return url
        plain = {"wss": "ws", "ws": "ws"}.get(wanted.scheme, "http")
        scheme = plain + "s" if base.scheme == "https" else plain
        return urlunsplit((scheme, base.netloc, wanted.path, wanted.query, ""))
