"""Inline Markdown and HTML to the words that are spoken, by the parser of markdown-it-py and rules of speech.

Speech deviates from CommonMark: `[x][y]` is a link without a definition, which may come at the end of the
text; `[1]` and `[^1]` are citations and not spoken; `*` between letters or digits is kept, and so is `<...>`
unless it is an HTML element. This module takes 50 ms to import.
"""

from __future__ import annotations

import html
import re
import unicodedata

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from smallest_cli.text.breaks import LAST_STOP, LINE_BREAK

MAX_NESTING = 400
"""Levels of nested blocks; a list takes two. Below the recursion limit."""
MAX_BRACKETS = 100
"""Opening brackets in one text above which those without a partner, or deeply nested, are taken for text."""
MAX_BRACKET_DEPTH = 16

_BLOCK_ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        """
        address article aside audio blockquote body br caption center col colgroup dd details dialog dir
        div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header
        hgroup hr html iframe legend li main math menu nav noframes noscript ol optgroup option p
        picture pre script search section select source style summary svg table tbody td template
        textarea tfoot th thead title tr ul video
        """,
    )
)
_INLINE_ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        """
        a abbr acronym applet area b base basefont bdi bdo big button canvas cite code data datalist del
        dfn em embed font i img input ins kbd label link map mark marquee meta meter nobr object output
        param progress q rb rp rt rtc ruby s samp slot small span strike strong sub sup time track tt u
        var wbr
        """,
    )
)
_SILENT_ELEMENTS = ("pre", "script", "style", "svg", "template", "textarea")
_BOOLEAN_ATTRIBUTES = frozenset(
    re.findall(
        r"\w+",
        """
        allowfullscreen async autofocus autoplay checked compact controls default defer disabled
        download hidden inert ismap itemscope loop multiple muted nomodule noshade novalidate nowrap
        open playsinline readonly required reversed selected
        """,
    )
)
_THOUGHT = ("think", "thinking")
"""Elements in which language models think before they answer."""

_ATTRIBUTE = r"\s+([A-Za-z_:@][\w:.-]*)(?:\s*=\s*([^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?"
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<attributes>(?:{_ATTRIBUTE})*)\s*/?>"
    r"|<!---?>|<!--.*?-->|<\?.*?\?>|<![A-Za-z][^>]*>|<!\[CDATA\[.*?\]\]>",
    re.DOTALL,
)
_CITATION = re.compile(r"\[(?:\d+|\^[^\]\[\s]+)\](?!\()")
_LABEL = re.compile(r"\[(?:\\.|[^\[\]\\])*\]", re.DOTALL)
_BRACKET = re.compile(r"\\.|[\[\]]", re.DOTALL)
_OTHER_BLOCK = re.compile(r">|(?:[-+*]|\d{1,9}[.)]|#{1,6})(?:[ \t]|\Z)")
_EMOJI_NAME = re.compile(r"(?<!\w):([a-z0-9_+-]+):(?!\w)")
_OPEN_MARK = re.compile(
    r"\][\[(]?\Z|\]\[[^]]*\Z"
    r"|\]\((?:<[^>]*|(?:[^()\s]|\([^()\s]*\)?)*(?:\s+(?:[\"'(].*)?)?)\Z"
    r"|<(?:[a-z/!?][^>]*)?\Z|<(?:!--|\?|!\[|think)",
    re.DOTALL | re.IGNORECASE,
)
"""A bracket or tag in literal text that more text may close."""
_UNSPACED_NAMES = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "BOPOMOFO")


