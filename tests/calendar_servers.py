"""A real calendar server, Radicale, on loopback, with a login and calendars of a test's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
from radicale import config, server
from radicale.app import Application

from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import CalendarSettings

LOGIN = ("owner", "s3cret")
NO_KEPT = httpx.Limits(max_keepalive_connections=0)
BROWSER = httpx.Client(auth=LOGIN, verify=False, limits=NO_KEPT)
"""The owner's own. Does without certificates, which take longer to read than all it asks."""
CALENDAR = (
    '<?xml version="1.0"?><c:mkcalendar xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">'
    "<d:set><d:prop><d:displayname>work</d:displayname></d:prop></d:set></c:mkcalendar>"
)


@attrs.frozen
class CalendarPlace:
    """One calendar, and a person's own way to look into it."""

    url: str

    @property
    def settings(self) -> CalendarSettings:
        user, password = LOGIN
        return CalendarSettings(
            url=self.url, user=user, password=Secret(password), timezone="Europe/Berlin"
        )

    def put(self, name: str, text: str) -> None:
        answer = BROWSER.put(self.url + name, content=text.encode())
        assert answer.status_code == 201, answer.text

    def all(self) -> list[str]:
        """Every calendar object, as anybody else would read it."""
        headers = {"depth": "1"}
        listing = BROWSER.request("PROPFIND", self.url, headers=headers).text
        hrefs = [part.split("</href>")[0] for part in listing.split("<href>")[1:]]
        names = [href.rsplit("/", 1)[1] for href in hrefs if href.endswith(".ics")]
        return [BROWSER.get(self.url + name).text for name in sorted(names)]


@attrs.define
class CalendarServer:
    """One that runs."""

    port: int
    made: int = 0

    def calendar(self) -> CalendarPlace:
        """Make one that nobody has used."""
        self.made += 1
        url = f"http://127.0.0.1:{self.port}/owner/{self.made}/"
        made = BROWSER.request("MKCALENDAR", url, content=CALENDAR)
        assert made.status_code == 201, made.text
        return CalendarPlace(url)


@contextmanager
def calendar_server(folder: Path) -> Iterator[CalendarServer]:
    (folder / "users").write_text(":".join(LOGIN) + "\n")
    settings = config.load()
    auth = {
        "type": "htpasswd",
        "htpasswd_filename": str(folder / "users"),
        "htpasswd_encryption": "plain",
        "delay": "0",
    }
    storage = {"filesystem_folder": str(folder / "collections"), "_filesystem_fsync": "False"}
    inside = {"_internal_server": "True"}
    chosen = {"auth": auth, "storage": storage, "server": inside, "logging": {"level": "critical"}}
    settings.update(chosen, "the test", privileged=True)
    served: Any = server.ParallelHTTPServer(
        settings, socket.AF_INET, ("127.0.0.1", 0), server.RequestHandler
    )
    served.set_app(Application(settings))
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield CalendarServer(served.server_address[1])
    finally:
        served.shutdown()
        thread.join()
        served.server_close()
        for one in served.worker_sockets:
            one.close()
