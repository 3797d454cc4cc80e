"""Markdown syntax is removed and its text kept, however the text is cut."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from smallest_cli.text.markdown import MAX_BLOCK, MarkdownStripper
from tests.support.cuts import cut
from tests.support.spoken_markdown import shown


def spoken(*fragments: str) -> str:
    """Return the text, with | for the end of a line and ¶ for that of a paragraph."""
    plain = MarkdownStripper()
    return shown("".join(map(plain.feed, fragments)) + plain.flush())


FENCES = [
    ("Before\n```python\nprint(1)\n```\nAfter", "Before ¶ After"),
    ("Before.\n\n> Try:\n> ```\n> code\n> ```\n\nAfter the quote.", "Before. ¶ Try: ¶ After the quote."),
    ("```ls -l``` lists files.", "ls -l lists files."),
    ("````\ncode ```\n```\n````\nAfter", "After"),
    ("```\ncode\n``` x\nmore\n```\nAfter.", "After."),
    ("- item\n  ```\n  code\n  ```\n- next", "item | next"),
    ("~~~\ncode\n```\n~~~\nAfter", "After"),
    ("Never closed\n```\nprint(1)", "Never closed"),
    ("Text\n\n    print(1)\n\nAfter", "Text ¶ After"),
    ("    a) The work must carry notices\n    stating this.", "a) The work must carry notices stating this."),
]
BRACKETS = [
    ("[Host]: Welcome to the show.", "[Host]: Welcome to the show."),
    ("[12:05:33]: Server started.", "[12:05:33]: Server started."),
    ("[ref]: https://a.b 'Title'\n[other]: <x/y z>\nText", "Text"),
    ("[Score]: 3/5\n\n[Bob]: #1\n\n[Al]: Hello.World", "[Score]: 3/5 ¶ [Bob]: #1 ¶ [Al]: Hello.World"),
    ("[a]: ./file.md\n\n[b]: #part\n", ""),
    ("[1]: text\n\n[^1]: A footnote.", "text ¶ A footnote."),
    ("2 million people [2][3]. More [^1] and [^note] x.", "2 million people. More and x."),
    ("[x][y], [x][] and [x]", "x, x and [x]"),
    ("[one][ref] two\n\n[ref]: https://a.b\n", "one two"),
    ("[![Build](u1)](u2) [![Build][b]][c] ![Logo][l]", "Build Build Logo"),
    ("[a [b] c](u) [a link\nover two](http://x) end", "a [b] c a link over two end"),
    ('See [the *docs*](https://a.b/c_(d) "t") now', "See the docs now"),
    (f"![img](data:image/png;base64,{'A' * 3367}) end", "img end"),
    ("![a cat](cat.png) sat on ![](x.png) it", "a cat sat on it"),
    ("https://a.b/c?d=e_f_g and <https://x.y> <me@x.org>", "https://a.b/c?d=e_f_g and https://x.y me@x.org"),
    ("Well! Good [", "Well! Good ["),
    ("Wait [pause 500ms] for [it", "Wait [pause 500ms] for [it"),
]
NUMBERS = [
    ("She turned\n30. Her party was loud.", "She turned 30. Her party was loud."),
    ("404. Not found.", "404. Not found."),
    ("3. Oktober ist ein Feiertag.", "3. Oktober ist ein Feiertag."),
    ("1. one\n2) two\n", "1. one | 2) two"),
    ("1. one\n   - sub\n\n     more\n2. two\n\nEnd", "1. one | sub | more | 2. two ¶ End"),
    ("7.\n", "7."),
    ("It was 1999. Then: 3 < 4, a < b", "It was 1999. Then: 3 < 4, a < b"),
]
MARKS = [
    ("**Bold**, *slanted* and ***both***.", "Bold, slanted and both."),
    ("__Bold__, _slanted_ and snake_case_name.", "Bold, slanted and snake_case_name."),
    ("2 * 3 = 6, 2*3, a*x b*y and x**2", "2 * 3 = 6, 2*3, a*x b*y and x**2"),
    ("这是**重点**内容", "这是重点内容"),
    ("नीति_आयोग और न*क", "नीति_आयोग और न*क"),
    ("~~100~~ 80 and ~5 minutes", "80 and ~5 minutes"),
    ("**open and *closed* [link](u) end", "**open and closed link end"),
    ("*foo [bar* baz](u) end", "*foo bar* baz end"),
    ("`Map<String, Integer>` and `x[0][1]`", "Map<String, Integer> and x[0][1]"),
    (r"not \*marked\*, \# \& \$ \% a\b", r"not *marked*, # & $ % a\b"),
    ("&amp; &mdash; &nbsp;&#39;", "& — '"),
    (":smile::heart: yes", "yes"),
    ("Go :rocket: at 12:30:45 :nothing: now", "Go at 12:30:45 :nothing: now"),
]  # fmt: skip
HTML = [
    ("If a<b then c>d.", "If a<b then c>d."),
    ("Copyright (C) <year> <name of author>", "Copyright (C) <year> <name of author>"),
    ("<alice> said List<int> x", "<alice> said List<int> x"),
    ("First line<br>second</p><p>third", "First line | second | third"),
    ("H<sub>2</sub>O <b class='x'>bold</b> text", "H2O bold text"),
    ("<!-- a\n\ncomment --> after", "after"),
    ("in<!-- a comment -->line", "inline"),
    ("<img\n  src='x'\n  alt='A &amp; cat'> sat", "A & cat sat"),
    ("<p align=center>\nText &lt;b&gt;\n</p>\n\nMore", "Text <b> ¶ More"),
    ("<details>\n<summary>Sum</summary>\n\nInner **x**\n\n</details>", "Sum ¶ Inner x"),
    ("<table><tr><td>a</td><td>b</td></tr></table>", "a | b"),
    ("<pre>\ncode\n\nmore\n</pre>\ntext", "text"),
    ("<script>\nalert()\n</script>\n\ntext <style>x</style>end", "text | end"),
    ("<think>hmm\n\n- a list\n</think>\nThe answer.", "The answer."),
    ("Yes. <think>no</think> Done `<think>` it", "Yes. | Done <think> it"),
    ('Wait <break time="1s"/> now', 'Wait <break time="1s"/> now'),
]
STRUCTURE = [
    ("# A heading\nText", "A heading ¶ Text"),
    ("## T ##\n\nTitle\n===\ntext", "T ¶ Title ¶ text"),
    ("Things:\n- one\n- [x] two\n* three", "Things: ¶ one | two | three"),
    ("- a\n- b\n\n* c\n\n> q1\n>\n> q2", "a | b | c ¶ q1 ¶ q2"),
    ("> [!NOTE]\n> Be careful.", "Note | Be careful."),
    ("> [!tip]+ A title\n> And text", "Tip | A title And text"),
    ("> quoted\n> more", "quoted more"),
    ("A\n\n---\n\nB\n\n* * *\nC", "A ¶ B ¶ C"),
    ("| a | b |\n|---|---|\n| 1 | 2 |\n", "a | b | 1 | 2"),
    ("Text\na | b\n---|---\nc | d\n\nend", "Text ¶ a | b | c | d ¶ end"),
    ("Roses are red,  \nViolets\\\nare blue", "Roses are red, | Violets | are blue"),
    ("---\ntitle: x\n# y\n---\nBody", "Body"),
    ("+++\na = 1\n\n+++\nBody", "Body"),
    ("---\n\nNo front matter: x\n\n---\nBody", "No front matter: x ¶ Body"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), [*FENCES, *BRACKETS, *NUMBERS, *MARKS, *HTML, *STRUCTURE])
def test_syntax_is_removed_and_words_are_kept(text: str, expected: str) -> None:
    assert spoken(text) == expected
    assert spoken(*text) == expected
    assert spoken(*cut(text, [3] * len(text))) == expected


@pytest.mark.parametrize(
    ("fragments", "returned"),
    [
        (["Hello there. How"], ["Hello there. "]),
        (["Hello ", "**there** ", "my ", "friend"], ["Hello", " there", " my", ""]),
        (["See [the ", "docs](u) ", "now "], ["See", " the docs", " now"]),
        (["A line\n", "and more", "\n"], ["A line", "", " \nand more"]),
        (["- one\n", "- two or "], ["one", " \u2028two or"]),
        (["# Title\n"], ["Title \u2028"]),
        (["Text\n\n"], ["Text \u2028"]),
    ],
)
def test_words_are_returned_once_no_text_can_change_them(fragments: list[str], returned: list[str]) -> None:
    plain = MarkdownStripper()
    assert list(map(plain.feed, fragments)) == returned


@pytest.mark.parametrize(
    ("text", "returned"),
    [("Great job!", "Great job!"), ("Hello there", "Hello"), ("An **open", "An"), ("Is it?", "Is it?")],
)
def test_release_returns_a_last_sentence_but_no_open_mark(text: str, returned: str) -> None:
    plain = MarkdownStripper()
    assert (plain.feed(text) + plain.release()).strip() == returned
    assert (plain.feed(" ") + plain.flush()).strip() == shown(text).removeprefix(returned).strip()


def test_text_may_follow_after_flush() -> None:
    plain = MarkdownStripper()
    assert (plain.feed("```\ncode"), plain.flush()) == ("", "")
    assert plain.feed("Text ") + plain.flush() == "Text \u2028"


@pytest.mark.parametrize(
    "mark",
    [
        *("[", "*a ", "_", "`", "<a ", "> ", "- ", "|", "![](", "**a", "[a](", "[a][", "\\", "&", "<", "\n"),
        *("a\n", "- a\n", "  - a\n\n", "> a\n", "x ", "1. a\n", "| a |\n", "a|b\n", "```\n", "~~a "),
        *("<!--", "<think>", "*a_ ", "<b a='", "[x]: ", "::a:", "<div>\n", "    a\n", "# a\n", "a\n=\n"),
        *("](", "\t", "[[a]]("),
    ],
)  # fmt: skip
def test_hostile_runs_take_linear_time_and_bounded_memory(mark: str) -> None:
    """Quadratic time would exceed the test timeout."""
    plain = MarkdownStripper()
    run = mark * (15_000 // len(mark))
    for at in range(0, len(run), 1000):
        plain.feed(run[at : at + 1000])
        assert len(plain._source) <= 3 * MAX_BLOCK
    plain.flush()


def test_data_uri_of_any_length_is_not_spoken() -> None:
    text = f"Before ![a plot](data:image/png;base64,{'iVBORw0KGgo' * 20_000}) after."
    assert spoken(text) == "Before a plot after."
    assert spoken(*cut(text, [777] * 300)) == "Before a plot after."


def test_long_blocks_lose_no_word_and_no_number() -> None:
    items = "".join(f"{number}. item **{number}** of\n   the list\n" for number in range(1, 300))
    table = "a | b\n---|---\n" + "".join(f"x{number} | y{number}\n" for number in range(300))
    line = "word " * 2500
    for text in (items, table, line, items.replace("\n", "\n> "), f"```\n{line}\n```\nend"):
        assert re.findall(r"\w+", spoken(*cut(text, [97] * 1000))) == re.findall(r"\w+", spoken(text))
    assert spoken(table).count("y") == 300
    assert spoken(items).endswith("299. item 299 of the list")


def test_indented_lines_of_a_long_table_of_html_are_no_code() -> None:
    rows = "".join(
        f"  <tr>\n    <td>w{number}</td>\n    <td>v{number}</td>\n  </tr>\n" for number in range(400)
    )
    text = f"# Title\n\n<table>\n{rows}</table>\n\nEnd."
    for size in (64, 1000, len(text)):
        found = re.findall(r"[wv]\d+", spoken(*cut(text, [size] * (len(text) // size))))
        assert len(found) == 800


def test_deep_nesting_loses_no_word() -> None:
    quotes = "> " * 500 + "word"
    lists = "".join(f"{'  ' * depth}- w{depth}\n" for depth in range(60))
    assert spoken(quotes) == "word"
    assert spoken(lists).split(" | ") == [f"w{depth}" for depth in range(60)]


def test_the_parser_is_imported_with_the_first_text() -> None:
    code = (
        "import sys; from smallest_cli.text.markdown import MarkdownStripper; plain = MarkdownStripper();"
        "assert 'markdown_it' not in sys.modules; plain.feed(''); assert 'markdown_it' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
