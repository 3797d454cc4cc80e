"""Which characters belong together for the eye: the greater part of Unicode's annex 29, and no more.

It names no languages and keeps no tables: where the annex would need one it joins too much rather than
too little, so that no letter loses a mark.
"""

from __future__ import annotations

import unicodedata

VIRAMA = 9
_JOINERS = "\u200c\u200d"
_SPACING = "\u0e33\u0eb3\uff9e\uff9f"
"""Letters by category that are drawn on the letter before: Thai and Lao AM, halfwidth voicing marks."""
_PREPENDED = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd"


def joined(text: str, at: int) -> bool:
    """Whether a cut at `at` would part what a person sees as one character."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    return (
        _extends(after)
        or before == "\u200d"
        or before in _PREPENDED
        or (unicodedata.combining(before) == VIRAMA and after.isalpha())
        or _is_syllable(before, after)
        or _is_flag(text, at)
        or (before, after) == ("\r", "\n")
    )


def whole_characters(text: str, at: int) -> int:
    """The last place up to `at`, at least 1, that parts no character and has no blank behind it.

    Where every place has a blank behind it that is let go; a character longer than `at` is cut there.
    """
    last = 0
    for place in range(at, 0, -1):
        if not joined(text, place):
            if not text[place : place + 1].isspace():
                return place
            last = last or place
    return last or at


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character)[0] == "M"
        or character in _JOINERS
        or character in _SPACING
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin
        or "\U000e0020" <= character <= "\U000e007f"  # tags, as in the flag of Scotland
    )


def _is_syllable(before: str, after: str) -> bool:
    """Whether parts of a Hangul syllable meet: a leading one and any, or any and a later one."""
    if _is_leading(before):
        return _is_leading(after) or _is_later(after) or "\uac00" <= after <= "\ud7a3"
    return _is_later(after) and (_is_later(before) or "\uac00" <= before <= "\ud7a3")


def _is_leading(character: str) -> bool:
    return "\u1100" <= character <= "\u115f" or "\ua960" <= character <= "\ua97c"


def _is_later(character: str) -> bool:
    return "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"


def _is_flag(text: str, at: int) -> bool:
    """Whether the halves of one flag meet: of a run of halves, the first and second, third and fourth."""
    if not (_is_flag_half(text[at - 1]) and _is_flag_half(text[at])):
        return False
    began = at
    while began and _is_flag_half(text[began - 1]):
        began -= 1
    return (at - began) % 2 == 1


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