class SpeechParser(MarkdownIt):
    """CommonMark with tables, strikethrough and the rules of speech. Definitions are text to it."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": True, "maxNesting": MAX_NESTING})
        self.enable(["table", "strikethrough"])
        self.disable("reference")
        self.block.ruler.at("table", _parse_table, {"alt": ["paragraph", "reference"]})
        self.inline.ruler.at("html_inline", _parse_tag)
        self.inline.ruler.before("emphasis", "star", _parse_star)
        self.inline.ruler.before("link", "bracket", _parse_bracket)

    def validateLink(self, url: str) -> bool:
        """Accept every destination: none is spoken."""
        return True

    def normalizeLink(self, url: str) -> str:
        """Return the destination unchanged."""
        return url

    def normalizeLinkText(self, link: str) -> str:
        """Return the text of an autolink as written."""
        return link


class Renderer:
    """Inline Markdown and HTML to spoken text. `thinking` is set within the thoughts of a language model."""

    def __init__(self, parser: SpeechParser) -> None:
        self.thinking = False
        self._parser = parser

    def words(self, text: str) -> str:
        """Return the spoken text of inline Markdown."""
        return self._spoken(self._parse(text).tokens)

    def is_certain(self, text: str) -> bool:
        """Whether no text behind `text`, which ends where a word does, could change its words."""
        state = self._parse(text)
        if (
            text.endswith("\\")
            or state.backticksScanned
            or any(each.open and each.end < 0 for each in state.delimiters)
        ):
            return False
        literal = "".join(token.content if token.type == "text" else "\0" for token in state.tokens)
        return not _OPEN_MARK.search(literal) and not _has_open_bracket(literal)

    def html_words(self, text: str) -> str:
        """Return the spoken text of a block of HTML."""
        if text.lstrip().startswith("<!--") and "-->" not in text:
            return ""
        words = []
        at = 0
        while tag := _find_tag(text, at):
            words.append("" if self.thinking else html.unescape(text[at : tag.start()]))
            words.append(self._tag(tag))
            at = tag.end()
            name = (tag["name"] or "").lower()
            if name in _SILENT_ELEMENTS and not tag["close"]:
                closing = re.compile(rf"</{name}\s*>|\Z", re.IGNORECASE).search(text, at)
                at = closing.start() if closing else at
        words.append("" if self.thinking else html.unescape(text[at:]))
        return "".join(words)

    def _parse(self, text: str) -> StateInline:
        state = StateInline(text, self._parser, {}, [])
        self._parser.inline.tokenize(state)
        for rule in self._parser.inline.ruler2.getRules(""):
            rule(state)
        return state

    def _spoken(self, tokens: list[Token]) -> str:
        words: list[str] = []
        struck = 0
        silent = ""
        for token in tokens:
            struck += (token.type == "s_open") - (token.type == "s_close")
            if token.type == "html_inline" and (tag := _TAG.match(token.content)):
                name = (tag["name"] or "").lower()
                if silent:
                    silent = "" if tag["close"] and name == silent else silent
                    continue
                words.append(self._tag(tag))
                silent = name if name in _SILENT_ELEMENTS and not tag["close"] else ""
            elif not (struck or silent or self.thinking):
                words.append(self._token(token))
        return "".join(words)

    def _token(self, token: Token) -> str:
        if token.type == "text":
            return _EMOJI_NAME.sub(_without_emoji, token.content) if ":" in token.content else token.content
        if token.type in ("text_special", "code_inline"):
            return token.content
        if token.type == "image":
            return self._spoken(token.children or [])
        return {"softbreak": " \n", "hardbreak": f" {LINE_BREAK}"}.get(token.type, "")

    def _tag(self, tag: re.Match[str]) -> str:
        """Return what is spoken for a tag; note the start and the end of thoughts."""
        name = (tag["name"] or "").lower()
        if name in _THOUGHT:
            self.thinking = not tag["close"]
            return LINE_BREAK
        if self.thinking:
            return ""
        if name == "img":
            attributes = {key.lower(): value for key, value in _ATTRIBUTES.findall(tag["attributes"])}
            return html.unescape(attributes.get("alt", "").strip("\"'"))
        return LINE_BREAK if name in _BLOCK_ELEMENTS else ""


def _has_open_bracket(text: str) -> bool:
    depth = 0
    for bracket in re.findall(r"[\[\]]", text):
        depth = depth + 1 if bracket == "[" else max(0, depth - 1)
    return depth > 0


def _is_element(tag: re.Match[str]) -> bool:
    """Whether it is a comment, a declaration, or a tag of HTML: anything else in <...> is text."""
    name = (tag["name"] or "").lower()
    if name in _THOUGHT:
        # Within a line it is a mention, unless the thought ends in the same paragraph.
        starts_line = tag.start() == 0 or tag.string[tag.start() - 1] == "\n"
        return bool(starts_line or tag["close"] or f"</{name}" in tag.string[tag.end() :].lower())
    if not name:
        return True
    if name not in _BLOCK_ELEMENTS and name not in _INLINE_ELEMENTS:
        return False
    attributes = _ATTRIBUTES.findall(tag["attributes"])
    if tag["close"]:
        return not attributes
    return all(value or key.lower() in _BOOLEAN_ATTRIBUTES for key, value in attributes)


def _find_tag(text: str, at: int) -> re.Match[str] | None:
    return next((tag for tag in _TAG.finditer(text, at) if _is_element(tag)), None)


def _without_emoji(name: re.Match[str]) -> str:
    from rich.emoji import Emoji, NoEmoji

    try:
        Emoji(name[1])
    except NoEmoji:
        return name[0]
    return ""


# Rules of the parser: each handles what begins at `state.pos`, or a line, and returns whether it did


def _parse_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a table unless its head begins another block, as `- a | b` does on GitHub."""
    head = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    return not _OTHER_BLOCK.match(head) and table(state, start, end, silent)


