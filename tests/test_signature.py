from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from werkzeug.datastructures import MultiDict

from gateway.twilio.signature import is_signed, sign, variants

TOKEN = "12345"
WEBHOOK = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = [
    ("Digits", "1234"),
    ("To", "+18005551212"),
    ("From", "+14158675309"),
    ("Caller", "+14158675309"),
    ("CallSid", "CA1234567890ABCDE"),
]
STREAM = "wss://voice.example.net/ws/twilio"

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_a_form_is_signed_as_twilio_documents_it() -> None:
    assert sign(TOKEN, WEBHOOK, FORM) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize(
    ("url", "signature"),
    [(STREAM, "I2FYZhTmuVIXOF571OBjGF5ljqM="), (STREAM + "/", "k9Ws8hqL9Ca9z1pwIB4uzbHJVkw=")],
)
def test_a_stream_is_accepted_with_and_without_the_last_slash(url: str, signature: str) -> None:
    assert sign(TOKEN, url) == signature
    assert is_signed(signature, auth_token=TOKEN, url=STREAM)


@given(st.dictionaries(text, st.lists(text, min_size=1, max_size=3), max_size=5), text)
def test_what_the_official_library_signs_is_signed(form: dict[str, list[str]], token: str) -> None:
    """Repeated fields, empty values and any Unicode included."""
    pairs = [(name, value) for name, values in form.items() for value in values]
    signature = RequestValidator(token).compute_signature(WEBHOOK, MultiDict(pairs))

    assert is_signed(signature, auth_token=token, url=WEBHOOK, pairs=pairs)


@given(st.sampled_from([0, 443, 8443]), st.sampled_from(["https", "wss"]))
def test_the_default_port_may_be_written_or_not(port: int, scheme: str) -> None:
    written = f"{scheme}://host:{port}/path" if port else f"{scheme}://host/path"
    plain = f"{scheme}://host/path"

    assert (written in variants(plain)) == (port != 8443)
    assert (plain in variants(written)) == (port != 8443)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "x",
        "RSOYDt4T1cUTdK1PDd93/VVr8B8",
        "\xe9" * 28,
        "\udcff",
        "RSOYDt4T1cUTdK1PDd93/VVr8B8= ",
    ],
)
def test_anything_else_is_not_a_signature_and_nothing_raises(signature: str | None) -> None:
    assert not is_signed(signature, auth_token=TOKEN, url=WEBHOOK, pairs=FORM)


@given(st.integers(0, len(FORM) - 1), text)
def test_a_changed_field_breaks_the_signature(which: int, value: str) -> None:
    changed = list(FORM)
    changed[which] = (FORM[which][0], FORM[which][1] + "x" + value)
    signature = sign(TOKEN, WEBHOOK, FORM)

    assert not is_signed(signature, auth_token=TOKEN, url=WEBHOOK, pairs=changed)
    assert not is_signed(signature, auth_token=TOKEN + "6", url=WEBHOOK, pairs=FORM)
    assert not is_signed(signature, auth_token=TOKEN, url=WEBHOOK + "3", pairs=FORM)
