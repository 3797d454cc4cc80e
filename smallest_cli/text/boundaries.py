"""Sentence ends in complete text and in text that is arriving.

The rules look at a stop, the word before it and the words after it. They know abbreviations, initials,
ordinal numbers and quotes of many languages at once; abbreviations that are words of other languages are
only used where the language is known. In doubt no sentence ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smallest_cli.text import abbreviations as known
from smallest_cli.text.graphemes import splits_grapheme

_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963"
    "\u0966-\u0df3\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u102b-\u103e"
    "\u17b4-\u17d3\u200c\u200d"
)
"""Combining marks, which `\\w` does not match, and the blocks of Indic scripts, which are full of them."""
_VIRAMAS = "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d"
_L = f"(?:[^\\W_]|[{_MARKS}])"
"""A letter, digit or mark."""

_FINAL_STOPS = "!?؟‼⁇⁈⁉！？;:"
"""Stops that are never part of a word."""
_FULL_STOPS = "。｡।॥៕።፧։۔᱾᱿꯫෴"
"""Full stops of scripts in which a blank may be missing after them."""
_SCRIPT_STOPS = _FULL_STOPS + "！？．؟។"
_GREEK, _ARMENIAN = "\u0370-\u03ff\u1f00-\u1fff", "\u0531-\u0587"
_STOPS = ".!?…‼⁇⁈⁉" + _SCRIPT_STOPS
CLOSERS = "\"'”’»›)}」』）】》〉〕〗］｝*_\\]"
_QUOTES = "\"'”’»›“‘«」』"
_STOP = re.compile(
    # In Greek a semicolon, in Armenian often a colon. Stops may have blanks between them.
    f"(?P<stops>(?:[{_STOPS}]+|(?<=[{_GREEK}]);|(?<=[{_ARMENIAN}]):(?=\\s|$))"
    "(?:(?:[ \u00a0][.!?…]+(?=\\s|$))+|(?<=॥)\\s?\\d{1,4}\\s?॥)?)"
    # A “ or « is closing in some languages, and a » may have a blank before it.
    f"(?P<closers>(?:\\[\\d{{1,3}}\\]|[{CLOSERS}]+|[“‘«](?=[\\s,.;:)]|$)"
    "|[ \u00a0\u202f]»(?=[\\s,.;:!?)]|$))*)"
    "(?P<blanks>\\s*)|\n\\s*"
)
_NEXT = re.compile(f"(?P<dash>[—–-]+\\s*)?[\"'“‘„«»‚‹›(\\[¿¡*_「『]*(?P<word>{_L}*)")
_LAST_WORD = re.compile(f"{_L}+(?:\\.{_L}+)*$")
_PREVIOUS_WORD = re.compile(f"({_L}+)[^\\w.]+$")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_]{1,2})*|[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_LIST_NUMBER = re.compile(r"(?:^|[:;]\s)\s*[(\[]?(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})$")
_NO_VOWEL = re.compile(
    r"(?!.*(.)\1)(?:[BCDFGHJKLMNPQRSTVWXZbcdfghjklmnpqrstvwxzß][bcdfghjklmnpqrstvwxzß]{1,4}"
    r"|[БВГДЖЗКЛМНПРСТФХЦЧШЩбвгджзклмнпрстфхцчшщ][бвгджзклмнпрстфхцчшщ]{1,4})"
)
_ABBREVIATION_BEFORE = re.compile(r"[^\W\d_]{2}\.\s$")
_INITIAL_BEFORE = re.compile(r"(?:^|\s)([^\s.]+)\.\s*$")
_SECOND_PART = re.compile(r"\b[^\W\d_]\.\s[^\W\d_]{2,3}$")
_TIME = re.compile(r"(?i)(?<![^\W\d_])[ap]\.\s?m$")
_LAST_PARTS = frozenset(("д", "п", "др", "пр", "э", "chr"))
_LAST_WORDS = re.compile(r"(?i)\bи\s+(?:т\.\s?[дп]|др|пр)$|\bн\.\s?э$|\b[vn]\.\s?Chr$")
_ROMAN = re.compile(r"[IVXLC]+")
_ELLIPSIS = re.compile(r"[.…\s]{2,}|…")
_CLAUSE = re.compile('[^.!?…。！？।۔,，、:;；\n“"「«]*')
_SEPARATORS = frozenset(",;:/、，；：،؛")
_EMOTICON = re.compile(r"[:;][-']?[()DPp]")
_PAIRS = ("“”", "「」", "『』", "（）", "()")
_LOOKBEHIND = 32
"""Characters before a stop in which its words are looked for."""
_LOOKAHEAD = 60
"""Characters after a quote in which a verb of speech is looked for."""
_LONG_SENTENCE = 500
"""Characters of a sentence in which quotes are counted: all would take quadratic time."""
SPOKEN = re.compile(r"[^\W_]")
"""A letter or digit: text without any cannot be spoken."""


def sentence_ends(text: str, *, arriving: bool = False, language: str | None = None) -> Iterator[int]:
    """Yield the end of each sentence, after its closing marks and blanks.

    Every sentence has a letter or digit. A line end counts as a paragraph's end. For text that is `arriving`,
    an end at which more text could still continue the sentence is left out. `language`: an ISO code; None
    or "auto" uses what is common to all.
    """
    own = known.own_abbreviations(language)
    start = searched = 0
    spoken = False
    for match in _STOP.finditer(text):
        spoken = spoken or SPOKEN.search(text, searched, match.end()) is not None
        searched = match.end()
        if not spoken or not ("\n" in match[0] or _Stop(text, start, match, arriving, own).ends()):
            continue
        if not splits_grapheme(text, searched):
            start, spoken = searched, False
            yield start


class _Stop:
    """A stop with what stands around it."""

    def __init__(
        self, text: str, start: int, match: re.Match[str], arriving: bool, own: frozenset[str]
    ) -> None:
        """`start`: where the sentence starts; `own`: abbreviations of the language of the text."""
        self._text, self._start, self._own = text, start, own
        self._at, self._end = match.start(), match.end()
        self._stops, self._closers, self._blanks = match["stops"], match["closers"], match["blanks"]
        self._arriving = arriving
        self._before = text[max(start, self._at - _LOOKBEHIND) : self._at]
        following = _NEXT.match(text, self._end)
        assert following  # noqa: S101 - every part of the pattern is optional
        self._dash = following["dash"]
        self._next: str = following["word"]
        self._following = text[following.start("word") : following.start("word") + 1]
        self._after_next = text[following.end() : following.end() + 1]
        self._unknown = arriving and not self._following
        self._partial = arriving and following.end() == len(text)

    def ends(self) -> bool:
        """Whether the sentence ends here, whatever text may come."""
        if self._unknown and (self._closers or self._has_open_guillemet()):
            return False
        if any(stop in _SCRIPT_STOPS for stop in self._stops):
            return self._script_stop_ends()
        if not self._blanks:
            if self._end == len(self._text):
                return not self._arriving
            return self._is_between_ideographs()
        if not self._following and not self._arriving:
            return True
        if self._before.endswith(("(", "[")) or self._is_before_separator():
            return False
        if self._stops[-1] in _FINAL_STOPS and not self._closers:
            return self._final_stop_ends()
        if self._following.islower() and not self._is_casual():
            return False
        if self._has_quote() and self._goes_on_after_quote():
            return False
        # "I... I do": a word that is said again
        if _ELLIPSIS.fullmatch(self._stops):
            word = _last_word(self._before)
            return not self._unknown and (not word or self._next.lower() != word.lower())
        if self._stops != ".":
            return not self._unknown
        return self._word_ends()

    def _is_between_ideographs(self) -> bool:
        """Whether this is a "!" or "?" in Chinese or Japanese, where no blank follows it."""
        if self._closers or self._stops[-1] not in _FINAL_STOPS:
            return False
        return all("\u3040" <= letter <= "\u9fff" for letter in (self._before[-1:], self._text[self._end]))

    def _is_before_separator(self) -> bool:
        return self._following in _SEPARATORS and not _EMOTICON.match(self._text, self._end)

    def _is_casual(self) -> bool:
        """Whether sentences of this text may begin in lower case."""
        return not self._closers and not self._dash and self._text[self._start].islower()

    # Stops that need no blank

    def _script_stop_ends(self) -> bool:
        """Whether a stop as "。" or a danda ends the sentence."""
        last = self._stops[-1]
        if self._stops == "．" and (self._unknown or self._following.isdecimal()):
            return False
        if self._stops == "۔" and _last_word(self._before) in known.LETTER_NAMES:
            return False
        if self._unknown:
            return self._blanks != "" or (
                last in _FULL_STOPS and last != "॥" and not _has_open_quote(self._sentence())
            )
        if self._is_before_separator() or self._closers.startswith(("》", "〉")):
            return False
        if self._stops == "॥" and self._partial and self._following.isdecimal():
            return False  # the number of a verse
        if self._sentence().count("《") > self._sentence().count("》"):
            return False
        if self._closers[-1:] in ("）", ")") and self._text[self._start] not in "（(":
            return False
        if self._has_quote():
            return not self._goes_on_after_quote()
        if last in "！？" and not self._closers and not self._blanks and self._following == "と":
            return not known.SAYING_PARTICLE.match(self._text, self._end) and not self._partial
        return True

    # "!" and "?"

    def _final_stop_ends(self) -> bool:
        """Whether "!" or "?" ends the sentence: not in a name as "Yahoo!", or before who said it."""
        name = self._stops == "!" and self._is_name()
        if self._unknown:
            # French has a blank before the stop, and what begins with a dash may have one behind it.
            return not (name or self._text[self._start] in "—–-" or self._before[-1:].isspace())
        if self._following.islower():
            if self._dash or name or self._before[-1:].isspace() or _has_open_quote(self._sentence()):
                return False
            return self._stops[-1] == "?" or self._is_casual()
        is_known = _last_word(self._before).lower() in known.EXCLAMATION_NAMES
        return not (name and is_known) or self._begins_sentence()

    def _is_name(self) -> bool:
        """Whether the "!" may belong to a name: a known one, or a word with a capital within the sentence."""
        word = _last_word(self._before)
        within = len(self._sentence().split(None, 2)) > 1
        return word.lower() in known.EXCLAMATION_NAMES or (within and word[:1].isupper())

    # Full stops

    def _word_ends(self) -> bool:
        """Whether the full stop ends a sentence: not if an abbreviation, an initial or a number goes on."""
        word = _last_word(self._before)
        ahead = self._before[: len(self._before) - len(word)]
        if any(mark in self._before.rpartition(" ")[2] for mark in "=/@"):
            return True  # an address
        if not word:
            return not (self._unknown and self._before[-1:].isspace())
        is_list = len(word) <= 4 and self._at - self._start < _LOOKBEHIND
        if is_list and _LIST_NUMBER.search(self._before):
            return False
        if word.isdecimal():
            return len(word) > 3 or not self._is_ordinal(ahead)
        previous = _PREVIOUS_WORD.search(ahead)
        before = previous[1] if previous else ""
        lower = word.lower()
        if lower[-1] == "m" and _TIME.search(self._before):
            return not self._goes_on_after_time()
        if word in known.UNITS and before[-1:].isdecimal():
            return not (self._unknown or self._following.isdecimal() or self._is_introduction())
        if lower in _LAST_PARTS and _LAST_WORDS.search(self._before):
            return not self._unknown
        if word.isupper() and len(word) > 1 and "." not in word and lower not in known.IN_CAPITALS:
            return not (self._unknown or _SECOND_PART.search(self._before))
        if lower in known.LAST_WORDS:
            return not self._unknown
        if lower in known.BEFORE_WORDS or (lower == "es" and before.lower() in ("ad", "per")):
            return False
        if lower in known.BEFORE_NUMBERS and word != "P":
            return not (self._unknown or self._goes_on_with_number())
        if lower in known.BEFORE_NUMERALS or lower in known.EITHER or lower in self._own:
            return self._begins_sentence()
        if _is_indic(word):
            return not self._is_indic_initial(word, ahead)
        if _INITIALS.fullmatch(word):
            return self._initial_ends(word, ahead, before)
        second = len(word) <= 3 and _SECOND_PART.search(self._before)
        if second or _NO_VOWEL.fullmatch(word) or lower.endswith("str"):
            return self._begins_sentence()
        # A short word after a number may be a unit, if the sentence goes on in lower case.
        return not (self._unknown and len(word) <= 4 and before[-1:].isdecimal())

    def _initial_ends(self, word: str, ahead: str, before: str) -> bool:
        if len(word) == 1 and ahead.endswith(("°", "'", "’")):
            return True
        if word.isupper() and before.lower() in known.LABELS:
            return not self._following.isdecimal()
        if word == "I" and before.lower() in known.BEFORE_I:
            return True
        return word != "M" and self._begins_sentence()

    def _begins_sentence(self) -> bool:
        """Whether the next word is complete and hardly ever within a sentence when it has a capital."""
        is_abbreviation = len(self._next) == 1 or self._next == "No"
        if self._partial or (is_abbreviation and self._after_next == "."):
            return False
        if self._after_next in ("'", "’") and len(self._next) <= 2:
            return self._next.lower() in known.ELIDED
        return self._next.lower() in known.STARTERS

    def _is_indic_initial(self, word: str, ahead: str) -> bool:
        if word not in known.SHORT_WORDS:
            return _is_syllables_or_letters(word)
        initial = _INITIAL_BEFORE.search(ahead)
        return initial is not None and _is_syllables_or_letters(initial[1])

    def _is_ordinal(self, ahead: str) -> bool:
        """Whether a German or Turkish ordinal number, or text that may still make it one."""
        if self._unknown:
            return not _ABBREVIATION_BEFORE.search(ahead)
        if not self._following.isupper():
            return False
        if self._partial:
            return True
        if self._next.lower() in known.ORDINAL_AFTER:
            return True
        match = _PREVIOUS_WORD.search(ahead)
        if not match or match[1].lower() not in known.ORDINAL_BEFORE:
            return False
        return not self._begins_sentence() and not ahead.endswith("I am ")

    def _goes_on_after_time(self) -> bool:
        word = self._next
        is_zone = word.isupper() and (len(word) > 1 or self._after_next == ".")
        return self._partial or is_zone or word.lower() in known.AFTER_TIMES or self._is_introduction()

    def _is_introduction(self) -> bool:
        """Whether the sentence so far is only a time, as in "At 5 p.m. Ann came"."""
        spoken = self._sentence().split(None, 7)
        is_phrase = len(spoken) <= 6 and spoken[0].lower() in known.PREPOSITIONS
        return is_phrase and not self._begins_sentence()

    def _goes_on_with_number(self) -> bool:
        word = self._next
        if self._following.isdecimal():
            return True
        if self._partial and (
            _ROMAN.fullmatch(word) or any(w.startswith(word.lower()) for w in known.NUMBER_WORDS)
        ):
            return True
        is_roman = _ROMAN.fullmatch(word) is not None and word != "I"
        return is_roman or word.lower() in known.NUMBER_WORDS

    # Quotes

    def _has_quote(self) -> bool:
        return any(mark in _QUOTES for mark in self._closers)

    def _goes_on_after_quote(self) -> bool:
        """Whether the sentence goes on after a quote, or text to come may tell that it does."""
        rest = self._text[self._end : self._end + _LOOKAHEAD]
        clause = _CLAUSE.match(rest)
        spoken = clause[0] if clause else ""
        more = self._arriving and len(spoken) == len(rest) < _LOOKAHEAD
        if not self._blanks:
            if known.QUOTE_PARTICLE.match(rest):
                return True
            return more and len(spoken) < 6
        words = spoken.split()
        if not words or self._begins_sentence():
            return self._partial
        if any(word.lower() in known.SAYING for word in words[:4]):
            return True
        return more and len(words) < 5

    def _has_open_guillemet(self) -> bool:
        """Whether a "»" may follow after a blank, as in French."""
        sentence = self._sentence()
        return sentence.count("«") > sentence.count("»")

    def _sentence(self) -> str:
        return self._text[max(self._start, self._end - _LONG_SENTENCE) : self._end]


def _last_word(text: str) -> str:
    word = _LAST_WORD.search(text)
    return word[0] if word else ""


def _is_indic(word: str) -> bool:
    return "\u0900" <= word[0] <= "\u0df3"


def _is_syllables_or_letters(word: str) -> bool:
    """Whether each part of the word is a syllable or the name of a Latin letter, as initials are."""
    parts = word.split(".")
    if len(parts) > 1:
        return all(_syllables(part) <= 2 for part in parts)
    return word in known.LETTER_NAMES or _syllables(word) == 1


def _syllables(word: str) -> int:
    return sum(
        letter.isalpha() and (not at or word[at - 1] not in _VIRAMAS) for at, letter in enumerate(word)
    )


def _has_open_quote(sentence: str) -> bool:
    """Whether a closing mark, which belongs to this sentence, is still missing."""
    unclosed = any(sentence.count(pair[0]) > sentence.count(pair[1]) for pair in _PAIRS)
    return unclosed or sentence.count('"') % 2 == 1
