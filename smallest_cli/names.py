"""Names of files out of whatever people write: on an allow-list, for every system, no two the same."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

LONGEST = 60
LONGEST_BYTES = 150
"""Of 255 that file systems take; a mark against collisions, the ending and `.part` come on top."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)


def safe_name(wanted: str) -> str:
    """A name of letters, digits, `-`, `_` and single dots, never empty, hidden or a Windows device."""
    shown = "".join(
        c if unicodedata.category(c)[0] in "LNM" or c in "-_." else "_"
        for c in unicodedata.normalize("NFC", wanted)
    )
    while ".." in shown:
        shown = shown.replace("..", ".")
    shown = shown[:LONGEST].encode("utf-8")[:LONGEST_BYTES].decode("utf-8", "ignore").strip(".")
    stem = unicodedata.normalize("NFKC", shown.partition(".")[0]).casefold()
    if not shown or stem in _RESERVED or shown[0] == "-" or unicodedata.category(shown[0])[0] == "M":
        return f"_{shown}"
    return shown


def same_place(name: str) -> str:
    """Equal for two names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def unique_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A safe name for each (wanted name, id): the first plain, what collides with it told apart by its id.

    So a row that is added behind the others renames none of them.
    """
    names: dict[str, str] = {}
    marks: defaultdict[str, Iterator[int]] = defaultdict(count)
    for base, id in wanted:
        name = plain = safe_name(base)
        while same_place(name) in names:
            name = f"{plain}-{_mark(id, next(marks[id]))}"
        names[same_place(name)] = name
    return list(names.values())


def _mark(id: str, number: int) -> str:
    """Another for each number, for rows that are the same."""
    return hashlib.sha256(f"{number} {id}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
