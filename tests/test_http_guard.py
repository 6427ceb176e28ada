"""No URL, and no answer of a name server, leads an HTTP tool to an address that is not public."""

# ruff: noqa: RUF001 - lookalikes are what some of these URLs are made of.

from __future__ import annotations

from typing import Final

import pytest
import trio
import trustme

from gateway.web.public_address import (
    Barred,
    is_public,
    networks,
    redirected,
    target_of,
)
from gateway.web.public_web import (
    REDIRECTS_MAX,
    Answer,
    PublicWeb,
    Question,
    Unanswered,
)
from tests.web_servers import (
    OK,
    PUBLIC,
    Answering,
    Names,
    says,
    says_ok,
    server_tls,
    serving,
    web_of,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def refusal(web: PublicWeb, url: str, **more: object) -> str:
    with pytest.raises(Unanswered) as refused, trio.fail_after(5):
        await web.ask(Question(url=url, timeout_s=3, **more))  # type: ignore[arg-type]
    return refused.value.why


def words(text: str) -> list[str]:
    return text.split()


# Addresses.

PRIVATE: Final = words("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
127.0.0.53 127.255.255.254 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1
192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255
198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe ::ffff:0:127.0.0.1
64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1
2001:0:7f00:1::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe:: 3fff::1 5f00::1
fc00::1 fd00:ec2::254 fd12:3456::1 fe80::1 fe80::a9fe:a9fe fec0::1 ff02::1 ff0e::1 4000::1
""")
EVERYBODYS: Final = words("""
1.1.1.1 8.8.8.8 9.9.9.9 11.0.0.1 93.184.215.14 100.63.255.255 100.128.0.1 126.255.255.255
128.0.0.1 169.253.255.255 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255 198.17.255.255
198.20.0.1 223.255.255.255 2606:2800:220:1::1 2a00:1450:4001::1 ::ffff:8.8.8.8 64:ff9b::808:808
""")


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_everybodys_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", EVERYBODYS)
def test_an_address_that_is_everybodys_is_public(address: str) -> None:
    assert is_public(address)


# URLs. PORT is where a real server listens, on 127.0.0.1 and on every other address of loopback
# that this system lets a client reach by it.

HOSTS: Final = words("""
127.0.0.1 127.1 127.0.1 127.000.000.001 0177.0.0.1 0177.1 0177.0000.0000.0001 0x7f.0.0.1 0x7f.1
0x7F000001 0x7f000001 2130706433 017700000001 00000017700000001 0x7f.0x0.0x0.0x1 127.0.0.1.
127.0.0.2 127.127.127.127 127.255.255.254 0 0.0.0.0 0x0 00 0.0 0000
localhost LOCALHOST LocalHost localhost. LOCALHOST. loc%61lhost %6c%6f%63alhost
%31%32%37.0.0.1 127%2e0%2e0%2e1 127.0.0.1%00 127.0.0.1%2f 127.0.0.1%20 %00 %2f
127。0。0。1 127．0．0．1 127｡0｡0｡1 １２７.０.０.１ １２７。０。０。１ ①②⑦.⓪.⓪.① 𝟏𝟐𝟕.𝟎.𝟎.𝟏
ⓛⓞⓒⓐⓛⓗⓞⓢⓣ ｌｏｃａｌｈｏｓｔ
ʟocalhost 127.0.0.\u200b1 127.0.0.1\u00ad loca\u200dlhost
[::1] [::] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0:1] [::127.0.0.1]
[::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:0001] [0:0:0:0:0:ffff:127.0.0.1]
[::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:7f00:0001::1] [2001:0:7f00:1::] [fe80::1] [fe80::1%25lo] [fe80::1%lo]
[::1%25lo] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [100::1] [::ffff:10.0.0.1]
[::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe] [2002:a9fe:a9fe::]
169.254.169.254 169.254.169.254. 2852039166 0xa9fea9fe 0xA9.0xFE.0xA9.0xFE 0251.0376.0251.0376
0251.254.169.254 169.254.43518 169.16689662 025177524776 169.254.170.2 100.100.100.200
168.63.129.16 192.0.0.192 10.0.0.1 10.1 012.1 0xa.1 167772161 172.16.0.1 172.1048577
192.168.0.1 192.168.1 192.11010049 3232235521 0xc0a80001 100.64.0.1 198.18.0.1 224.0.0.1
240.0.0.1 255.255.255.255 4294967295 0xffffffff 256.0.0.1 127.0.0.1.1 1.2.3.4.5
""")
WHOLE: Final = [
    "http://127.0.0.1:PORT/", "http://localhost:PORT/", "HTTP://127.0.0.1:PORT/",
    "http://93.184.215.14:PORT/", "http://[::1]:PORT/", "ftp://127.0.0.1:PORT/",
    "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:PORT/_GET",
    "data:text/plain,x", "javascript:1", "ws://127.0.0.1:PORT/", "wss://127.0.0.1:PORT/",
    "unix:///var/run/docker.sock", "http+unix://%2fvar%2frun%2fdocker.sock/", "ldap://127.0.0.1",
    "https+http://127.0.0.1:PORT/", "https:127.0.0.1:PORT", "https:/127.0.0.1:PORT/",
    "https:///127.0.0.1:PORT/", "https:////127.0.0.1:PORT/", "//127.0.0.1:PORT/", "/etc/passwd",
    "127.0.0.1:PORT", "", " ", "https://", "https://:PORT/", "https://?x", "https://#x",
    "https://example.com@127.0.0.1:PORT/", "https://127.0.0.1:PORT@127.0.0.1:PORT/",
    "https://a:b@127.0.0.1:PORT/", "https://@127.0.0.1:PORT/", "https://:@127.0.0.1:PORT/",
    "https://example.com%40127.0.0.1:PORT/", "https://example.com#@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT#@example.com/", "https://127.0.0.1:PORT?@example.com/",
    "https://127.0.0.1:PORT\\@example.com/", "https://example.com\\@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/\r\nHost: example.com", "https://127.0.0.1\t:PORT/",
    "https://127.0.0.1 :PORT/", " https://127.0.0.1:PORT/", "https://127.0.0.1:PORT/ HTTP/1.1",
    "https://127.0.0.1:0/", "https://127.0.0.1:00PORT/", "https://127.0.0.1:99999/",
    "https://127.0.0.1:-1/", "https://127.0.0.1:PORT:PORT/", "https://[127.0.0.1]:PORT/",
    "https://[::1/", "https://::1:PORT/", "https://[::1]]:PORT/", "https://[[::1]]:PORT/",
    "https://" + "a" * 300 + ".example:PORT/", "https://..:PORT/", "https://.localhost:PORT/",
    "https://a..b:PORT/", "https://-:PORT/", "https://*:PORT/", "https://127.0.0.1;:PORT/",
    "https://127.0.0.1,example.com:PORT/", "https://127.0.0.1&x:PORT/", "https://$host:PORT/",
]  # fmt: skip
NAMED: Final[dict[str, list[tuple[str, ...]]]] = {
    "rebound.example": [("127.0.0.1",)],
    "two-faced.example": [(PUBLIC, "127.0.0.1")],
    "two-faced-6.example": [(PUBLIC, "::1")],
    "last.example": [(PUBLIC, "8.8.8.8", "10.0.0.1")],
    "mapped.example": [("::ffff:127.0.0.1",)],
    "metadata.example": [("169.254.169.254",)],
    "link.example": [("fe80::1%eth0",)],
    "carrier.example": [("100.64.1.1",)],
    "old.example": [("2002:7f00:1::1",)],
    "translated.example": [("64:ff9b::7f00:1",)],
    "nothing.example": [("0.0.0.0",)],
    "private-6.example": [("fd00::1",)],
}
URLS: Final = [
    *(f"https://{host}:PORT/" for host in HOSTS),
    *WHOLE,
    *(f"https://{host}:PORT/" for host in NAMED),
]


def test_there_are_enough_urls_and_none_twice() -> None:
    assert len(URLS) == len(set(URLS)) >= 150


async def test_no_url_reaches_a_private_address(authority: trustme.CA) -> None:
    """By the system's own look-ups; nothing public is dialled, either: these are all wrong."""
    async with serving(says_ok) as server:
        names = Names({host: list(answers) for host, answers in NAMED.items()}, server)
        async with web_of(authority, names) as web:
            why = {url: await refusal(web, url.replace("PORT", str(server.port))) for url in URLS}

    assert (server.connections, server.heads, names.dialled) == (0, [], [])
    assert {one for one in why.values() if "127" in one or "local" in one} == set()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "[::ffff:127.0.0.1]"]
)
async def test_the_network_itself_is_not_asked_either(authority: trustme.CA, host: str) -> None:
    """With nothing in place of the system's resolver and sockets."""
    async with serving(says_ok) as server, web_of(authority) as web:
        why = await refusal(web, f"https://{host}:{server.port}/")

    assert why == "its address is not a public one"
    assert server.connections == 0


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_judged(
    authority: trustme.CA,
) -> None:
    async with serving(says_ok, server_tls(authority, "api.example")) as server:
        changing: list[tuple[str, ...]] = [(PUBLIC,), ("127.0.0.1",)]
        names = Names({"api.example": changing}, server)
        async with web_of(authority, names) as web:
            answer = await web.ask(Question(url="https://api.example/"))
            again = await web.ask(Question(url="https://api.example/"))

    assert answer == again == Answer(200, "application/json", b"{}")
    # One look and one connection for both; the second answer would have been the private one.
    assert (names.looks, names.dialled, server.connections) == (["api.example"], [PUBLIC], 1)
    assert changing == [("127.0.0.1",)]


