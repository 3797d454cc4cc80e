"""What `?` asks for: the voices, the loudspeakers. One line each on stdout, columns apart by tabs."""

from __future__ import annotations

from collections.abc import Iterable

from smallest_cli import catalogue
from smallest_cli.safety import safe


def answer_question(voice: str | None, device: str | None) -> bool:
    """Answer the option that is a question, if one is; whether one was."""
    if device == "?":
        from smallest_cli.sinks.speaker import list_devices

        print_rows((each.name, "default" if each.default else "") for each in list_devices())
    elif voice == "?":
        print_rows(
            (each.id, each.name, each.model, each.gender or "", each.accent or "", ", ".join(each.languages))
            for each in catalogue.bundled()
        )
    else:
        return False
    return True


def print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    """Rows for a script to cut: no header, no padding, nothing that acts on a terminal."""
    for row in rows:
        print("\t".join(safe(cell) for cell in row))
