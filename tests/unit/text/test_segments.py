"""Normalising and splitting text; no text is lost."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.errors import UsageError
from smallest_cli.models import SpeechRequest
from smallest_cli.text.graphemes import splits_grapheme
from smallest_cli.text.segments import write_script
from smallest_cli.text.sentences import SentenceSplitter, split_segments

# Sentences

SENTENCES = [
    ["Dr. Smith met J. R. R. Tolkien at 3.14 p.m. in the U.S. today. ", "Really? ", "Yes!"],
    ['"Stop!" he said. ', "(They went on.) ", "So it goes…"],
    ["See example.com/a.b?c=d or a@b.org. ", "Version 2.0.1 is out."],
    ["1. First thing. ", "2. Second thing. ", "a) Third."],
    ["It was 1999. ", "The year ended."],
    ["Well... maybe not. ", "Well... ", "Maybe. ", "What?! ", "No. ", "That is No. 5."],
    ["He came at 12:30. ", "She left vs. Mr. X of Acme Inc. in Vol. 2, pp. 3-4, Fig. 7."],
    ["Try these: 1. Run. ", "(2) Stop... or 3. wait. ", "Ph.D. students e.g. Ann, i.e. her."],
    ["Mail me@example.com? ", "see https://example.com/x.html?a=b! ", "or notes.txt…"],
    ["**Bold.** ", "'Quoted.' ", "He left. (he came back.) ", "“Really?” she asked. ", "[Yes.]"],
    ["Ելիր։ ", "Արի։"],
    ["ሰላም። ", "እንዴት ነህ፧ ", "ደህና።"],
    ["값은３．１４である。", "次。"],
    ["¿Qué? ", "¡No! ", "El Sr. Gil y la Sra. Paz, d. h. beide."],
    ["Great! ", "🎉 Next."],
    ["z.B. heute usw. und so weiter. ", "M. Hulot et Mme. Dupont arrivent."],
    ["你好。", "「真的？」", "是的！"],
    ["यह है। ", "वह है॥ ", "ठीक"],
    ["هل هذا صحيح؟ ", "نعم۔"],
]


@pytest.mark.parametrize("sentences", SENTENCES)
def test_text_is_split_at_sentence_ends(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert split_segments(text, max(map(len, sentences))) == packed(sentences, max(map(len, sentences)))


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
def test_split_prefers_sentence_then_clause_then_blank_then_cluster(
    text: str, limit: int, pieces: list[str]
) -> None:
    assert split_segments(text, limit) == pieces


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("Hello there. ---", 250, ["Hello there. ---"]),
        ("Hello there. ---", 13, ["Hello ", "there. ---"]),
        ("--- Hello. There.", 12, ["--- Hello. ", "There."]),
        ("One. — Two. Three.", 10, ["One. ", "— Two. ", "Three."]),
        ("aaaa bbbb", 4, ["aaa", "a ", "bbbb"]),
        ("---", 2, ["--", "-"]),
    ],
)
def test_punctuation_is_joined_to_neighbouring_text(text: str, limit: int, pieces: list[str]) -> None:
    assert split_segments(text, limit) == pieces


def test_invalid_limit_raises_value_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        split_segments("text", -1)
    for limit in (0, -1):
        with pytest.raises(ValueError, match="needs a limit"):
            SentenceSplitter(limit)


WORDS = st.text(alphabet="abZ. ,!?。．」()\"'\u0301\u200d👨🇮क्ष\n3…-", max_size=400)


@given(WORDS | st.text(), st.integers(1, 60))
def test_joined_segments_equal_the_text(text: str, limit: int) -> None:
    pieces = split_segments(text, limit)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)


# Grapheme clusters (UAX #29)

CHARACTERS = [
    *[
        "a",
        "e\u0301",
        "o\u0302\u0323",
        "한",
        "\u1112\u1161\u11ab",
        "가\u11a8",
        "\u1100\u1100\u1161",
        "กำ",
        "ﾊﾞ",
        "あ",
    ],
    *[
        "क्ष",
        "क्\u200dष",
        "स्त्री",
        "नि",
        "ක්\u200dෂ",
        "ক্ষ",
        "\u0600١",
        "1\ufe0f\u20e3",
        "♥\ufe0f",
        "🇮🇳",
        "🇩🇪",
        "👍🏽",
        "👍",
    ],
    *[
        "👨\u200d👩\u200d👧",
        "🧑🏾\u200d🤝\u200d🧑🏻",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ],
]
LONGEST = max(map(len, CHARACTERS))


@pytest.mark.parametrize("character", CHARACTERS)
def test_grapheme_boundaries_around_a_cluster(character: str) -> None:
    text = f"a{character}a"
    boundaries = {at for at in range(len(text)) if not splits_grapheme(text, at)}
    assert boundaries == {0, 1, 1 + len(character)}


@given(st.lists(st.sampled_from([*CHARACTERS, " ", ", ", ". ", "! "]), max_size=60), st.integers(LONGEST, 40))
def test_no_grapheme_cluster_is_split(characters: list[str], limit: int) -> None:
    text = "".join(characters)
    boundaries = set(accumulate(map(len, characters), initial=0))
    for pieces in (split_segments(text, limit), split_stream([text], limit=limit)):
        assert set(accumulate(map(len, pieces), initial=0)) <= boundaries


# Streaming text


def split_stream(fragments: list[str], **options: int) -> list[str]:
    sentences = SentenceSplitter(**options)
    pieces = [piece for fragment in fragments for piece in sentences.feed(fragment)]
    return pieces + sentences.flush()


@given(WORDS, st.lists(st.integers(1, 30), max_size=30), st.integers(1, 60), st.none() | st.integers(1, 30))
@settings(max_examples=200)
def test_splitter_output_equals_its_input(
    text: str, cuts: list[int], limit: int, first_limit: int | None
) -> None:
    fragments = []
    for size in cuts:
        fragments.append(text[:size])
        text = text[size:]
    fragments.append(text)
    sentences = SentenceSplitter(limit, first_limit)
    released = ""
    for fragment in fragments:
        pieces = sentences.feed(fragment)
        released += "".join(pieces)
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert len(sentences.pending) <= limit
    assert released + sentences.pending == "".join(fragments)
    assert "".join(sentences.flush()) == "".join(fragments)[len(released) :]
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
        (["Why?"], []),
        (["Why? "], ["Why? "]),
        (["Why", "?", "!", " Oh. "], ["Why?! ", "Oh. "]),
        (["Go to x.com?", "b=c ", "now"], []),
        (['"Stop!', '" he said. '], ['"Stop!" he said. ']),
        (["「はい。", "」と言った。"], ["「はい。」と言った。"]),
        (["Yes. No! (Oh", "?", ") "], ["Yes. ", "No! "]),
        (["(Oh", "?", ") ", "Then"], ["(Oh?) "]),
        (["He left. ", "she stayed. "], ["He left. ", "she stayed. "]),
        (["He left. she stayed. "], ["He left. she stayed. "]),
        (["He met J. ", "R. ", "Tolkien. "], ["He met J. R. Tolkien. "]),
        (["See No. ", "5 and Fig. ", "2. "], ["See No. 5 and Fig. 2. "]),
        (["I said no. ", "Then"], ["I said no. "]),
        (["1. ", "First. ", "2. ", "Second. "], ["1. First. ", "2. Second. "]),
        (["３．", "１４。"], ["３．１４。"]),
        (["-- ", "! ", "\n"], []),
        (["A heading \n", "And text"], ["A heading \n"]),
        (["Wait..", ".", " what"], []),
        (["Wait... ", "what"], []),
        (["Wait... ", "What"], ["Wait... "]),
        (["no end " * 40], ["no end " * 35 + "no "]),
    ],
)
def test_sentence_is_released_once_its_end_is_certain(fragments: list[str], released: list[str]) -> None:
    sentences = SentenceSplitter()
    assert [piece for fragment in fragments for piece in sentences.feed(fragment)] == released
    assert sentences.pending == "".join(fragments)[len("".join(released)) :]


def test_first_piece_may_end_at_a_clause() -> None:
    assert split_stream(["Once upon a time, ", "there was, ", "a cat."], first_limit=12) == [
        "Once upon a time, ",
        "there was, a cat.",
    ]
    assert split_stream(["Well, ", "yes. No, ", "thanks."], first_limit=50) == ["Well, yes. ", "No, thanks."]

    assert split_stream(["— , ", "Yes, ", "well."], first_limit=1) == ["— , Yes, ", "well."]


def test_text_fed_by_character_gives_the_same_sentences() -> None:
    sentences = [
        "Dr. No met “her.” ",
        "They paid 3.50 at 5 p.m. for it. ",
        "Where? ",
        "At x.com.\n",
        "好。",
        "的。",
    ]
    assert split_stream(list("".join(sentences))) == sentences


def test_five_megabytes_without_a_sentence_end_are_released_in_pieces() -> None:
    sentences = SentenceSplitter()
    count = 0
    for _ in range(500):
        count += sum(map(len, sentences.feed("word " * 2000)))
        assert len(sentences.pending) <= 250
    assert count + len(sentences.pending) == 5_000_000


@pytest.mark.parametrize(
    "text", ["word", " ", "\u3000", "! ", "((", "No. ", "...", "\n", "好。", "👍🏽", "🇮🇳", '"', "क्"]
)
def test_long_runs_take_linear_time(text: str) -> None:
    """Quadratic time would exceed the test timeout."""
    run = text * (40_000 // len(text))
    assert "".join(split_stream([run])) == run
    assert "".join(split_segments(run)) == run


def test_request_longer_than_the_service_limit_is_refused() -> None:
    template = SpeechRequest("", "meher")
    text = "word " * 1600
    assert len(write_script([text], template, split=0, pause_s=0).items) == 1
    with pytest.raises(UsageError, match="8006 characters is too long; the service takes 8000"):
        write_script([text + " longer"], template, split=0, pause_s=0)
    assert write_script([text + " longer"], template, split=250, pause_s=0).segments > 30
