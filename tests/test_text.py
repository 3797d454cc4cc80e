"""Text that is normalised and cut: what a reader would expect, and that nothing is ever lost."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.text import Sentences, Unwrapping, normalise, segments

# Normalising


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("Hard\nwrapped\r\nlines.", ("Hard wrapped lines.",)),
        ("One.\n\nTwo.\n \t\nThree.", ("One.", "Two.", "Three.")),
        ("  Many \t blanks\u00a0here  ", ("Many blanks here",)),
        ("A page.\fAnother.", ("A page.", "Another.")),
        ("今日は\n良い天気。", ("今日は良い天気。",)),
        ("soft\u00adly", ("softly",)),
        ("family 👨\u200d👩\u200d👧, क्\u200dष", ("family 👨\u200d👩\u200d👧, क्\u200dष",)),
        ("e\u0301 is not composed", ("e\u0301 is not composed",)),
        (" \n\n \t ", ()),
        ("", ()),
    ],
)
def test_lines_are_unwrapped_and_paragraphs_kept(text: str, paragraphs: tuple[str, ...]) -> None:
    assert (normalise(text).paragraphs, normalise(text).removed) == (paragraphs, 0)


def test_control_characters_go_and_are_counted() -> None:
    told = normalise("\ufeffA\x00b\x1b[31mc\u202ed\x7f\ud800")
    assert (told.paragraphs, told.removed) == (("Ab[31mcd",), 6)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise("\n\n".join(once.paragraphs)) == type(once)(once.paragraphs, 0)


@given(
    st.text(alphabet="ab 、今\n\r\t\x00\u00ad\u2028\x0c", max_size=60) | st.text(),
    st.lists(st.integers(0, 9)),
)
@settings(max_examples=300)
def test_text_that_arrives_is_normalised_the_same(text: str, cuts: list[int]) -> None:
    whole, unwrapping = normalise(text), Unwrapping()
    fragments = []
    for size in cuts:
        fragments.append(text[:size])
        text = text[size:]
    fragments.append(text)
    told = "".join(map(unwrapping.feed, fragments))
    assert told.replace("\n", "").rstrip() == " ".join(whole.paragraphs)
    assert unwrapping.removed == whole.removed


# Sentences

SENTENCES = [
    ["Dr. Smith met J. R. R. Tolkien at 3.14 p.m. in the U.S. today. ", "Really? ", "Yes!"],
    ['"Stop!" he said. ', "(Nobody stopped.) ", "So it goes…"],
    ["See example.com/a.b?c=d or a@b.org. ", "Version 2.0.1 is out."],
    ["1. First thing. ", "2. Second thing. ", "a) Third."],
    ["It was 1999. ", "The year ended."],
    ["Well... maybe not. ", "Wait. ", "What?! ", "No. ", "That is No. 5."],
    ["z.B. heute usw. und so weiter. ", "M. Hulot et Mme. Dupont arrivent."],
    ["你好。", "「真的？」", "是的！"],
    ["यह है। ", "वह है॥ ", "ठीक"],
    ["هل هذا صحيح؟ ", "نعم۔"],
]


@pytest.mark.parametrize("sentences", SENTENCES)
def test_a_cut_falls_where_a_sentence_ends(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert segments(text, max(map(len, sentences))) == packed(sentences, max(map(len, sentences)))


def packed(sentences: list[str], limit: int) -> list[str]:
    """As many sentences in each piece as fit."""
    pieces = [""]
    for sentence in sentences:
        if len(pieces[-1] + sentence) > limit:
            pieces.append("")
        pieces[-1] += sentence
    return pieces


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("One. Two. Three.", 250, ["One. Two. Three."]),
        ("One. Two. Three.", 10, ["One. Two. ", "Three."]),
        ("one two, three four five", 16, ["one two, ", "three four five"]),
        ("one two three four five", 9, ["one two ", "three ", "four five"]),
        ("aaaaaaaaaa", 4, ["aaaa", "aaaa", "aa"]),
        ("ab\u0301ab\u0301", 2, ["a", "b\u0301", "a", "b\u0301"]),
        ("👨\u200d👩\u200d👧👍🏽🇮🇳🇮🇳", 5, ["👨\u200d👩\u200d👧", "👍🏽🇮🇳", "🇮🇳"]),
        ("क्षक्ष", 4, ["क्ष", "क्ष"]),
        ("anything", 0, ["anything"]),
        ("", 0, []),
        ("", 5, []),
    ],
)
def test_what_is_too_long_is_cut_where_it_hurts_least(text: str, limit: int, pieces: list[str]) -> None:
    assert segments(text, limit) == pieces


WORDS = st.text(alphabet="ab. ,!?。।\"')\u0301\u200d👨🇮क्ष\n3…", max_size=400)


@given(WORDS | st.text(), st.integers(1, 60))
def test_joined_the_segments_are_the_text(text: str, limit: int) -> None:
    pieces = segments(text, limit)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)


@given(st.text(alphabet="ae\u0301\u0308\u093f ", max_size=200), st.integers(8, 40))
def test_no_mark_is_cut_from_its_letter(text: str, limit: int) -> None:
    longest = max((len(word) for word in marked(text)), default=0)
    if longest > limit:
        return
    for piece in segments(text, limit)[1:]:
        assert unicodedata.category(piece[0])[0] != "M"


def marked(text: str) -> list[str]:
    """Each character with the marks that follow it."""
    found: list[str] = []
    for character in text:
        if found and unicodedata.category(character)[0] == "M":
            found[-1] += character
        else:
            found.append(character)
    return found


# Text that arrives


def arriving(fragments: list[str], **options: int) -> list[str]:
    sentences = Sentences(**options)
    pieces = [piece for fragment in fragments for piece in sentences.feed(fragment)]
    return pieces + sentences.flush()


@given(WORDS, st.lists(st.integers(1, 30), max_size=30), st.integers(1, 60), st.none() | st.integers(1, 30))
@settings(max_examples=200)
def test_what_arrives_is_what_comes_out(
    text: str, cuts: list[int], limit: int, first_limit: int | None
) -> None:
    fragments = []
    for size in cuts:
        fragments.append(text[:size])
        text = text[size:]
    fragments.append(text)
    sentences = Sentences(limit, first_limit)
    said = ""
    for fragment in fragments:
        pieces = sentences.feed(fragment)
        said += "".join(pieces)
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert len(sentences.pending) <= limit
    assert said + sentences.pending == "".join(fragments)
    assert "".join(sentences.flush()) == "".join(fragments)[len(said) :]
    assert sentences.pending == ""


@pytest.mark.parametrize(
    ("fragments", "released"),
    [
        (["Hello the", "re. "], ["Hello there. "]),
        (["Hello there", ".", " How"], ["Hello there. "]),
        (["Pi is 3.", "14 or so."], []),
        (["Dr.", " Smith"], []),
        (["See a.", "com now"], []),
        (["真的。"], ["真的。"]),
        (["ठीक है।"], ["ठीक है।"]),
        (["Why", "?", "!", " Oh"], ["Why?! "]),
        (["A heading \n", "And text"], ["A heading \n"]),
        (["Wait..", ".", " what"], []),
        (["no end " * 40], ["no end " * 35 + "no "]),
    ],
)
def test_a_sentence_is_released_when_its_end_is_certain(fragments: list[str], released: list[str]) -> None:
    sentences = Sentences()
    assert [piece for fragment in fragments for piece in sentences.feed(fragment)] == released
    assert sentences.pending == "".join(fragments)[len("".join(released)) :]


def test_the_first_piece_may_end_at_a_clause() -> None:
    assert arriving(["Once upon a time, ", "there was, ", "a cat."], first_limit=12) == [
        "Once upon a time, ",
        "there was, a cat.",
    ]
    assert arriving(["Well, ", "yes. No, ", "thanks."], first_limit=50) == ["Well, yes. ", "No, thanks."]


def test_five_megabytes_without_a_stop_are_let_go_in_cuts() -> None:
    sentences = Sentences()
    count = 0
    for _ in range(500):
        count += sum(map(len, sentences.feed("word " * 2000)))
        assert len(sentences.pending) <= 250
    assert count + len(sentences.pending) == 5_000_000
