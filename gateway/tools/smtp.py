"""Letters over SMTP, by the standard library's client in a thread.

Source: RFC 5321, and for the two ways to TLS RFC 8314.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from contextlib import ExitStack, closing, suppress
from typing import Final

import attrs
import structlog
import trio

from gateway.configuration.convert import is_loopback
from gateway.configuration.tool_settings import EmailSettings, MailSecurity
from gateway.tools.mail import Letter, NotMailed, wire_of

log: structlog.stdlib.BoundLogger = structlog.get_logger()

STEP_S: Final = 8.0
"""For a server to answer one command. Some hold the first one back for seconds, against spam."""
PORTS: Final[dict[MailSecurity, int]] = {"tls": 465, "starttls": 587, "none": 25}
THREADS_MAX: Final = 4
"""Letters on their way at a time, over all calls."""


@attrs.define(eq=False)
class SmtpMailer:
    """A mail server, as the configuration names it. Fits `Mailer`.

    Args:
        settings: Of `[email]`, with `host`.
        tls: What proves the server; `None`: certificates that this machine trusts.

    """

    _settings: EmailSettings
    _tls: ssl.SSLContext | None = None
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(THREADS_MAX), init=False
    )

    async def send(self, letter: Letter, *, within_s: float) -> None:
        """See `Mailer`."""
        delivery = _Delivery(self._settings, self._tls, letter)
        with trio.move_on_after(within_s):
            try:
                await trio.to_thread.run_sync(
                    delivery.run, abandon_on_cancel=True, limiter=self._threads
                )
            except NotMailed as error:
                log.warning("mail.not_sent", why=error.why, maybe_done=error.maybe_done)
                raise
            finally:
                # However this ended, nothing is sent from here on.
                delivery.abandon()
            log.info("mail.sent")
            return
        log.warning("mail.not_sent", why="too slow", maybe_done=delivery.is_given)
        raise NotMailed("the mail server is too slow", delivery.is_given)

    async def visit(self, *, within_s: float) -> None:
        """Connect and log in as for a letter, and leave without one. Cancellable.

        Raises:
            NotMailed: It would not be taken.

        """
        delivery = _Delivery(self._settings, self._tls, None)
        with trio.move_on_after(within_s):
            try:
                await trio.to_thread.run_sync(
                    delivery.run, abandon_on_cancel=True, limiter=self._threads
                )
            finally:
                delivery.abandon()
            return
        raise NotMailed("the mail server is too slow")


@attrs.define(eq=False)
class _Delivery:
    """One try to hand over one letter, in a thread; may be given up from another."""

    settings: EmailSettings
    tls: ssl.SSLContext | None
    letter: Letter | None
    """`None`: there is none, and nothing is handed over."""
    is_given: bool = attrs.field(default=False, init=False)
    """The server has been sent the letter, or a part of it: it may keep it whatever it answers."""
    _is_abandoned: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _socket: socket.socket | None = attrs.field(default=None, init=False)

    def abandon(self) -> None:
        """Give it up, unless it is done. Never waits; what the thread waits for ends at once."""
        with self._lock:
            self._is_abandoned = True
            if self._socket is not None:
                # Closing would not wake a thread that waits for it; and what TLS would say besides
                # is that thread's.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def run(self) -> None:
        """Hand it over.

        Raises:
            NotMailed: It was not taken, or nobody knows.

        """
        try:
            letter = self.letter
            wire = b"" if letter is None else wire_of(letter)
            with closing(self._connected()) as client:
                if letter is None:
                    client.ehlo_or_helo_if_needed()
                else:
                    self._hand_over(client, letter, wire)
                # It is taken. What the server says to a goodbye is not waited for.
                with suppress(smtplib.SMTPException, OSError):
                    client.putcmd("QUIT")
        except ssl.SSLCertVerificationError as error:
            raise self._failed("the mail server has no certificate that proves it") from error
        except smtplib.SMTPAuthenticationError as error:
            raise self._failed("the mail server does not accept the login") from error
        except smtplib.SMTPNotSupportedError as error:
            raise self._failed("the mail server lacks what the settings ask for") from error
        except smtplib.SMTPResponseException as error:
            raise self._failed("the mail server refused") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise self._failed("the mail server could not be reached, or left") from error

    def connect(self, host: str, port: int) -> socket.socket:
        """Open what the client talks over; with `tls`, it is so from its first byte."""
        bare = socket.create_connection((host, port), STEP_S)
        with self._lock:
            self._socket, is_abandoned = bare, self._is_abandoned
        if is_abandoned:
            bare.close()
            raise OSError("given up")
        if self.settings.security == "tls":
            bare = self._trust().wrap_socket(bare, server_hostname=host)
            self._hold(bare)
        return bare

    def _trust(self) -> ssl.SSLContext:
        return self.tls or ssl.create_default_context()

    def _hold(self, bare: socket.socket | None) -> None:
        with self._lock:
            self._socket = bare

    def _failed(self, why: str) -> NotMailed:
        return NotMailed(why, self.is_given)

    def _connected(self) -> smtplib.SMTP:
        """A client that may send: over TLS if it has to be, and logged in."""
        host, security = self.settings.host, self.settings.security
        if host is None:
            raise NotMailed("there is no mail server in the settings")
        if security == "none" and not is_loopback(host):
            raise NotMailed("mail without TLS goes to this machine only")
        client = _Client(self, host, self.settings.port or PORTS[security])
        with ExitStack() as undo:
            undo.callback(client.close)
            if security == "starttls":
                client.starttls(context=self._trust())
                self._hold(client.sock)
            if self.settings.user is not None and self.settings.password is not None:
                client.login(self.settings.user, self.settings.password.reveal())
            undo.pop_all()
        return client

    def _hand_over(self, client: smtplib.SMTP, letter: Letter, wire: bytes) -> None:
        client.ehlo_or_helo_if_needed()
        if client.mail(letter.sender)[0] != 250:
            raise NotMailed("the mail server does not take mail from the settings' sender")
        code, _ = client.rcpt(letter.to)
        if 400 <= code < 500:
            raise NotMailed("the mail server does not take mail for this address now")
        if code not in (250, 251):
            raise NotMailed("the mail server does not take mail for this address")
        if client.docmd("DATA")[0] != 354:
            raise NotMailed("the mail server refused the mail")
        with self._lock:
            if self._is_abandoned:
                raise NotMailed("the mail server is too slow")
            self.is_given = True
        # Dots at the start of lines are doubled: one alone ends the mail.
        client.send(re.sub(rb"(?m)^\.", b"..", wire) + b".\r\n")
        if client.getreply()[0] != 250:
            raise NotMailed("the mail server refused the mail")


class _Client(smtplib.SMTP):
    """The library's client, over a socket that its owner can shut.

    It has a seam for that, through which its own `SMTP_SSL` goes, too.
    """

    def __init__(self, delivery: _Delivery, host: str, port: int) -> None:
        self._delivery = delivery
        # By its own default it would look up what this machine is called, for as long as it takes.
        super().__init__(host, port, local_hostname="localhost", timeout=STEP_S)
        if self.sock is not None:
            address = self.sock.getsockname()[0]
            # Source: "4.1.3. Address Literals", RFC 5321.
            self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del timeout
        return self._delivery.connect(host, port)
