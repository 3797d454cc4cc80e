"""The words that speech must have of a complete Markdown document, by plain markdown-it.

It sees the complete document, and applies the deviations of speech (docs/cli.md) to the parser's tokens. It
shares no code with `smallest_cli.text.markdown`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.token import Token
from rich.emoji import Emoji, NoEmoji

from smallest_cli.text.breaks import LINE_BREAK, PARAGRAPH_BREAK

HTML = frozenset(
    re.findall(
        r"\w+",
        """
        a abbr address area article aside audio b base bdi bdo big blockquote body br button canvas
        caption center cite code col colgroup data datalist dd del details dfn dialog div dl dt em embed
        fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html i
        iframe img input ins kbd label legend li link main map mark menu meta meter nav noscript object
        ol optgroup option output p param picture pre progress q rp rt ruby s samp script search section
        select slot small source span strike strong style sub summary sup svg table tbody td template
        textarea tfoot th thead time title tr track tt u ul var video wbr
        """,
    )
)
INLINE_HTML = frozenset(
    re.findall(
        r"\w+",
        """
        a abbr b bdi bdo big cite code data del dfn em font i img input ins kbd label mark q rp rt ruby
        s samp small span strike strong sub sup time tt u var wbr picture source map object
        """,
    )
)
SILENT_HTML = "pre|script|style|svg|template|textarea"
TAG = re.compile(
    r"<!--.*?-->|<\?.*?\?>|<![A-Za-z][^>]*>|"
    r"<(?P<close>/?)(?P<name>[A-Za-z][\w-]*)"
    r"(?P<attributes>(?:\s+[\w:@.-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?)*)\s*/?>",
    re.DOTALL,
)
VALUED = re.compile(r"([\w:@.-]+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)")
BOOLEAN = frozenset(
    re.findall(r"\w+", "checked controls disabled hidden open autoplay loop muted reversed async defer")
)
LABELS = re.compile(r"(?:\[((?:\\.|[^\[\]\\])*))?\]\[((?:\\.|[^\[\]\\])*)\]")
CITATION = re.compile(r"[ \t]*\[(?:\d+|\^[^\]\[\s]+)\]")
DEFINITION = re.compile(
    r"\[(?!\^)(?:\\.|[^\[\]\\])+\]:\s*(<[^<>\n]*>|(?!<)\S+)"
    r"(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*(?:\n\s*|\Z)"
)
DESTINATION = re.compile(r"[/#<]|\./|\.\./|www\.|mailto:|\S*/|\S*\w\.\w")
FRONT_MATTER = re.compile(
    r"\A(---|\+\+\+)[ \t]*\n(?:[ \t]*\n|#.*\n)*[\w.-]+[ \t]*[:=][ \t\n](?:.*\n)*?(?:\1|\.\.\.)[ \t]*\n"
)
ALERT = re.compile(r"\[!(note|tip|important|warning|caution)\][ \t]*(?:\n|\Z)", re.IGNORECASE)
INNER_STARS = re.compile(
    r"(?<=[^\W_])(?<![぀-ヿ㐀-鿿가-힣\u0e00-\u0eff])(\*\*?)(?=[^\W_])(?![぀-ヿ㐀-鿿가-힣\u0e00-\u0eff])"
)
THOUGHT = re.compile(r"(</?think(?:ing)?>)")


class _Parser(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("commonmark", {"html": True, "maxNesting": 100})
        self.enable(["table", "strikethrough"]).disable("reference")

    def validateLink(self, url: str) -> bool:
        return True


SIGNS = ((PARAGRAPH_BREAK, " ¶ "), (LINE_BREAK, " | "))


class Difference(NamedTuple):
    lost: list[str]
    added: list[str]


def compare(document: str, spoken: str) -> Difference:
    """Words of a document that are not spoken, and spoken words that it does not have."""
    expected, actual = words(reference(document)), words(spoken)
    lost: list[str] = []
    added: list[str] = []
    if expected != actual:
        matcher = SequenceMatcher(None, expected, actual, autojunk=False)
        for kind, a, b, c, d in matcher.get_opcodes():
            if kind != "equal":
                lost += expected[a:b]
                added += actual[c:d]
    return Difference(lost, added)


def words(text: str) -> list[str]:
    """Runs of letters and digits."""
    return re.findall(r"\w+", text)


def link_targets(document: str) -> set[str]:
    """Destinations of links and images of a document, autolinks aside."""
    found: set[str] = set()
    for token in MarkdownIt("commonmark").parse(document):
        for child in token.children or []:
            if child.type in ("link_open", "image") and child.info != "auto":
                found.add(str(child.attrs.get("href") or child.attrs.get("src")))
    return found


def reference(document: str) -> str:
    """The text that is spoken of a document, up to blanks."""
    document = FRONT_MATTER.sub("", document, count=1)
    document = INNER_STARS.sub(lambda stars: "\\" + "\\".join(stars[1]), document)
    labels = {normalizeReference(second or first) for first, second in LABELS.findall(document)}
    known = {label: {"href": "", "title": ""} for label in labels if label}
    tokens = _Parser().parse(document, {"references": known})
    spoken: list[str] = []
    thinking = False
    for part in THOUGHT.split(" ".join(_blocks(tokens))):
        if THOUGHT.fullmatch(part):
            thinking = not part.startswith("</")
        elif not thinking:
            spoken.append(part)
    return " ".join(spoken)


def _blocks(tokens: list[Token]) -> Iterator[str]:
    for index, token in enumerate(tokens):
        if token.type == "list_item_open" and token.info:
            yield token.info + token.markup
        elif token.type == "inline":
            yield from _leaf(tokens, index)
        elif token.type == "html_block":
            yield _html(token.content)


def _leaf(tokens: list[Token], index: int) -> Iterator[str]:
    token = tokens[index]
    before = [t.type for t in tokens[max(0, index - 2) : index]]
    content = token.content
    if "paragraph_open" in before or "heading_open" in before:
        at = 0
        while (definition := DEFINITION.match(content, at)) and DESTINATION.match(definition[1]):
            at = definition.end()
        if "list_item_open" in before and (task := re.match(r"\[[ xX]\](?=\s|\Z)", content)):
            at = task.end()
        elif alert := ALERT.match(content):
            yield alert[1].capitalize()
            at = alert.end()
        if at:
            labels = {
                normalizeReference(b or a): {"href": "", "title": ""} for a, b in LABELS.findall(content)
            }
            (token,) = _Parser().parseInline(content[at:], {"references": labels})
    yield _inline(token.children or [])


def _inline(children: list[Token]) -> str:
    parts: list[str] = []
    struck = 0
    at = 0
    while at < len(children):
        token = children[at]
        struck += (token.type == "s_open") - (token.type == "s_close")
        if token.type == "html_inline":
            parts.append(_html(token.content))
            name = re.match(rf"<({SILENT_HTML})\b", token.content, re.IGNORECASE)
            for later in range(at + 1, len(children)) if name else ():
                if name and children[later].content.lower().startswith(f"</{name[1].lower()}"):
                    at = later
                    break
        elif struck:
            pass
        elif token.type == "text":
            parts.append(token.content)
        elif token.type in ("code_inline", "text_special"):
            parts.append(f"\0{token.content}\0")
        elif token.type == "image":
            parts.append(_inline(token.children or []))
        elif token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.type == "link_open" and not token.attrs.get("href"):
            text = children[at + 1].content
            if re.fullmatch(r"\d+|\^\S+", text):
                at += 2
        at += 1
    pieces = "".join(parts).split("\0")
    pieces[::2] = [re.sub(r":([a-z0-9_+-]+):", _emoji, CITATION.sub("", piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _emoji(name: re.Match[str]) -> str:
    try:
        Emoji(name[1])
    except NoEmoji:
        return name[0]
    return ""


def _html(text: str) -> str:
    text = re.sub(
        r"\A\s*<(?:script|pre|style|textarea)\b.*?(?:</(?:script|pre|style|textarea)>|\Z)",
        "",
        text,
        flags=re.DOTALL | re.I,
    )
    text = re.sub(r"\A\s*<!--(?!.*-->).*", "", text, flags=re.DOTALL)
    text = re.sub(rf"<({SILENT_HTML})\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL | re.IGNORECASE)
    parts: list[str] = []
    at = 0
    for tag in TAG.finditer(text):
        parts.append(_decoded(text[at : tag.start()]))
        parts.append(_tag(tag))
        at = tag.end()
    return "".join(parts) + _decoded(text[at:])


def _decoded(text: str) -> str:
    return re.sub(r"&#?\w+;", lambda entity: html.unescape(entity[0]), text)


def _tag(tag: re.Match[str]) -> str:
    name = (tag["name"] or "").lower()
    attributes = tag["attributes"] or ""
    if re.fullmatch(r"think(ing)?", name):
        return f"<{tag['close']}{name}>"
    valued = VALUED.findall(attributes)
    bare = VALUED.sub("", attributes).split()
    if name and (name not in HTML or any(word.lower() not in BOOLEAN for word in bare)):
        return tag[0]
    if name == "img":
        return " ".join(html.unescape(value.strip("\"'")) for key, value in valued if key.lower() == "alt")
    return "" if name in INLINE_HTML or not name else " "


def shown(text: str) -> str:
    """Return text with single blanks, | for the end of a line and ¶ for that of a paragraph."""

    def strongest(blanks: re.Match[str]) -> str:
        return next((sign for mark, sign in SIGNS if mark in blanks[0]), " ")

    return re.sub(rf"[\s{LINE_BREAK}{PARAGRAPH_BREAK}]+", strongest, text).strip(" |¶")
