"""Who speaks a request: a voice id and a text to a language, a variant and a pitch of eSpeak NG.

The genders are the catalogue's: a voice that is listed as female gets a female variant, one whose
gender nobody states gets the engine's plain voice. Everything follows from the id alone, so a voice
sounds the same on every machine.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from smallest_cli.models import SpeechRequest, Voice
from smallest_cli.voices import bundled_voices

V2_VOICES = (
    Voice("ryan", "Ryan", "lightning-v2", "male", "american", ("english",)),
    Voice("aditi", "Aditi", "lightning-v2", "female", "indian", ("hindi", "english")),
    Voice("anushka", "Anushka", "lightning-v2", "female", "indian", ("hindi", "english")),
    Voice("irisha", "Irisha", "lightning-v2", "female", "indian", ("hindi", "english")),
)
"""Ids of the v2 era that seeds and samples ask for (waves/api.md, 7); the rest is by their names."""

# identifiers as espeak_ListVoices has them; plain tags such as "en-gb" are refused by SetVoiceByName
LANGUAGES: Mapping[str, str] = {
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
CODES: Mapping[str, str] = {
    "english": "en", "hindi": "hi", "marathi": "mr", "kannada": "kn", "tamil": "ta", "bengali": "bn",
    "gujarati": "gu", "telugu": "te", "malayalam": "ml", "punjabi": "pa", "odia": "or", "spanish": "es",
    "german": "de", "french": "fr", "italian": "it", "dutch": "nl", "swedish": "sv", "portuguese": "pt",
    "russian": "ru", "greek": "el", "finnish": "fi", "norwegian": "no", "polish": "pl", "arabic": "ar",
    "chinese": "zh", "indonesian": "id", "japanese": "ja", "korean": "ko", "malay": "ms",
    "turkish": "tr", "vietnamese": "vi",
}  # fmt: skip
# the first word of a letter's Unicode name tells its script; the first language is the likeliest
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
class Part:
    """What eSpeak NG is told: its voice with the variant, the pitch (0 to 100), and what it speaks."""

    espeak_voice: str
    pitch: int
    language: str


@cache
def voices() -> Mapping[str, Voice]:
    """Every voice that is cast by name, by id."""
    return {voice.id: voice for voice in (*V2_VOICES, *bundled_voices())}


def cast(request: SpeechRequest) -> Part:
    """Who speaks this request."""
    voice = voices().get(request.voice) or Voice(request.voice, request.voice, "")
    language = language_of(request, voice)
    base = ENGLISH_ACCENTS.get(voice.accent, LANGUAGES["en"]) if language == "en" else LANGUAGES[language]
    gender = voice.gender if voice.gender in VARIANTS else None
    number = int.from_bytes(hashlib.sha256(voice.id.encode(errors="replace")).digest()[:8], "big")
    number, choice = divmod(number, len(VARIANTS[gender]))
    low, high = PITCHES[gender]
    variant = VARIANTS[gender][choice]
    return Part(f"{base}+{variant}" if variant else base, low + number % (high - low + 1), language)


def language_of(request: SpeechRequest, voice: Voice) -> str:
    """The language as asked for, else by the script of the text, else the voice's own (api.md, 2a)."""
    asked = request.language or request.number_language
    if asked in LANGUAGES:
        return str(asked)
    own = [CODES[name] for name in voice.languages if name in CODES] or ["en"]
    written = script_of(request.text)
    if written in SCRIPTS:
        return next((code for code in own if code in SCRIPTS[written]), SCRIPTS[written][0])
    elsewhere = {code for codes in SCRIPTS.values() for code in codes}
    return next((code for code in own if code not in elsewhere), "en")


def script_of(text: str) -> str:
    """The script other than Latin that `text` has most of; "LATIN" where it has none.

    Foreign words in Latin letters are common in every language and prove nothing; a single kana
    proves Japanese, which has more Han than kana.
    """
    found: Counter[str] = Counter()
    for character in set(text):
        if character.isalpha():
            found[unicodedata.name(character, "").partition(" ")[0]] += text.count(character)
    for kana in ("HIRAGANA", "KATAKANA"):
        if found[kana]:
            return kana
    known = [(count, script) for script, count in found.items() if script in SCRIPTS]
    return max(known)[1] if known else "LATIN"
