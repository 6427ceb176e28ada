"""A whole utterance is a yes, a no, or neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.assent import WORDS_MAX, meaning_of, words_of

YES = [
    *("Yes.", "yes yes", "Yes, please!", "Yeah, sure.", "OK, yes.", "That's right.", "YES"),
    *("Ja.", "Ja, bitte.", "ja genau", "Natürlich.", "Ja, danke schön", "ja gerne"),
    *("Oui.", "Oui, s'il vous plaît.", "D'accord.", "Bien sûr !", "Oui oui, c'est ça."),
    *("Sí.", "¡Sí, por favor!", "si claro", "De acuerdo."),
    *("Sì.", "Sì, grazie.", "Certo!", "va bene"),
    *("Ja graag.", "Dat klopt.", "Ja, alstublieft."),
    *("Sim.", "Sim, por favor.", "Isso mesmo."),
    *("Tak.", "Tak, proszę.", "Oczywiście!"),
    *("Ja tack.", "Javisst.", "Ja takk.", "Ano, prosím.", "Evet.", "EVET", "Evet, lütfen."),
]
NO = [
    *("No.", "no no", "No, thanks.", "Nope", "Don't!", "do not do it", "Cancel that, please."),
    *("Nein.", "Nein, danke.", "nee", "Auf keinen Fall!", "Non.", "Non merci.", "Nein, stop."),
    *("No, gracias.", "Claro que no", "No, grazie.", "Nee, dank u wel.", "Não.", "Não, obrigada."),
    *(
        "Nie.",
        "Nie, dziękuję.",
        "Nej tack.",
        "Nei takk.",
        "Ne, děkuji.",
        "Hay\u0131r.",
        "Hay\u0131r, sağ ol.",
    ),
]
OTHER = [
    *("Yes, but at four.", "yes no", "No, yes.", "Yes to the first one.", "What?", "Wait."),
    *("Okay.", "Please.", "Thank you.", "Mhm.", "Right.", "I said yes to him.", "yesterday"),
    *("Ja, aber um vier.", "ja nein", "Oui, mais demain.", "Sí, pero no.", "Danke.", "press 1"),
    *("Yes?", "Ja?", "¿Sí?", "Sure？", "Evet؟", "Yes, please?"),  # noqa: RUF001
    *("nothing", "I know", "note", "Yes, and delete everything.", "one", "1"),
    "yes " * (WORDS_MAX + 1),
]


@pytest.mark.parametrize("text", YES)
def test_an_affirmation_is_a_yes(text: str) -> None:
    assert meaning_of(text) == "yes"


@pytest.mark.parametrize("text", NO)
def test_a_negation_is_a_no(text: str) -> None:
    assert meaning_of(text) == "no"


@pytest.mark.parametrize("text", OTHER)
def test_whatever_says_more_is_neither(text: str) -> None:
    assert meaning_of(text) == "other"


@pytest.mark.parametrize(
    ("text", "language", "meaning"),
    [
        ("Ja, ja, ja.", "es", "other"),
        ("Tak.", "da", "other"),
        ("Tak.", "cs", "other"),
        ("Tak.", "pl", "yes"),
        ("Ja tak.", "da", "yes"),
        ("Ja.", "de-AT", "yes"),
        ("Ja.", "fi", "yes"),
        ("Ja.", None, "yes"),
        ("Yes, please.", "es", "yes"),
        ("Sí.", "ES", "yes"),
        ("Nein.", "es", "no"),
    ],
)
def test_a_yes_is_one_in_the_callers_language_and_a_no_in_any(
    text: str, language: str | None, meaning: str
) -> None:
    assert meaning_of(text, language) == meaning


@pytest.mark.parametrize("text", ["", " ", "...", "…!?", "\u200b", "'"])
def test_a_text_without_words_says_nothing(text: str) -> None:
    assert meaning_of(text) == "nothing"


@given(st.text(st.characters(exclude_characters="?？؟")))  # noqa: RUF001
def test_any_text_has_a_meaning_and_its_words_alone_decide_it(text: str) -> None:
    assert meaning_of(text) == meaning_of(" ".join(words_of(text)).upper().lower())


@given(st.sampled_from(YES), st.sampled_from(NO))
def test_a_no_beside_a_yes_is_never_a_yes(yes: str, no: str) -> None:
    assert meaning_of(f"{yes} {no}") != "yes"
    assert meaning_of(f"{no} {yes}") != "yes"


@given(st.sampled_from(YES), st.text(st.sampled_from("bcdfghkm"), min_size=4, max_size=9))
def test_a_word_that_is_not_known_spoils_a_yes(yes: str, word: str) -> None:
    assert meaning_of(f"{yes} {word}") == "other"
    assert meaning_of(f"{word} {yes}") == "other"