def _parse_tag(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "<" or not (tag := _TAG.match(state.src, state.pos, state.posMax)):
        return False
    if not _is_element(tag):
        return False
    if not silent:
        state.push("html_inline", "", 0).content = tag[0]
    state.pos = tag.end()
    return True


def _parse_star(state: StateInline, silent: bool) -> bool:
    """Keep `*` and `**` within a word of a script that is written with blanks."""
    if silent or state.src[state.pos] != "*" or not state.pos:
        return False
    end = state.pos + 1
    while end < state.posMax and state.src[end] == "*":
        end += 1
    if end >= state.posMax or not (_joins(state.src[state.pos - 1]) and _joins(state.src[end])):
        return False
    state.pending += state.src[state.pos : end]
    state.pos = end
    return True


def _joins(character: str) -> bool:
    """Whether it is a letter, digit, or a mark of one such as a vowel sign, in a script with blanks."""
    if unicodedata.category(character)[0] not in "LNM":
        return False
    return character < "\u0e00" or not unicodedata.name(character, "").startswith(_UNSPACED_NAMES)


def _parse_bracket(state: StateInline, silent: bool) -> bool:
    """Parse citations and links by reference; take brackets that cannot be a link for text."""
    is_image = state.src[state.pos] == "!"
    start = state.pos + is_image
    if start >= state.posMax or state.src[start] != "[":
        return False
    if _is_text(state, start):
        if not silent:
            state.pending += state.src[state.pos]
        state.pos += 1
        return True
    citation = None if is_image else _CITATION.match(state.src, start, state.posMax)
    if citation:
        # The blank before it goes, unless a sentence may have been returned with it.
        if not silent and not re.search(LAST_STOP, before := state.pending.rstrip(" ")):
            state.pending = before
        starts_line = start == 0 or state.src[start - 1] == "\n"
        # The colon of a footnote's text goes, too.
        state.pos = citation.end() + (starts_line and state.src.startswith(":", citation.end()))
        return True
    end = state.md.helpers.parseLinkLabel(state, start, not is_image)
    reference = _LABEL.match(state.src, end + 1, state.posMax) if end >= 0 else None
    if reference is None:
        return False
    if not silent:
        _push_link(state, start, end, is_image=is_image)
    state.pos = reference.end()
    return True


def _push_link(state: StateInline, start: int, end: int, *, is_image: bool) -> None:
    if is_image:
        children: list[Token] = []
        state.md.inline.parse(state.src[start + 1 : end], state.md, state.env, children)
        state.push("image", "img", 0).children = children
        return
    maximum = state.posMax
    state.pos, state.posMax = start + 1, end
    state.push("link_open", "a", 1)
    state.linkLevel += 1
    state.md.inline.tokenize(state)
    state.linkLevel -= 1
    state.push("link_close", "a", -1)
    state.posMax = maximum


def _is_text(state: StateInline, at: int) -> bool:
    """Whether the bracket at `at` cannot be a link. Without this, many brackets take quadratic time."""
    if state.src.count("[") <= MAX_BRACKETS:
        return False
    known = state.env.get("brackets")
    if known is None or known[0] != state.src:
        paired, opened = set(), []
        for match in _BRACKET.finditer(state.src):
            if match[0] == "[":
                opened.append(match.start())
            elif match[0] == "]" and opened:
                if len(opened) <= MAX_BRACKET_DEPTH:
                    paired.add(opened[-1])
                opened.pop()
        known = state.env["brackets"] = (state.src, paired)
    return at not in known[1]
