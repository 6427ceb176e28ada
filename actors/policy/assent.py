"""Whether somebody said yes or no, from all the words of one utterance.

Pure. An utterance counts only as a whole: "yes, but at four" is neither. What merely shows that
somebody listens ("okay", "mhm", "right") is no yes by itself.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

import attrs

Meaning = Literal["yes", "no", "other", "nothing"]
"""`nothing`: no words at all, as of a cough."""

WORDS_MAX: Final = 12
"""Longer than anybody says only yes."""

_QUESTION_MARKS: Final = "?？؟"  # noqa: RUF001 (other scripts have their own)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text without case, accents and punctuation."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    letters = (" " if _separates(one) else one for one in plain if not unicodedata.combining(one))
    return tuple("".join(letters).split())


def meaning_of(text: str, language: str | None = None) -> Meaning:
    """What an utterance says.

    A no in any language known here is a no. A yes is one in theirs, or in English: "ja, ja, ja" is
    how a Spaniard laughs, and "tak" is how a Dane says thanks.

    Args:
        text: All of it.
        language: ISO 639-1, of what they speak. `None`, or none of those here: any.

    """
    words = words_of(text)
    if not words:
        return "nothing"
    if len(words) > WORDS_MAX:
        return "other"
    said = {code: tongue.meaning_of(words) for code, tongue in _TONGUES.items()}
    if "no" in said.values():
        return "no"
    code = (language or "")[:2].lower()
    theirs = [said[code], said["en"]] if code in said else said.values()
    # "Yes?" is how people answer a telephone, and "sure?" is a question back.
    is_asked = any(sign in text for sign in _QUESTION_MARKS)
    return "yes" if "yes" in theirs and not is_asked else "other"


@attrs.frozen
class _Tongue:
    """How one language says it."""

    yes: frozenset[tuple[str, ...]]
    no: frozenset[tuple[str, ...]]
    polite: frozenset[tuple[str, ...]]
    """What may stand beside either, and says neither."""

    @classmethod
    def of(cls, *, yes: str, no: str, polite: str) -> _Tongue:
        """From phrases with commas between them."""
        return cls(*(frozenset(map(words_of, phrases.split(","))) for phrases in (yes, no, polite)))

    def meaning_of(self, words: tuple[str, ...]) -> Literal["yes", "no", "other"]:
        """What these words say if they are nothing but phrases of one kind."""
        if self._consists(words, self.yes):
            return "yes"
        return "no" if self._consists(words, self.no) else "other"

    def _consists(self, words: tuple[str, ...], kind: frozenset[tuple[str, ...]]) -> bool:
        """Whether the words are phrases of this kind and polite ones, at least one of the kind."""
        # For each place that phrases reach: whether one of the kind is among them.
        reached: list[set[bool]] = [{False}, *(set[bool]() for _ in words)]
        for start, ways in enumerate(reached):
            if not ways:
                continue
            for end in range(start + 1, len(words) + 1):
                phrase = words[start:end]
                if phrase in kind:
                    reached[end].add(True)
                if phrase in self.polite:
                    reached[end] |= ways
        return True in reached[-1]


def _separates(one: str) -> bool:
    """Whether a character stands between words. An apostrophe does: all phrases are split alike."""
    return not one.isalnum()


# Short on purpose: what is missing here is asked again, what is too much here books a flight.
_TONGUES: Final = {
    "en": _Tongue.of(  # English
        yes="yes,yeah,yep,yup,sure,of course,correct,that's correct,that is correct,that's right,"
        "that is right,absolutely,definitely,exactly,go ahead,do it,do that,please do,yes I do,"
        "I confirm,confirm,confirmed,yes I confirm,yes it is,yes that's fine,that's fine",
        no="no,nope,nah,no way,don't,do not,don't do it,do not do it,don't do that,cancel,"
        "cancel it,cancel that,stop,stop it,never,no I don't,no it isn't,not now",
        polite="please,thank you,thanks,ok,okay,sir,madam,very much,uh,um,well",
    ),
    "de": _Tongue.of(  # German
        yes="ja,jawohl,jo,jep,ja genau,genau,richtig,das ist richtig,stimmt,das stimmt,"
        "natürlich,selbstverständlich,auf jeden Fall,klar,sicher,gerne,ja gerne,"
        "mach das,machen Sie das,bestätigt,ich bestätige,ja machen wir so",
        no="nein,nee,nö,ne,auf keinen Fall,bitte nicht,nicht,nein nicht,stopp,stop,abbrechen,halt,"
        "lieber nicht,lass das,lassen Sie das",
        polite="bitte,danke,bitte schön,danke schön,okay,ok,äh,ähm,sehr,vielen Dank",
    ),
    "fr": _Tongue.of(  # French
        yes="oui,ouais,oui oui,d'accord,bien sûr,exactement,exact,c'est exact,c'est ça,"
        "tout à fait,absolument,certainement,je confirme,allez-y,vas-y,volontiers",
        no="non,nan,pas du tout,surtout pas,non pas ça,annulez,annule,arrêtez,arrête,stop",
        polite="s'il vous plaît,s'il te plaît,merci,merci beaucoup,ok,okay,euh,monsieur,madame",
    ),
    "es": _Tongue.of(  # Spanish
        yes="sí,claro,claro que sí,por supuesto,correcto,es correcto,exacto,exactamente,"
        "de acuerdo,confirmo,lo confirmo,adelante,hágalo,hazlo,desde luego",
        no="no,no no,claro que no,para nada,no lo haga,no lo hagas,cancele,cancela,pare,para",
        polite="por favor,gracias,muchas gracias,ok,okay,eh,señor,señora",
    ),
    "it": _Tongue.of(  # Italian
        yes="sì,certo,certamente,esatto,esattamente,corretto,è corretto,giusto,d'accordo,"
        "confermo,lo confermo,va bene,sì va bene,proceda,procedi,assolutamente sì",
        no="no,assolutamente no,non farlo,non lo faccia,annulla,annulli,fermo,si fermi,per niente",
        polite="per favore,per piacere,prego,grazie,grazie mille,ok,okay,ehm,signore,signora",
    ),
    "nl": _Tongue.of(  # Dutch
        yes="ja,jazeker,jawel,zeker,inderdaad,klopt,dat klopt,correct,natuurlijk,graag,ja graag,"
        "precies,ik bevestig,doe maar,uiteraard",
        no="nee,neen,nee hoor,niet doen,zeker niet,liever niet,annuleer,annuleren,stop",
        polite="alstublieft,alsjeblieft,dank u,dank u wel,dank je,dank je wel,bedankt,ok,oké,eh",
    ),
    "pt": _Tongue.of(  # Portuguese
        yes="sim,claro,claro que sim,com certeza,certo,correto,está correto,isso,isso mesmo,"
        "exato,exatamente,de acordo,confirmo,eu confirmo,pode fazer,pode ser,pode sim",
        no="não,claro que não,de jeito nenhum,nada disso,não faça isso,cancele,cancela,pare,para",
        polite="por favor,se faz favor,obrigado,obrigada,muito obrigado,muito obrigada,ok,okay,eh",
    ),
    "pl": _Tongue.of(  # Polish; "no" is a yes there, and is not taken for one.
        yes="tak,tak tak,oczywiście,dokładnie,zgadza się,tak zgadza się,potwierdzam,jasne,pewnie,"
        "proszę bardzo,zgoda,tak jest",
        no="nie,nie nie,nie chcę,w żadnym razie,absolutnie nie,anuluj,proszę nie,stop",
        polite="proszę,dziękuję,dzięki,ok,okej,pan,pani,eee",
    ),
    "sv": _Tongue.of(  # Swedish
        yes="ja,japp,jo,javisst,absolut,precis,det stämmer,stämmer,gärna,ja gärna,självklart,"
        "korrekt,jag bekräftar,bekräftat,gör det",
        no="nej,nä,nej då,absolut inte,gör det inte,helst inte,avbryt,stopp,inte",
        polite="tack,tack så mycket,snälla,ok,okej,eh",
    ),
    "no": _Tongue.of(  # Norwegian
        yes="ja,jepp,javisst,ja visst,absolutt,nettopp,det stemmer,stemmer,gjerne,ja gjerne,"
        "selvfølgelig,korrekt,jeg bekrefter,bekreftet,gjør det",
        no="nei,nei da,absolutt ikke,ikke gjør det,helst ikke,avbryt,stopp,ikke",
        polite="takk,tusen takk,vær så snill,ok,okei,eh",
    ),
    "da": _Tongue.of(  # Danish; "tak" is thanks there.
        yes="ja,jo,jep,jada,ja da,javist,ja gerne,gerne,præcis,det stemmer,stemmer,selvfølgelig,"
        "korrekt,jeg bekræfter,bekræftet,gør det",
        no="nej,næ,nej da,absolut ikke,gør det ikke,helst ikke,afbryd,stop,ikke",
        polite="tak,mange tak,tusind tak,ok,okay,øh",
    ),
    "cs": _Tongue.of(  # Czech
        yes="ano,jo,ano ano,jistě,samozřejmě,přesně,přesně tak,souhlasí,to souhlasí,potvrzuji,"
        "určitě",
        no="ne,ne ne,v žádném případě,rozhodně ne,zrušit,zrušte,stop,nechci",
        polite="prosím,děkuji,díky,ok,okej,ehm",
    ),
    "tr": _Tongue.of(  # Turkish
        yes="evet,tabii,tabii ki,elbette,doğru,kesinlikle,aynen,onaylıyorum,olur,evet olur",  # noqa: RUF001 (it is Turkish)
        no="hayır,yok,olmaz,istemiyorum,iptal,iptal et,dur,kesinlikle hayır",  # noqa: RUF001
        polite="lütfen,teşekkürler,teşekkür ederim,sağ ol,tamam,efendim",
    ),
}
