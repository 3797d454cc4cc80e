"""Map a voice id and a text to a language, variant and pitch of eSpeak NG.

The gender is from the catalogue: a female voice gets a female variant, one of unknown gender the default
voice. Everything else depends on the id only, so a voice sounds the same on every machine.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from smallest_cli.models import SpeechRequest, Voice
from smallest_cli.voices import LANGUAGES, bundled_voices

# Voice ids of v2 in the vendor's samples (waves/api.md, 7); gender and accent are inferred from names.
V2_VOICES = (
    Voice("ryan", "Ryan", "lightning-v2", "male", "american", ("english",)),
    Voice("aditi", "Aditi", "lightning-v2", "female", "indian", ("hindi", "english")),
    Voice("anushka", "Anushka", "lightning-v2", "female", "indian", ("hindi", "english")),
    Voice("irisha", "Irisha", "lightning-v2", "female", "indian", ("hindi", "english")),
)
# Voices in use that are not in the catalogue (waves/api.md, 0.8 and 0.9).
UNLISTED_VOICES = (
    Voice("maverick", "Maverick", "", "male", "american", ("english",)),
    Voice("kelsey", "Kelsey", ""),
    Voice("sloane", "Sloane", "lightning_v3.2"),
)

# Identifiers of espeak_ListVoices: SetVoiceByName rejects plain tags such as "en-gb".
ESPEAK_LANGUAGES: Mapping[str, str] = {
    "en": "gmw/en-US", "hi": "inc/hi", "mr": "inc/mr", "kn": "dra/kn", "ta": "dra/ta", "bn": "inc/bn",
    "gu": "inc/gu", "te": "dra/te", "ml": "dra/ml", "pa": "inc/pa", "or": "inc/or", "es": "roa/es",
    "de": "gmw/de", "fr": "roa/fr", "it": "roa/it", "nl": "gmw/nl", "sv": "gmq/sv", "pt": "roa/pt",
    "ru": "zle/ru", "el": "grk/el", "fi": "urj/fi", "no": "gmq/nb", "pl": "zlw/pl", "ar": "sem/ar",
    "zh": "sit/cmn", "id": "poz/id", "ja": "jpx/ja", "ko": "ko", "ms": "poz/ms", "tr": "trk/tr",
    "vi": "aav/vi", "he": "sem/he",
}  # fmt: skip
ENGLISH_ACCENTS: Mapping[str | None, str] = {
    "american": "gmw/en-US", "canadian": "gmw/en-US", "british": "gmw/en-GB-x-rp",
    "australian": "gmw/en", "indian": "gmw/en", None: "gmw/en-US",
}  # fmt: skip
# Keyed by the first word of a letter's Unicode name; the first language is the most likely one.
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "DEVANAGARI": ("hi", "mr"), "TAMIL": ("ta",), "TELUGU": ("te",), "KANNADA": ("kn",),
    "MALAYALAM": ("ml",), "GUJARATI": ("gu",), "GURMUKHI": ("pa",), "BENGALI": ("bn",), "ORIYA": ("or",),
    "ARABIC": ("ar",), "HEBREW": ("he",), "CYRILLIC": ("ru",), "GREEK": ("el",), "CJK": ("zh", "ja"),
    "HIRAGANA": ("ja",), "KATAKANA": ("ja",), "HANGUL": ("ko",),
}  # fmt: skip

VARIANTS: Mapping[str | None, tuple[str, ...]] = {
    "female": ("f1", "f2", "f3", "f4", "f5", "steph", "linda"),
    "male": ("m1", "m2", "m3", "m4", "m6", "m7", "m8"),
    None: ("",),
}
PITCHES: Mapping[str | None, tuple[int, int]] = {"female": (42, 66), "male": (34, 58), None: (40, 60)}


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """An eSpeak NG voice with its variant, the pitch (0 to 100), and the language code it speaks."""

    name: str
    pitch: int
    language: str


@cache
def voices_by_id() -> Mapping[str, Voice]:
    """All voices with known properties."""
    return {voice.id: voice for voice in (*V2_VOICES, *UNLISTED_VOICES, *bundled_voices())}


def resolve_espeak_voice(request: SpeechRequest) -> EspeakVoice:
    """Choose the eSpeak NG voice for a request."""
    voice = voices_by_id().get(request.voice) or Voice(request.voice, request.voice, "")
    language = resolve_language(request, voice)
    base = ESPEAK_LANGUAGES[language]
    if language == "en":
        base = ENGLISH_ACCENTS.get(voice.accent, base)
    gender = voice.gender if voice.gender in VARIANTS else None
    # A digest of the id selects variant and pitch: the same everywhere, different for most voices.
    digest = int.from_bytes(hashlib.sha256(voice.id.encode(errors="replace")).digest()[:8], "big")
    digest, choice = divmod(digest, len(VARIANTS[gender]))
    low, high = PITCHES[gender]
    variant = VARIANTS[gender][choice]
    return EspeakVoice(f"{base}+{variant}" if variant else base, low + digest % (high - low + 1), language)


def resolve_language(request: SpeechRequest, voice: Voice) -> str:
    """Return the requested language, else that of the script, else the voice's (waves/api.md, 2a)."""
    requested = request.language or request.number_language
    # v2 does not validate number_pronunciation_language: it may be of any type.
    if isinstance(requested, str) and requested in ESPEAK_LANGUAGES:
        return requested
    own = [code for name in voice.languages for code in LANGUAGES if LANGUAGES[code] == name] or ["en"]
    script = dominant_script(request.text)
    if script in SCRIPTS:
        return next((code for code in own if code in SCRIPTS[script]), SCRIPTS[script][0])
    not_latin = {code for codes in SCRIPTS.values() for code in codes}
    return next((code for code in own if code not in not_latin), "en")


def dominant_script(text: str) -> str:
    """Return the most frequent script other than Latin; "LATIN" if there is no other.

    Latin words occur in every language and are ignored; a single kana means Japanese, which
    is written with more Han than kana.
    """
    counts: Counter[str] = Counter()
    for character in set(text):
        if character.isalpha():
            counts[unicodedata.name(character, "").partition(" ")[0]] += text.count(character)
    for kana in ("HIRAGANA", "KATAKANA"):
        if counts[kana]:
            return kana
    known = [(count, script) for script, count in counts.items() if script in SCRIPTS]
    return max(known)[1] if known else "LATIN"
