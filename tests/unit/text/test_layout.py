"""Which line ends are wraps, and where paragraphs, pauses and speakers are."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.errors import UsageError
from smallest_cli.text.breaks import Break, Item, Pause, Speaker
from smallest_cli.text.layout import Layout
from tests.support.cuts import cut

SPEAKERS = ("ALICE", "BOB", "Old Man")
VERSE = "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\nRough winds do"
PROSE = (
    "The licensor is under section 6 and has to provide it by the means of\n"
    "7. This requirement modifies the requirement in section\n"
    "4 to keep intact all notices of the program and of this\nLicense."
)


def laid_out(*fragments: str, layout: Layout | None = None) -> str:
    """Lay out text; breaks are shown as | and ¶, pauses as {seconds}, speakers as <name>."""
    layout = layout or Layout()
    items: list[Item] = []
    for fragment in fragments:
        items += layout.feed(fragment)
    text = "".join(map(shown, [*items, *layout.flush()]))
    return re.sub(r"\|+¶", "¶", re.sub(" +([|¶])", r"\1", text)).removesuffix("¶")


def shown(item: Item) -> str:
    match item:
        case Break(paragraph=paragraph):
            return "¶" if paragraph else "|"
        case Pause(seconds=seconds):
            return f"{{{seconds:g}}}"
        case Speaker(name=name):
            return f"<{name}>"
    return item


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hard\nwrapped\nlines.", "Hard wrapped lines."),
        ("One.\n\nTwo.\n \t\nThree.", "One.¶Two.¶Three."),
        ("  Many \t blanks\u00a0here  ", "Many blanks here"),
        ("One sentence\n\fon two pages.\n\n\fA new one.", "One sentence on two pages.¶A new one."),
        ("今日は良い天気。\n　彼は", "今日は良い天気。|彼は"),
        ("第一章\n　彼は", "第一章|彼は"),
        ("苹果\n香蕉", "苹果|香蕉"),
        ("今天" * 20 + "\n天气", "今天" * 20 + "天气"),
        ("日本 語", "日本 語"),
        ("中文\nand English", "中文 and English"),
        ("Roses are red,\nViolets are blue.", "Roses are red,|Violets are blue."),
        (VERSE, VERSE.replace("\n", "|")),
        (PROSE, PROSE.replace("\n", " ")),
        ("She turned\n30. Her party was loud.", "She turned 30. Her party was loud."),
        ("You need:\n- apples\n  and more\n- pears\nEnd.", "You need:|- apples and more|- pears|End."),
        ("1. One\n2. Two\n3. Three", "1. One|2. Two|3. Three"),
        ("See\n1) this\n2) that", "See|1) this|2) that"),
        ("# Title\nText here", "# Title|Text here"),
        ("Title\n=====\nText here", "Title|=====|Text here"),
        ("He said\n(and meant it) that", "He said (and meant it) that"),
        ("A line\u2028and another\u2029end", "A line|and another¶end"),
        (" \n\n \t ", ""),
        ("", ""),
        ("Wait [pause 500ms] for it.", "Wait {0.5}for it."),
        ('One<break time="1.5s"/>two <break time=\'2s\' /> three', "One{1.5}two {2}three"),
        ("[pause 2s]\n\nStart [pause 0s] end", "{2}¶Start {0}end"),
        ("[pause] [pause x] [pause 5] [Pause 1s]", "[pause] [pause x] [pause 5] [Pause 1s]"),
        ("ALICE: Hello", "ALICE: Hello"),
    ],
)  # fmt: skip
def test_line_ends_become_blanks_or_breaks(text: str, expected: str) -> None:
    assert laid_out(text) == expected
    assert laid_out(*text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "warnings"),
    [
        ("ALICE: Hi Bob.\nBOB: Hello!\nHow are you?", "|<ALICE>Hi Bob.|<BOB>Hello!|How are you?", []),
        ("Old Man: Yes.\nOld trees", "|<Old Man>Yes.|Old trees", []),
        ("alice: Hi\nSay ALICE: no", "alice: Hi|Say ALICE: no", ["alice"]),
        ("HOST: Hi\nHOST: ho", "HOST: Hi|HOST: ho", ["HOST"]),
        ("ALICE:Hi\n\nThe end: now", "|<ALICE>Hi¶The end: now", []),
        ("ALICE：Hi", "|<ALICE>Hi", []),
        ("ALICE:\nHi [pause 1s]there", "|<ALICE>|Hi {1}there", []),
    ],
)
def test_lines_that_begin_with_a_name_have_a_speaker(text: str, expected: str, warnings: list[str]) -> None:
    for fragments in ([text], list(text)):
        layout = Layout(SPEAKERS)
        assert laid_out(*fragments, layout=layout) == expected
        assert [each.partition(":")[0] for each in layout.warnings] == warnings


def test_every_row_of_a_table_is_separate() -> None:
    assert Layout().feed("| a\n| b\n")[:5] == ["|", " ", "a", Break(), "|"]


def test_every_line_end_is_a_break_by_line() -> None:
    text = "12:05 started\n12:06 and\n\n  went on\n"
    assert laid_out(text, layout=Layout(by_line=True)) == "12:05 started|12:06 and|went on|"


@pytest.mark.parametrize("text", ["[pause 11s]", '<break time="10001ms"/>', "[pause 999999s]"])
def test_pause_of_more_than_ten_seconds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is longer than 10 s"):
        laid_out(f"a {text} b")


def test_tags_of_ssml_are_text_with_one_warning() -> None:
    text = "<speak>Hello <prosody rate='slow'>there</prosody></speak>"
    for fragments in ([text], list(text)):
        layout = Layout()
        assert laid_out(*fragments, layout=layout) == text
        assert [each.partition(" is read")[0] for each in layout.warnings] == ["<speak>"]


def test_a_wrapped_line_is_held_until_its_first_word() -> None:
    layout = Layout()
    assert layout.feed("One line\n") == ["One", " ", "line"]
    assert layout.feed("wra") == []
    assert layout.feed("ps ") == [" ", "wraps", " "]


def joined(items: Iterable[Item]) -> str:
    return re.sub(r"\|+¶", "¶", re.sub(" +([|¶])", r"\1", "".join(map(shown, items))))


@settings(max_examples=400)
@given(
    st.text(alphabet="ab A.\n |-#1 今、\u3000[pause 1s]<x:BO\u2028\u2029", max_size=60) | st.text(),
    st.lists(st.integers(1, 9)),
    st.booleans(),
    st.booleans(),
)
def test_result_does_not_depend_on_the_cuts(
    text: str, sizes: list[int], with_speakers: bool, by_line: bool
) -> None:
    def run(fragments: list[str]) -> str:
        layout = Layout(SPEAKERS if with_speakers else (), by_line=by_line)
        items = [item for fragment in fragments for item in layout.feed(fragment)]
        return joined([*items, *layout.flush()])

    assert run(cut(text, sizes)) == run([text])


@given(st.text(alphabet=st.characters(exclude_characters="[<\u2028\u2029", exclude_categories=["Cc", "Cs"])))
def test_no_character_but_blanks_is_lost(text: str) -> None:
    layout = Layout()
    items = [*layout.feed(text), *layout.flush()]
    assert "".join("".join(each for each in items if isinstance(each, str)).split()) == "".join(text.split())
