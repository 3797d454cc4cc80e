"""`smallest cache`: manage the audio cache of `--cache`."""

from __future__ import annotations

from typing import Annotated

import typer

from smallest_cli.cli.console import print_json
from smallest_cli.cli.tables import print_facts
from smallest_cli.client.cache import AudioCache, cache_folder
from smallest_cli.settings import load_settings

cache = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@cache.callback()
def describe() -> None:
    """Manage the audio cache; cache info | clear."""


def _open() -> AudioCache:
    return AudioCache(cache_folder(), load_settings({}).cache_max_mb * 1_000_000)


@cache.command("info")
def info(as_json: AsJson = False) -> None:
    """Show the folder, its size and its limit."""
    folder = _open()
    size = folder.size()
    facts = {
        "folder": str(folder.folder),
        "segments": size.entries,
        "bytes": size.byte_count,
        "max_bytes": folder.max_bytes,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


@cache.command("clear")
def clear(as_json: AsJson = False) -> None:
    """Empty the cache."""
    size = _open().clear()
    facts = {"segments": size.entries, "bytes": size.byte_count}
    if as_json:
        print_json(facts)
    else:
        print_facts({f"cleared {name}": value for name, value in facts.items()})
