"""`smallest cache`: what `--cache` keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from smallest_cli.cli.console import print_json
from smallest_cli.cli.tables import print_facts
from smallest_cli.client.cache import Store, store_folder
from smallest_cli.settings import load_settings

cache = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@cache.callback()
def describe() -> None:
    """What `--cache` keeps on this machine; cache info | clear."""


def _store() -> Store:
    return Store(store_folder(), load_settings({}).cache_max_mb * 1_000_000)


@cache.command("info")
def info(as_json: AsJson = False) -> None:
    """Where it is, how much is in it, and how much may be."""
    store = _store()
    held = store.holdings()
    told = {
        "folder": str(store.folder),
        "segments": held.entries,
        "bytes": held.byte_count,
        "max_bytes": store.max_bytes,
    }
    if as_json:
        print_json(told)
    else:
        print_facts(told)


@cache.command("clear")
def clear(as_json: AsJson = False) -> None:
    """Throw it away."""
    held = _store().clear()
    told = {"segments": held.entries, "bytes": held.byte_count}
    if as_json:
        print_json(told)
    else:
        print_facts({f"cleared {name}": value for name, value in told.items()})
