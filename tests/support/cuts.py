"""Text cut into fragments, as it may arrive."""

from __future__ import annotations

from collections.abc import Iterable


def cut(text: str, sizes: Iterable[int]) -> list[str]:
    """Return fragments of these sizes, and the rest."""
    fragments = []
    for size in sizes:
        fragments.append(text[:size])
        text = text[size:]
    return [*fragments, text]
