"""Markdown removed from arriving text, so that its marks are not read aloud.

markdown-it-py parses the last block again as it grows. Words are returned once no continuation can change
them; a block that is certain to have ended is dropped. So the words never depend on where the text was cut,
and time and memory do not grow with it. What is spoken for a mark is decided in `markdown_words`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from smallest_cli.text.breaks import LAST_STOP, LINE_BREAK, PARAGRAPH_BREAK

if TYPE_CHECKING:
    from markdown_it.token import Token

    from smallest_cli.text.markdown_words import Renderer, SpeechParser

MAX_BLOCK = 8192
"""Characters of a block that are parsed together: a mark must end within them, or it is taken for text."""
CHUNK = 4096
MAX_UNDECIDED = 1000
"""Characters of a line that may be waited for to know the kind of its block."""

_BLANKS = re.compile(r"\s+")
_LONG_DESTINATION = re.compile(r"((?:\]\(|\]:[ \t]?|=[\"'])<?[^\s()<>\"']{1000})[^\s()<>\"']+")
"""`data:` URIs are long; no destination is spoken."""
_LONG_RUN = re.compile(r"(([-_*=~`\t ])\2{999})\2+")
_DEEP_QUOTE = re.compile(r"^((?:[ \t]*[>*+-](?=[ \t>])){32})(?:[ \t]*[>*+-](?=[ \t>]))+", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}\Z")
_DECIDED = re.compile(
    r"[ \t]*(?:(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])|#{1,6}(?=[ \t]))[ \t]*)*"
    r"(?:\[[ xX]\][ \t]+)?(?:(?!```|~~~)[^\w\s<|\[]|_)*(?:[^\W\d_]|\d+[^\d.)\n]|\d+[.)][^\s\d])"
)
"""Start of a line whose block cannot become another kind."""
_FRONT_MATTER_MARKS = ("", "-", "--", "---", "+", "++", "+++")
_FRONT_MATTER_KEY = re.compile(r"[\w.-]+[ \t]*(?:=|:(?:\s|\Z))")
_ALERT = re.compile(r"\[!([A-Za-z]+)\][+-]?(?:[ \t]*\n|[ \t]+|\Z)")
_TASK = re.compile(r"\[[ xX]\](?:\s+|\Z)")
_TITLE = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\)"
_DEFINITION = re.compile(
    r"\[(?!\^)(?:\\.|[^\[\]\\])+\]:[ \t]*\n?[ \t]*(<[^<>\n]*>|[^\s<]\S*)"
    rf"(?:(?:[ \t]+|[ \t]*\n[ \t]*)(?:{_TITLE}))?[ \t]*(?:\n[ \t]*|\Z)"
)
_MAYBE_DEFINITION = re.compile(r"\[(?:\Z|(?!\^)(?:\\.|[^\[\]\\])*(?:\\?\Z|\](?:\Z|:[ \t]*\n?[ \t]*\S*\Z)))")
_URL_OR_PATH = re.compile(
    r"(?!\d+/\d+\Z|.*[?!,;]\Z)(?:<[^<>]*[/.#][^<>]*>|/|\.\.?/|#[^\W\d]|www\.|mailto:|.*(?:/|\w\.[a-z0-9]))"
)
_BLANK_IN_LINE = re.compile(r"[ \t](?=[^\s\[!])")
"""A blank that is spoken: one before a citation or at the end of a line is not."""
_SENTENCE_END = re.compile(r"(?:(?<!\d)\.|[!?…。！？])[\"'”’»)\]」』）]*\Z")
_SILENT_HTML = re.compile(r"[ \t]*<(?:!--|!\[CDATA\[|[?!]|(?:pre|script|style|textarea)\b)", re.IGNORECASE)
_MARK = re.compile(r"[*_~`\[<\\]")
_MARKUP = re.compile(r"\*\*|\]\(")
_CODE = re.compile(r"\s*[a-z](?!\))|.*(?:[{}=$|\\]|[a-z_]{2}\((?!\w{0,3}\))|->|::|--\w)", re.DOTALL)
"""Indented text that is code even in a document without any Markdown."""
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_SILENT = ("fence", "code_block", "hr")
_CONTAINERS = ("bullet_list", "ordered_list", "list_item", "blockquote", "table")


class _Leaf(NamedTuple):
    """A block with text, or a silent one. Lines count from the start of what was parsed."""

    kind: str
    content: str
    start: int
    end: int
    """The line after the last."""
    number: str = ""
    """The numbers of the list items that begin with it."""
    starts: str = ""
    """Its container, where that has marks of its own: `[!NOTE]` in a quote, `[x]` at the start of an item."""


class _Block(NamedTuple):
    """A block at the top level, an item of a list there, or a block in a quote there."""

    kind: str
    start: int
    leaves: list[_Leaf]


class MarkdownStripper:
    """Plain text of Markdown that is arriving."""

    def __init__(self) -> None:
        self._parser: SpeechParser | None = None
        self._start_document()

    def _start_document(self) -> None:
        self._source = ""
        self._grown = 0
        """Characters that came since it was parsed."""
        self._at_start = True
        """Front matter may still come."""
        self._returned = 0
        """Characters of the first pending block that were returned."""
        self._closed = (0, 0)
        """A leaf of that block, and the length of its content up to which all marks were closed."""
        self._continued = False
        """The first pending block is the rest of one that was too long."""
        self._after_item = self._has_text = self._joined = False
        self._is_plain = True
        """No Markdown was found yet: an indented block may be a paragraph, as in a licence."""
        self._thinking = False
        """The block begins within the thoughts of a language model."""

    def feed(self, fragment: str) -> str:
        """Add text; return the plain text that is certain now."""
        return "".join(self._feed(fragment))

    def release(self) -> str:
        """Return the plain text that is certain if no more text comes for a while: a last sentence, too."""
        self._at_start = False
        return "".join(self._advance(waiting=True))

    def flush(self) -> str:
        """Return what is left: the text ends here. What is fed next is a new document."""
        self._at_start = False
        text = "".join(self._advance(final=True))
        self._start_document()
        return text

    def _feed(self, fragment: str) -> Iterator[str]:
        if self._parser is None:
            from smallest_cli.text.markdown_words import Renderer, SpeechParser

            self._parser = SpeechParser()
            self._renderer: Renderer = Renderer(self._parser)
        for at in range(0, len(fragment), CHUNK):
            chunk = fragment[at : at + CHUNK]
            self._source += chunk
            if self._at_start and self._skip_front_matter():
                continue
            if len(self._source) > MAX_UNDECIDED:
                self._source = _LONG_RUN.sub(r"\1", _LONG_DESTINATION.sub(r"\1", self._source))
            self._grown += len(chunk)
            has_grown = self._grown >= len(self._source) // 32 and _BLANKS.search(chunk)
            if has_grown or len(self._source) > MAX_BLOCK:
                self._source = _EMPTY_LINES.sub("\n\n", _DEEP_QUOTE.sub(r"\1", self._source))
                yield from self._advance()

    def _skip_front_matter(self) -> bool:
        """Drop front matter from the start of the text; return whether it may still come."""
        mark, *lines = self._source.split("\n")
        mark = mark.rstrip()
        self._at_start = (
            not lines and self._source[:3] in ("---", "+++", mark) and mark in _FRONT_MATTER_MARKS
        )
        if lines and mark in ("---", "+++") and len(self._source) < MAX_BLOCK:
            complete = [line.rstrip() for line in lines[:-1]]
            first = next((line for line in complete if not line.startswith("#")), None)
            if first is None or _FRONT_MATTER_KEY.match(first):
                end = next((at for at, line in enumerate(complete) if line in (mark, "...")), None)
                self._at_start = end is None
                self._source = self._source if end is None else "\n".join(lines[end + 1 :])
        return self._at_start

    # Blocks

    def _advance(self, *, final: bool = False, waiting: bool = False) -> Iterator[str]:
        """Return what is certain, and drop the blocks that are certain to have ended."""
        self._grown = 0
        while self._parser and (text := self._decided(complete=final)).strip():
            blocks = self._parse(text)
            lines = self._source.split("\n")
            if self._continued and len(blocks) > 1:
                # The rest of a long block has ended: what follows is parsed again, with indented code.
                yield self._end_block(blocks[0])
                lines = lines[blocks[1].start :]
                self._source = "\n".join(lines)
                self._continued = lines[0].startswith((" ", "\t"))  # it may still be within its containers
                continue
            is_open = blocks and not final and not _has_ended(blocks[-1], text)  # an empty quote has no block
            open_block = blocks.pop() if is_open else None
            for block in blocks:
                yield self._end_block(block)
            if open_block is None:
                self._source = self._source[len(text) :]
            else:
                yield from self._open_words(open_block, text, lines, waiting=waiting)
            return

    def _decided(self, *, complete: bool) -> str:
        """Return the pending text without a last line whose block may become another kind."""
        at = self._source.rfind("\n") + 1
        line = self._source[at:]
        is_decided = complete or len(line) > MAX_UNDECIDED or _DECIDED.match(line)
        return self._source if is_decided else self._source[:at]

    def _end_block(self, block: _Block) -> str:
        """Return the words of a block that has ended, without those that were returned."""
        words = self._words(block)
        self._is_plain = self._is_plain and not _is_markdown(block)
        certain = words[self._returned :]
        self._has_text = self._has_text or bool(words)
        self._thinking = self._renderer.thinking
        self._after_item, self._continued = block.kind == "list_item", False
        # Words that were returned while more text did not come, and that now begin the next block.
        self._returned = max(0, self._returned - len(words))
        self._joined, self._closed = self._returned > 0, (0, 0)
        return certain

    def _parse(self, text: str) -> list[_Block]:
        assert self._parser  # noqa: S101
        (self._parser.disable if self._continued else self._parser.enable)("code")
        tokens: list[Token] = []
        self._parser.block.parse(text, self._parser, {}, tokens)
        blocks: list[_Block] = []
        stack: list[str] = []
        kind = number = starts = ""
        item = 0
        for token in tokens:
            name = re.sub("_(open|close)$", "", token.type)
            if token.nesting < 0:
                if name in _CONTAINERS:
                    stack.pop()
                if name == "list_item" and number:  # an item without text
                    blocks[-1].leaves.append(_Leaf("paragraph", "", item, item + 1, number))
                    number = ""
                continue
            start, end = token.map or (0, 0)
            if token.type != "inline":
                kind = name
                if _begins_block(stack, name):
                    blocks.append(_Block(name, start, []))
            if token.nesting > 0:
                if name in _CONTAINERS:
                    stack.append(name)
                if name == "list_item":
                    starts, item = name, start
                    number += f"{token.info}{token.markup} " if token.info else ""
                continue
            starts = "blockquote" if stack[-1:] == ["blockquote"] else starts
            blocks[-1].leaves.append(_Leaf(kind, token.content, start, end, number, starts))
            number = starts = ""
        return blocks

    # Words

    def _words(self, block: _Block, leaf_count: int | None = None, open_words: str = "") -> str:
        """Return the words of a block, or of its first leaves, followed by those of an open leaf."""
        self._renderer.thinking = self._thinking
        ended = block.leaves[:leaf_count]
        # A blank is before every break, so that the blank behind a sentence can be returned with it.
        parts = [f"{words} {LINE_BREAK}" for leaf in ended if (words := self._leaf_words(leaf)).strip()]
        if not any((*parts, open_words)):
            return ""
        return "".join((self._boundary(block), *parts, open_words))

    def _boundary(self, block: _Block) -> str:
        joins = (
            self._continued
            or self._joined
            or not self._has_text
            or (self._after_item and block.kind == "list_item")
        )
        return "" if joins else PARAGRAPH_BREAK

    def _leaf_words(self, leaf: _Leaf) -> str:
        if leaf.kind == "code_block" and self._is_plain:
            parts = _PARAGRAPH_END.split(leaf.content)
            return leaf.number + PARAGRAPH_BREAK.join(part for part in parts if not _CODE.match(part))
        if leaf.kind in _SILENT:
            return leaf.number
        if leaf.kind == "html_block":
            return leaf.number + self._renderer.html_words(leaf.content)
        lead, at = _lead(leaf, ended=True)
        words = [leaf.number, lead]
        content = leaf.content[at:]
        while content:
            end = _cut_at(content)
            words.append(self._renderer.words(content[:end]))
            content = content[end:]
        return "".join(words)

    def _open_words(self, block: _Block, text: str, lines: list[str], *, waiting: bool) -> Iterator[str]:
        """Return the words of the last block that are certain now, and bound what is kept of it."""
        last = block.leaves[-1] if block.leaves else None
        ended = sum(_leaf_has_ended(leaf, text) for leaf in block.leaves)
        words = self._words(block, ended)
        if last and ended < len(block.leaves) and last.kind in ("paragraph", "heading"):
            words = self._words(block, ended, self._certain(last, text, waiting=waiting))
        yield words[self._returned :]
        self._returned = max(self._returned, len(words))
        self._source = "\n".join(lines[block.start :])
        if last and len(self._source) > MAX_BLOCK:
            yield from self._cut(block, last, lines, ended)

    def _certain(self, leaf: _Leaf, text: str, *, waiting: bool) -> str:
        """Return the words of a leaf that is arriving which no continuation can change."""
        lead, start = _lead(leaf, ended=False)
        if start < 0:
            return ""
        content, is_complete = leaf.content[start:], text.endswith(("\n", " ", "\t"))
        last_line = content.rfind("\n") + 1
        is_head = "|" in content[last_line:] or not (text.endswith("\n") or waiting or last_line == 0)
        if is_head:  # the line may become the head of a table, which is another block
            content, is_complete = content[:last_line].rstrip(), True
        for end in self._ends(leaf, content, is_complete=is_complete, waiting=waiting):
            if end and self._renderer.is_certain(content[:end]):
                self._closed = (leaf.start, end)
                thinking = self._renderer.thinking
                words = self._renderer.words(content[:end])
                self._renderer.thinking = thinking
                is_word = words and not words[-1].isspace()  # else the blank may be in a silent element
                blank = content[end] if is_word and _BLANK_IN_LINE.match(content, end) else ""
                if is_word and end == len(content) and text[-1] in " \t" and re.search(LAST_STOP, words):
                    blank = " "
                return f"{leaf.number}{lead}{words}{blank}" if words.strip() else ""
        return ""

    def _ends(self, leaf: _Leaf, content: str, *, is_complete: bool, waiting: bool) -> Iterator[int]:
        """Yield places where the certain part of a content may end, the best first."""
        if is_complete or (waiting and _SENTENCE_END.search(content)):
            yield len(content)
        blank = max(content.rfind(" "), content.rfind("\n"))
        yield len(content[: blank + 1].rstrip())
        closed = self._closed[1] if self._closed[0] == leaf.start else 0
        mark = _MARK.search(content, closed)
        if mark:
            blank = max(content.rfind(" ", 0, mark.start()), content.rfind("\n", 0, mark.start()))
            yield len(content[: blank + 1].rstrip())

    def _cut(self, block: _Block, last: _Leaf, lines: list[str], ended: int) -> Iterator[str]:
        """Drop the first part of a long block, which was returned; the rest is parsed as a block."""
        rest = lines[max(last.start + 1, len(lines) - 1) :]
        opener = _SILENT_HTML.match(last.content) if last.kind == "html_block" else None
        if last.kind == "code_block":
            self._source = "\n".join(rest)
            return
        if last.kind == "fence":
            lines = [lines[last.start], *rest]
        elif opener:
            lines = [opener[0] + ">" * opener[0][-1].isalpha(), *rest]
        elif block.kind == "table":  # its head, and the last row
            kept = [leaf for leaf in block.leaves[:ended] if leaf.kind == "th" or leaf.start == last.start]
            lines = [*lines[block.start : block.start + 2], *lines[last.start :]]
            self._continued = True
            self._returned = len(self._words(_Block("table", 0, kept)))
        elif last.start > block.start:
            lines = lines[last.start :]
            dropped = self._words(block, len(block.leaves) - 1) or self._boundary(block)
            self._returned = max(0, self._returned - len(dropped))
        elif len(last.content) > MAX_BLOCK:
            definitions = _lead(last, ended=True)[1]
            end = last.content.rfind("\n", 0, definitions) + 1 or _cut_at(last.content)
            part = last._replace(content=last.content[:end])
            words = self._words(_Block(block.kind, 0, [part])).removesuffix(f" {LINE_BREAK}")
            yield words[self._returned :]
            blank = " " * lines[-1].endswith((" ", "\t"))  # which the parser removed
            lines = [*f"{last.content[end:]}{blank}".split("\n"), *lines[last.end :]]
            self._returned, self._closed = max(0, self._returned - len(words)), (0, 0)
        else:
            return
        self._source = "\n".join(lines)
        self._continued, self._thinking = True, self._renderer.thinking


def _begins_block(stack: list[str], name: str) -> bool:
    """Whether a block that begins within these containers is one of those that are dropped alone."""
    if not stack:
        return name not in ("bullet_list", "ordered_list", "blockquote")
    return stack == ["blockquote"] or (len(stack) == 1 and name == "list_item")


def _leaf_has_ended(leaf: _Leaf, text: str) -> bool:
    """Whether more text cannot belong to a leaf: a line follows, or it has a line of its own."""
    complete = text.count("\n")
    if leaf.kind in ("heading", "th", "td", "hr"):
        return leaf.end <= complete
    return leaf.end < complete + (not text.endswith("\n"))


def _has_ended(block: _Block, text: str) -> bool:
    """Whether more text cannot belong to the last block: an item or a table may go on after any line."""
    has_end = block.kind in ("paragraph", "heading", "html_block", *_SILENT)
    return has_end and all(_leaf_has_ended(leaf, text) for leaf in block.leaves)


def _is_markdown(block: _Block) -> bool:
    """Whether it has a mark that hardly occurs in plain text: numbered items do."""
    has_bullet = block.kind == "list_item" and not any(leaf.number for leaf in block.leaves[:1])
    has_markup = any(leaf.kind != "code_block" and _MARKUP.search(leaf.content) for leaf in block.leaves)
    return has_bullet or has_markup or block.kind in ("heading", "fence", "table", "html_block")


def _lead(leaf: _Leaf, *, ended: bool) -> tuple[str, int]:
    """Return what is spoken for marks at the start of a leaf, and their length: -1 if more text decides."""
    text = leaf.content
    if not text.startswith("["):
        return "", 0
    if leaf.starts == "list_item" and (task := _TASK.match(text)):
        return "", task.end()
    if leaf.starts == "blockquote" and (alert := _ALERT.match(text)):
        is_decided = ended or alert.end() < len(text)  # its title, or the text, has begun
        return (f"{alert[1].capitalize()}{LINE_BREAK}", alert.end()) if is_decided else ("", -1)
    if leaf.kind != "paragraph":
        return "", 0
    at = 0
    while (definition := _DEFINITION.match(text, at)) and _URL_OR_PATH.match(definition[1]):
        at = definition.end()
    if not ended and (at or _MAYBE_DEFINITION.match(text)):
        return "", -1
    return "", at


def _cut_at(content: str) -> int:
    """Return where a content that is too long is cut: after the last blank, else at the limit."""
    if len(content) <= MAX_BLOCK:
        return len(content)
    blank = max(content.rfind(" ", 0, MAX_BLOCK), content.rfind("\n", 0, MAX_BLOCK))
    return blank + 1 or MAX_BLOCK
