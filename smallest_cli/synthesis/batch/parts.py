"""`.part` files of runs that were cut off; they go when the file that each would have been is whole."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from smallest_cli.synthesis.batch.items import Item

Parts = dict[str, list[Path]]


def find_parts(folder: Path) -> Parts:
    """What earlier runs left, by the name of the file it would have been."""
    found: Parts = {}
    for path in folder.glob("*.part"):
        name = re.sub(r"(\.[0-9a-f]{8})?\.part$", "", path.name)
        found.setdefault(name, []).append(path)
    return found


def remove_parts(parts: Parts, item: Item) -> None:
    """Remove those of an item whose file is whole. One that cannot be removed harms nobody."""
    for part in parts.pop(item.path.name, ()):
        with suppress(OSError):
            part.unlink()
