"""`smallest cache`: show and empty the audio cache."""

from __future__ import annotations

from smallest_cli.cli.help import HelpTyper
from smallest_cli.cli.options import JsonOption
from smallest_cli.cli.tables import print_facts
from smallest_cli.client.cache import AudioCache, cache_folder
from smallest_cli.settings import load_settings

cache = HelpTyper(help="Manage the audio cache; cache info | clear.")


def _open() -> AudioCache:
    return AudioCache(cache_folder(), load_settings({}).cache_max_mb * 1_000_000)


@cache.command("info")
def info(as_json: JsonOption = False) -> None:
    """Show the folder, the size and the size limit in bytes."""
    audio_cache = _open()
    size = audio_cache.size()
    facts = {"segments": size.entries, "bytes": size.byte_count, "max_bytes": audio_cache.max_bytes}
    print_facts({"folder": str(audio_cache.folder), **facts}, as_json=as_json)


@cache.command("clear")
def clear(as_json: JsonOption = False) -> None:
    """Empty the cache."""
    removed = _open().clear()
    prefix = "" if as_json else "cleared "
    print_facts({f"{prefix}segments": removed.entries, f"{prefix}bytes": removed.byte_count}, as_json=as_json)
