"""What the gateway says in its own voice when it asks whether something may be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

OTHERWISE: Final = "en"
"""The language of an agent that has none, or one that is not here."""


@attrs.frozen(kw_only=True)
class Phrases:
    """In one language."""

    confirm: str
    """Before the sentence that says what will be done."""
    how: str
    how_by_keys: str
    """Where nobody writes down what callers say."""
    quote: str
    end_of_quote: str
    """Around words of the caller's: whatever they say, it is clear where they end."""
    yes: str
    no: str
    nothing: str
    months: str
    weekdays: str
    signs: str
    """Of addresses: @ . - _ + as they are said."""
    minus: str
    point: str
    """Before what is behind the comma, or the point."""
    enter: str
    again: str
    wrong: str


PHRASES: Final[Mapping[str, Phrases]] = {
    "en": Phrases(
        confirm="Please confirm.",
        how="To confirm, press 1 or say yes. To refuse, press 2 or say no.",
        how_by_keys="To confirm, press 1. To refuse, press 2.",
        quote="quote",
        end_of_quote="end of quote",
        yes="yes",
        no="no",
        nothing="nothing",
        months="January February March April May June July August September October November "
        "December",
        weekdays="Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        signs="at dot hyphen underscore plus",
        minus="minus",
        point="point",
        enter="To prove that it is you, enter your secret number, then press the hash key.",
        again="That was not right. Enter your secret number again, then press the hash key.",
        wrong="That was not right.",
    ),
    "de": Phrases(
        confirm="Bitte bestätigen Sie.",
        how="Zum Bestätigen drücken Sie die 1 oder sagen Sie Ja. "
        "Zum Ablehnen drücken Sie die 2 oder sagen Sie Nein.",
        how_by_keys="Zum Bestätigen drücken Sie die 1. Zum Ablehnen drücken Sie die 2.",
        quote="Zitat",
        end_of_quote="Ende des Zitats",
        yes="ja",
        no="nein",
        nothing="nichts",
        months="Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        weekdays="Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        signs="at Punkt Bindestrich Unterstrich plus",
        minus="minus",
        point="Komma",
        enter="Zum Nachweis, dass Sie es sind, geben Sie Ihre Geheimzahl ein und dann die Raute.",
        again="Das war nicht richtig. Geben Sie Ihre Geheimzahl noch einmal ein und dann die "
        "Raute.",
        wrong="Das war nicht richtig.",
    ),
    "fr": Phrases(
        confirm="Veuillez confirmer.",
        how="Pour confirmer, appuyez sur le 1 ou dites oui. "
        "Pour refuser, appuyez sur le 2 ou dites non.",
        how_by_keys="Pour confirmer, appuyez sur le 1. Pour refuser, appuyez sur le 2.",
        quote="je cite",
        end_of_quote="fin de citation",
        yes="oui",
        no="non",
        nothing="rien",
        months="janvier février mars avril mai juin juillet août septembre octobre novembre "
        "décembre",
        weekdays="lundi mardi mercredi jeudi vendredi samedi dimanche",
        signs="arobase point tiret souligné plus",
        minus="moins",
        point="virgule",
        enter="Pour prouver que c'est vous, tapez votre code secret, puis dièse.",
        again="Ce n'est pas le bon code. Tapez votre code secret à nouveau, puis dièse.",
        wrong="Ce n'est pas le bon code.",
    ),
    "es": Phrases(
        confirm="Por favor, confirme.",
        how="Para confirmar, pulse 1 o diga sí. Para rechazar, pulse 2 o diga no.",
        how_by_keys="Para confirmar, pulse 1. Para rechazar, pulse 2.",
        quote="cito",
        end_of_quote="fin de la cita",
        yes="sí",
        no="no",
        nothing="nada",
        months="enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
        "diciembre",
        weekdays="lunes martes miércoles jueves viernes sábado domingo",
        signs="arroba punto guion subrayado más",
        minus="menos",
        point="coma",
        enter="Para demostrar que es usted, marque su número secreto y después almohadilla.",
        again="No es correcto. Marque otra vez su número secreto y después almohadilla.",
        wrong="No es correcto.",
    ),
    "it": Phrases(
        confirm="Confermi, per favore.",
        how="Per confermare, prema 1 o dica sì. Per rifiutare, prema 2 o dica no.",
        how_by_keys="Per confermare, prema 1. Per rifiutare, prema 2.",
        quote="cito",
        end_of_quote="fine della citazione",
        yes="sì",
        no="no",
        nothing="niente",
        months="gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre "
        "novembre dicembre",
        weekdays="lunedì martedì mercoledì giovedì venerdì sabato domenica",
        signs="chiocciola punto trattino sottolineato più",
        minus="meno",
        point="virgola",
        enter="Per dimostrare che è Lei, digiti il Suo codice segreto e poi cancelletto.",
        again="Non è corretto. Digiti di nuovo il Suo codice segreto e poi cancelletto.",
        wrong="Non è corretto.",
    ),
    "nl": Phrases(
        confirm="Bevestig dit alstublieft.",
        how="Druk op 1 of zeg ja om te bevestigen. Druk op 2 of zeg nee om te weigeren.",
        how_by_keys="Druk op 1 om te bevestigen. Druk op 2 om te weigeren.",
        quote="citaat",
        end_of_quote="einde citaat",
        yes="ja",
        no="nee",
        nothing="niets",
        months="januari februari maart april mei juni juli augustus september oktober november "
        "december",
        weekdays="maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        signs="apenstaartje punt streepje liggend-streepje plus",
        minus="min",
        point="komma",
        enter="Toets uw geheime nummer in om te bewijzen dat u het bent, en daarna een hekje.",
        again="Dat klopt niet. Toets uw geheime nummer nog eens in, en daarna een hekje.",
        wrong="Dat klopt niet.",
    ),
}


def phrases_of(language: str | None) -> Phrases:
    """Those of a language, by its ISO 639-1 code."""
    return PHRASES.get((language or OTHERWISE)[:2].lower(), PHRASES[OTHERWISE])
