"""Which texts are mail addresses, and whom a list of recipients allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.configuration.mail_address import address_of, allowed_recipient, recipient_of

LISTED = ("Anna@Example.com", "*@example.org", "*@bücher.example")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.com", "anna@example.com"),
        ("Anna.B+tag@Example.COM", "Anna.B+tag@example.com"),
        ("o'hara@example.com", "o'hara@example.com"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("anna@BÜCHER.example", "anna@xn--bcher-kva.example"),
        ("anna@xn--bcher-kva.example", "anna@xn--bcher-kva.example"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_an_address_is_its_plain_form(text: str, address: str) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("anna", id="no-domain"),
        pytest.param("@example.com", id="nobody"),
        pytest.param("Anna <anna@example.com>", id="display-name"),
        pytest.param("<anna@example.com>", id="brackets"),
        pytest.param("anna(b)@example.com", id="comment"),
        pytest.param("anna@example.com(b)", id="comment-behind"),
        pytest.param('"anna b"@example.com', id="quoted"),
        pytest.param("anna@example.com,eve@example.net", id="two"),
        pytest.param("anna@example.com;eve@example.net", id="two-otherwise"),
        pytest.param("anna@example.com eve@example.net", id="two-by-space"),
        pytest.param("friends:anna@example.com;", id="group"),
        pytest.param("@a.example:anna@example.com", id="source-route"),
        pytest.param("eve%example.net@example.com", id="percent-route"),
        pytest.param("example.net!eve@example.com", id="bang-route"),
        pytest.param("anna@eve@example.com", id="two-at"),
        pytest.param("anna@example.com\r\nBcc: eve@example.net", id="header"),
        pytest.param("anna\n@example.com", id="line-break"),
        pytest.param("anna@example.com\n", id="line-break-behind"),
        pytest.param("anna@example.com ", id="space-behind"),
        pytest.param("anna\0@example.com", id="nul"),
        pytest.param("anna@[127.0.0.1]", id="literal"),
        pytest.param("anna@127.0.0.1", id="number"),
        pytest.param("anna@example..com", id="empty-label"),
        pytest.param("anna@example.com.", id="last-dot"),
        pytest.param("anna@-example.com", id="hyphen"),
        pytest.param("anna@exa_mple.com", id="underscore"),
        pytest.param(".anna@example.com", id="dot-first"),
        pytest.param("-oX@example.com", id="option"),
        pytest.param("*@example.com", id="anybody"),
        pytest.param("änna@example.com", id="local-part-not-ascii"),
        pytest.param("\u017fam@example.com", id="long-s"),
        pytest.param("anna@straße.example", id="two-ways-to-read"),
        pytest.param("anna@\uff45xample.com", id="full-width"),
        pytest.param("anna@example。com", id="other-dot"),
        pytest.param("anna\uff20example.com", id="other-at"),
        pytest.param("anna@exam\u200dple.com", id="unseen"),
        pytest.param("anna@example.com\u202e", id="turned"),
        pytest.param("anna@\ud800.com", id="half-a-pair"),
        pytest.param("a" * 65 + "@example.com", id="long-local-part"),
        pytest.param("a@" + "b." * 130 + "com", id="long"),
    ],
)
def test_what_is_more_or_less_than_an_address_is_none(text: str) -> None:
    assert address_of(text) is None
    assert allowed_recipient(text, ["anna@example.com", "*@example.com", "*@*"]) is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.com", "Anna@example.com"),
        ("ANNA@EXAMPLE.COM", "Anna@example.com"),
        ("anyone@example.org", "anyone@example.org"),
        ("anyone@EXAMPLE.org", "anyone@example.org"),
        ("eve@xn--bcher-kva.example", "eve@xn--bcher-kva.example"),
        ("eve@bücher.example", "eve@xn--bcher-kva.example"),
        ("anna+tag@example.com", None),
        ("nanna@example.com", None),
        ("anna@example.com.evil.example", None),
        ("anna@sub.example.com", None),
        ("anyone@sub.example.org", None),
        ("anyone@badexample.org", None),
        ("eve@bucher.example", None),
        ("\u0430nna@example.com", None),  # A Cyrillic letter.
    ],
)
def test_only_whom_the_list_has_is_written_to_as_the_list_spells_them(
    text: str, address: str | None
) -> None:
    assert allowed_recipient(text, LISTED) == address


@pytest.mark.parametrize("entry", ["*", "*@*", "*@", "@example.com", "*@*.example.com", "", "a@*"])
def test_no_entry_stands_for_more_than_one_domain(entry: str) -> None:
    assert recipient_of(entry) is None
    assert allowed_recipient("anna@example.com", [entry]) is None


PIECES = st.lists(
    st.sampled_from(
        [
            *("anna", "eve", "@", ".", "example", "com", "org", ",", " ", "\r\n", "<", ">", "%"),
            *("!", "*", "ü", "ß", "\u202e", "\uff45", "(", '"', "xn--", ":", ";", "-", "\0", "。"),
        ]
    ),
    max_size=12,
).map("".join)


@given(st.one_of(PIECES, st.text(max_size=40), st.emails()))
def test_whatever_is_allowed_is_one_plain_address_of_the_list(text: str) -> None:
    address = allowed_recipient(text, LISTED)

    if address is not None:
        local, _, domain = address.partition("@")
        assert address.isascii()
        assert address.count("@") == 1
        assert not set(address) & set('\r\n \t,;:<>()[]"\\%!*\0')
        assert local
        assert address == "Anna@example.com" or domain in {
            "example.org",
            "xn--bcher-kva.example",
        }
        assert address_of(address) == address
