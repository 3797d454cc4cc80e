"""Names of files out of whatever people write: on an allow-list, for every system, no two the same."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence

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
    """A safe name for each (wanted name, id); ids differ. What would collide is told apart by its id."""
    names = [safe_name(name) for name, _ in wanted]
    for digits in (8, 64):
        taken = Counter(map(same_place, names))
        names = [
            f"{safe_name(base)}-{_mark(id, digits)}" if taken[same_place(name)] > 1 else name
            for name, (base, id) in zip(names, wanted, strict=True)
        ]
    return names


def _mark(id: str, digits: int) -> str:
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
