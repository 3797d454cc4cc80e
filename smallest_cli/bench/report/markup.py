"""Text for a page: the one place where what is shown becomes HTML."""

from __future__ import annotations

from html import escape

from smallest_cli.security import safe

LONGEST = 10_000


def markup(text: object) -> str:
    """Text in which a browser, or a terminal that the page is printed on, finds nothing to do."""
    return escape(safe(text, LONGEST), quote=True)
