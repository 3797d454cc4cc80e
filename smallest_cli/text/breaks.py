"""Marks in text that is prepared for speech: between the steps of this package, never sent."""

from __future__ import annotations

from typing import NamedTuple

LINE_BREAK = "\u2028"
"""Ends a sentence: after a heading, list item, table cell or line of verse."""
PARAGRAPH_BREAK = "\u2029"
"""Ends a paragraph: a pause follows."""


LAST_STOP = r"[.!?…。！？][\"'”’»)\]」』）]*\Z"
"""A pattern: a stop at the end of a text, and the marks that close behind it."""


class Break(NamedTuple):
    """The end of a line, or of a paragraph: what follows is a segment of its own."""

    paragraph: bool = False


class Pause(NamedTuple):
    """Silence that the text asks for."""

    seconds: float


class Speaker(NamedTuple):
    """The following text, up to the next speaker or paragraph, is spoken in the voice of `name`."""

    name: str


Mark = Break | Pause | Speaker
Item = str | Mark