async def test_a_name_that_has_changed_its_mind_is_judged_anew(authority: trustme.CA) -> None:
    async def closes(_: bytes, stream: trio.abc.Stream) -> None:
        await stream.send_all(OK.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        await stream.aclose()

    async with serving(closes, server_tls(authority, "api.example")) as server:
        names = Names({"api.example": [(PUBLIC,), ("127.0.0.1",)]}, server)
        async with web_of(authority, names) as web:
            await web.ask(Question(url="https://api.example/"))
            assert await refusal(web, "https://api.example/") == "its address is not a public one"

    assert names.dialled == [PUBLIC]
    assert server.connections == 1


async def test_the_certificate_has_to_be_the_names_and_by_somebody_known(
    authority: trustme.CA,
) -> None:
    async with serving(says_ok, server_tls(authority, "other.example")) as server:
        names = Names({"api.example": [(PUBLIC,)]}, server)
        async with web_of(authority, names) as web:
            assert await refusal(web, "https://api.example/") == "its certificate is not valid"
        async with web_of(trustme.CA(), names) as web:
            assert await refusal(web, "https://api.example/") == "its certificate is not valid"

    assert server.heads == []


# Redirects.

AWAY: Final = [
    *(f"https://{host}:PORT/" for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0")),
    "https://169.254.169.254/latest/meta-data/",
    "https://metadata.example/",
    "https://rebound.example/",
    "https://two-faced.example/",
    "//127.0.0.1:PORT/",
    "//169.254.169.254/",
    "http://127.0.0.1:PORT/",
    "http://api.example/",
    "http://169.254.169.254/latest/meta-data/",
    "https://user@127.0.0.1:PORT/",
    "https://api.example@127.0.0.1:PORT/",
    "file:///etc/passwd",
    "ftp://api.example/",
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[",
]


@pytest.mark.parametrize("location", AWAY)
async def test_a_redirect_is_judged_like_the_first_address(
    authority: trustme.CA, location: str
) -> None:
    async with serving(says_ok) as private:
        there = location.replace("PORT", str(private.port))
        away = says(f"302 Found\r\nlocation: {there}")
        async with serving(away, server_tls(authority, "api.example")) as server:
            names = Names({"api.example": [(PUBLIC,)], **NAMED}, server)
            async with web_of(authority, names) as web:
                await refusal(web, "https://api.example/")

    assert private.connections == 0
    assert names.dialled == [PUBLIC]
    assert len(server.heads) == 1


async def test_a_redirect_without_end_ends(authority: trustme.CA) -> None:
    away = says("302 Found\r\nlocation: /again")
    async with serving(away, server_tls(authority, "api.example")) as server:
        names = Names({"api.example": [(PUBLIC,)]}, server)
        async with web_of(authority, names) as web:
            why = await refusal(web, "https://api.example/")

    assert why == "it redirects more than 3 times"
    assert len(server.heads) == REDIRECTS_MAX + 1


def to_other(status: str) -> Answering:
    async def answer(head: bytes, stream: trio.abc.Stream) -> None:
        other = b"\r\nhost: other.example\r\n" in head.lower()
        away = f"HTTP/1.1 {status}\r\nlocation: https://other.example/there\r\ncontent-length: 0"
        await stream.send_all(OK if other else f"{away}\r\n\r\n".encode())

    return answer


async def test_secrets_are_for_the_host_they_were_given_for(authority: trustme.CA) -> None:
    tls = server_tls(authority, "api.example", "other.example")
    async with serving(to_other("302 Found"), tls) as server:
        names = Names({"api.example": [(PUBLIC,)], "other.example": [("8.8.8.8",)]}, server)
        async with web_of(authority, names) as web:
            headers = {"Authorization": "Bearer canary", "X-Team": "canary"}
            answer = await web.ask(Question(url="https://api.example/", headers=headers))

    assert answer.status == 200
    first, second = server.heads
    assert first.count(b"canary") == 2
    assert b"canary" not in second
    assert second.startswith(b"GET /there HTTP/1.1\r\n")
    assert names.dialled == [PUBLIC, "8.8.8.8"]


async def test_what_was_posted_is_not_posted_on_to_another_host(authority: trustme.CA) -> None:
    tls = server_tls(authority, "api.example", "other.example")
    for status in ("307 Temporary Redirect", "308 Permanent Redirect"):
        async with serving(to_other(status), tls) as server:
            names = Names({"api.example": [(PUBLIC,)], "other.example": [("8.8.8.8",)]}, server)
            async with web_of(authority, names) as web:
                why = await refusal(web, "https://api.example/", method="POST", body=b"{}")

        assert why == "it redirects a POST to another host"
        assert names.dialled == [PUBLIC]


# What an owner allows.


async def test_a_private_address_that_its_owner_allows_is_asked_also_by_http(
    authority: trustme.CA,
) -> None:
    async with serving(says_ok) as server, web_of(authority) as web:
        url = f"http://127.0.0.1:{server.port}/"
        allowed = networks(["127.0.0.1"])
        assert (await web.ask(Question(url=url, allowed=allowed))).status == 200
        # And nobody else comes in by the connection that is open now.
        assert await refusal(web, url) == "only https:// is asked"
        assert await refusal(web, url, allowed=networks(["10.0.0.0/8"])) == "only https:// is asked"
        assert await refusal(web, f"http://localhost:{server.port}/", allowed=allowed)

    assert len(server.heads) == 1


async def test_an_allowed_name_is_not_allowed_to_whoever_was_not_given_it(
    authority: trustme.CA,
) -> None:
    async with serving(says_ok, server_tls(authority, "intra.example")) as server:
        names = Names({"intra.example": [("127.0.0.1",)]}, server)
        async with web_of(authority, names) as web:
            allowed = networks(["127.0.0.0/8"])
            await web.ask(Question(url="https://intra.example/", allowed=allowed))
            assert "not a public" in await refusal(web, "https://intra.example/")

    assert len(server.heads) == 1


def test_what_is_allowed_is_not_for_those_who_redirect_there() -> None:
    allowed = networks(["127.0.0.1"])
    base = target_of("http://127.0.0.1:1/", allowed)

    assert redirected(base, "/other", allowed).path == b"/other"
    with pytest.raises(Barred):
        redirected(base, "http://127.0.0.1:2/", allowed)
    with pytest.raises(Barred):
        redirected(target_of("https://api.example/"), "http://127.0.0.1:1/", allowed)


async def test_a_redirect_to_an_allowed_address_needs_its_own_allowance(
    authority: trustme.CA,
) -> None:
    away = says("302 Found\r\nlocation: https://intra.example/")
    async with serving(away, server_tls(authority, "api.example", "intra.example")) as server:
        names = Names({"api.example": [(PUBLIC,)], "intra.example": [("127.0.0.1",)]}, server)
        async with web_of(authority, names) as web:
            url, allowed = "https://api.example/", networks(["127.0.0.1"])
            why = await refusal(web, url, allowed=allowed)

    assert why == "its address is not a public one"
    assert names.dialled == [PUBLIC]


# The proxy of the environment is for others.


async def test_no_proxy_of_the_environment_is_asked(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(says_ok) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with serving(says_ok, server_tls(authority, "api.example")) as server:
            names = Names({"api.example": [(PUBLIC,)]}, server)
            async with web_of(authority, names) as web:
                assert (await web.ask(Question(url="https://api.example/"))).status == 200

    assert proxy.connections == 0
