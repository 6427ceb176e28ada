"""Mail servers on loopback: a real one, aiosmtpd, and such as break the rules."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Literal

import attrs
import trio
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import EmailSettings

LOGIN = ("agent", "s3cret")


@attrs.define(eq=False)
class MailServer:
    """A server's mailbox, and how it answers. Its methods are aiosmtpd's hooks."""

    port: int = 0
    needs_login: bool = False
    refuses: str | None = None
    """What it says to a recipient, instead of taking it."""
    finally_says: str = "250 taken"
    taken: list[Envelope] = attrs.field(factory=list[Envelope])
    logins: int = 0

    @property
    def letters(self) -> list[EmailMessage]:
        return [
            message_from_bytes(one.original_content or b"", policy=policy.default)
            for one in self.taken
        ]

    async def handle_RCPT(  # noqa: N802 - its name for it.
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.needs_login and not session.authenticated:
            return "530 log in first"
        if self.refuses is not None:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - likewise.
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.taken.append(envelope)
        return self.finally_says

    def check(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        self.logins += 1
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == LOGIN, handled=False)


def settings_for(
    port: int, security: Literal["tls", "starttls", "none"] = "none", password: str | None = None
) -> EmailSettings:
    return EmailSettings(
        host="127.0.0.1",
        port=port,
        security=security,
        user=None if password is None else LOGIN[0],
        password=None if password is None else Secret(password),
        sender="agent@example.com",
        recipients=("anna@example.com", "*@example.org"),
    )


@contextmanager
def mail_server(
    security: Literal["tls", "starttls", "none"] = "none",
    tls: ssl.SSLContext | None = None,
    *,
    login: bool = False,
) -> Iterator[MailServer]:
    """Runs in a thread with an event loop of its own kind."""
    box, loop, ready = MailServer(needs_login=login), asyncio.new_event_loop(), threading.Event()

    def protocol() -> SMTP:
        return SMTP(
            box,
            hostname="mail.test",
            loop=loop,
            tls_context=tls if security == "starttls" else None,
            require_starttls=security == "starttls",
            authenticator=box.check if login else None,
            auth_require_tls=security == "starttls",
        )

    async def serve() -> None:
        served = await loop.create_server(
            protocol, "127.0.0.1", 0, ssl=tls if security == "tls" else None
        )
        box.port = served.sockets[0].getsockname()[1]
        ready.set()
        async with served:
            await stopped.wait()
        # Those who still talk are hung up on.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(5)
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


Behaving = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def strange_server(behave: Behaving) -> AsyncIterator[int]:
    """A server that does this with everybody who comes; gives its port."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await behave(stream)
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def talks(*answers: bytes, then: Behaving | None = None) -> Behaving:
    """Greets, and answers each command with the next of these; then does that, or leaves."""

    async def behave(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"220 hello\r\n")
        for answer in answers:
            if not await stream.receive_some():
                return
            await stream.send_all(answer)
        if then is not None:
            await then(stream)

    return behave
