"""Where sentences end: stops, and what only looks like one.

It reads no language: it goes by stops, blanks and a list of abbreviations, and where it is not sure that
a sentence ends it goes on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

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


_STOPS = ".!?…؟۔։።፧‼⁇⁈⁉"
_FIRM = "!?؟‼⁇⁈⁉"
"""Stops that no word has for itself; within a quotation the sentence around it may go on."""
_SCRIPT_STOPS = "。！？．｡।॥။។៕"
"""Stops of scripts in which they need no blank behind them."""
_CLOSERS = "\"'”’»›)}」』）】*_\\]"
_STOP = re.compile(
    f"(?P<stops>(?<![{_STOPS}])[{_STOPS}]++)(?P<closers>[{_CLOSERS}]*+)(?P<blanks>\\s+|$)"
    f"|(?P<script>[{_SCRIPT_STOPS}][{_SCRIPT_STOPS}{_STOPS}]*)[{_CLOSERS}]*\\s*"
    "|\n\\s*"
)
CLAUSE_END = re.compile(f"[,;:—–،؛][{_CLOSERS}]*\\s+|[、，；：][{_CLOSERS}]*\\s*")
SPOKEN = re.compile(r"[^\W_]")
_NEXT_WORD = re.compile(r"[\"'“‘„«(\[¿¡*_]*(.?)", re.DOTALL)
_WORD_BEFORE = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_]{1,2})*|[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_LIST_MARK = re.compile(r"(?:^|[:;]\s)\s*[(\[]?(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})$")
_ADDRESS = re.compile(r"[./@=]\w")
_ELLIPSIS = re.compile("[.…]{2,}|…")
_QUOTATION = ("“”", "「」", "『』", "（）", "()")
LONGEST_MARK = 24
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        """mr mrs ms messrs dr phd prof rev hon st mt ft ave blvd vs etc eg ie cf al inc ltd co corp jr sr
        dept est approx gen col sgt capt lt maj cmdr adm gov sen rep pres ed eds usw bzw ca evtl ggf inkl zzgl
        bspw vgl sog geb hr fr frl mme mlle mgr av sra srta dra ud uds""",
    )
)
_BEFORE_NUMBERS = frozenset(
    re.findall(
        r"\w+",
        """no nos vol vols pp fig figs sec ch eq art nr abs str pág núm tel
        jan feb mar apr jun jul aug sep sept oct nov dec""",
    )
)


def sentence_ends(text: str, *, arriving: bool = False) -> Iterator[int]:
    """Where sentences end, after their closing marks and blanks; each has a letter or digit in it.

    A line end is taken for a paragraph's. Of text that is `arriving`, only the ends that are certain.
    """
    began = looked = 0
    spoken = False
    for match in _STOP.finditer(text):
        spoken = spoken or SPOKEN.search(text, looked, match.end()) is not None
        looked = match.end()
        if not (spoken and _is_end(text, began, match)):
            continue
        if arriving and looked == len(text) and not _is_certain(text[began:], match):
            continue
        began, spoken = looked, False
        yield began


def _is_end(text: str, began: int, match: re.Match[str]) -> bool:
    if joined(text, match.end()):
        return False
    if "\n" in match[0]:
        return True
    if match["script"]:
        return not (match[0] == "．" and text[match.end() : match.end() + 1].isdecimal())
    if match["stops"][-1] in _FIRM and not match["closers"]:
        return True
    following = _NEXT_WORD.match(text, match.end())
    behind = following[1] if following else ""
    if behind.islower():
        return False
    return match["stops"] != "." or not _belongs_to_word(text, began, match.start(), behind)


def _belongs_to_word(text: str, began: int, stop: int, behind: str) -> bool:
    """Whether the full stop at `stop` is an abbreviation's, an initial's or a list mark's."""
    before = text[max(began, stop - LONGEST_MARK) : stop]
    word = _word_before(before)
    if word in _BEFORE_NUMBERS:
        return behind.isdecimal()
    if word in _ABBREVIATIONS or _INITIALS.fullmatch(word):
        return True
    return _LIST_MARK.search(before) is not None


def _word_before(text: str) -> str:
    word = _WORD_BEFORE.search(text)
    return word[0].lower() if word else ""


def _is_certain(sentence: str, match: re.Match[str]) -> bool:
    """Whether nothing that may follow shows the end of `sentence`, the last text so far, to be none."""
    if "\n" in match[0]:
        return True
    if match["script"]:
        return match["script"] != "．" and not _in_quotation(sentence)
    if match["blanks"]:
        before = match.string[max(0, match.start() - LONGEST_MARK) : match.start()]
        return not _ELLIPSIS.fullmatch(match["stops"]) and _word_before(before) not in _BEFORE_NUMBERS
    word = sentence.rsplit(None, 1)[-1]
    return sentence[-1] in _FIRM and not _ADDRESS.search(word) and not _in_quotation(sentence)


def _in_quotation(sentence: str) -> bool:
    """Whether a closing mark is still to come, which would belong to this sentence."""
    unclosed = any(sentence.count(pair[0]) > sentence.count(pair[1]) for pair in _QUOTATION)
    return unclosed or sentence.count('"') % 2 == 1
