"""The audio cache: audio of past segments, so that a repeated request is not billed again.

An entry is a file: a line of JSON (a hash, the word times where they were requested), then PCM. Its name is
a hash of everything that changes the audio. Neither holds a text or a key, except the words of word times.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.models import SpeechRequest, WordTiming
from smallest_cli.security import os_error_text, printable, translate_os_errors
from smallest_cli.settings import NO_LINK, Settings, read_regular
from smallest_cli.voices import cache_path

VERSION = 1
"""Version of the entry format; part of each entry's name."""
NON_AUDIO_FIELDS = ("completion_wait_ms", "session_id", "request_id", "speaker")
"""Fields of a request that do not change the audio."""
ABANDONED_S = 3600
"""Age in seconds from which an unfinished entry has no writer any more."""


class CachedAudio(NamedTuple):
    """A complete segment: s16le, and its word times where they were requested."""

    pcm: bytes
    words: tuple[WordTiming, ...] = ()


class CacheSize(NamedTuple):
    """The size of the cache."""

    entries: int
    byte_count: int


class AudioCache:
    """A private folder of at most `max_bytes`; the least recently used entries are removed first.

    Several processes may use it. An entry that cannot be read is a miss; one that cannot be written is not
    kept. `service` is the base URL, or "local" for the offline server, whose port changes. `dictionaries` is
    a hash of the content of those that are used.
    """

    def __init__(
        self, folder: Path, max_bytes: int, service: str = "", api: str = "", dictionaries: str = ""
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._scope = (VERSION, service.rstrip("/"), api, dictionaries)

    def get(self, request: SpeechRequest) -> CachedAudio | None:
        """Return the audio of a request; None if it is missing or damaged."""
        path = self.folder / self._name(request)
        try:
            head, _, pcm = read_regular(path, self.max_bytes, NO_LINK)[0].partition(b"\n")
            fields = json.loads(head)
            words = tuple(WordTiming(*word) for word in fields["words"])
            if fields["sha256"] != _digest(fields["words"], pcm):
                return None
            os.utime(path)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return CachedAudio(pcm, words) if _is_storable(pcm, request) else None

    def put(self, request: SpeechRequest, pcm: bytes, words: Sequence[WordTiming] = ()) -> None:
        """Store the audio of a complete segment."""
        from smallest_cli.files import atomic_write

        if not _is_storable(pcm, request):
            return
        rows = [(word.word, word.start, word.end, word.number) for word in words]
        head = json.dumps({"sha256": _digest(rows, pcm), "words": rows}).encode()
        if len(head) + len(pcm) >= self.max_bytes:
            return
        with suppress(OutputError):
            atomic_write(self.folder / self._name(request), head + b"\n" + pcm, mode=0o600)
        self._shrink()

    def size(self) -> CacheSize:
        """Return the size of the cache."""
        found = [status for path, status in self._files() if path.suffix != ".part"]
        return CacheSize(len(found), sum(status.st_size for status in found))

    def clear(self) -> CacheSize:
        """Remove all entries; return their size. Raises OutputError."""
        size = self.size()
        for path, _ in self._files():
            with translate_os_errors(OutputError, "clear", self.folder):
                path.unlink(missing_ok=True)
        return size

    def _name(self, request: SpeechRequest) -> str:
        scoped = [*self._scope, audio_fields(request)]
        return hashlib.sha256(json.dumps(scoped, sort_keys=True).encode()).hexdigest()

    def _shrink(self) -> None:
        found = self._files()
        total = sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda each: each[1].st_mtime_ns):
            abandoned = path.suffix == ".part" and time.time() - status.st_mtime > ABANDONED_S
            if abandoned or (total > self.max_bytes and path.suffix != ".part"):
                with suppress(OSError):
                    path.unlink()
                total -= status.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Return the files named as entries; another process may remove them meanwhile."""
        found = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if re.fullmatch(r"[0-9a-f]{64}((\.[0-9a-f]{8})?\.part)?", path.name):
                    with suppress(OSError):
                        if stat.S_ISREG((status := path.lstat()).st_mode):
                            found.append((path, status))
        return found


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the entries."""
    return cache_path(environ).with_name("speech")


def open_cache(
    settings: Settings, warn: Callable[[str], None], *, dictionaries: str = ""
) -> AudioCache | None:
    """Return the cache, creating its folder; None if that fails. `dictionaries` as in AudioCache.

    Raises SettingsError if other users can read or write it.
    """
    folder = cache_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        warn(f"cannot cache in {printable(folder)}: {os_error_text(error)}; --no-cache turns this off")
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise SettingsError(f"{printable(folder)} is not a directory", hint="--no-cache turns the cache off")
    if os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        hint = f"chmod 700 {printable(folder)}"
        raise SettingsError(f"{printable(folder)} is open to other users", hint=hint)
    service = "local" if settings.local else settings.base_url
    return AudioCache(folder, settings.cache_max_mb * 1_000_000, service, settings.api, dictionaries)


def audio_fields(request: SpeechRequest) -> dict[str, Any]:
    """Return the fields of a request that change its audio."""
    fields = request._asdict() | {"format": request.format._asdict()}
    for name in NON_AUDIO_FIELDS:
        del fields[name]
    return fields


def _is_storable(pcm: bytes, request: SpeechRequest) -> bool:
    return bool(pcm) and len(pcm) % request.format.frame_size == 0


def _digest(words: Any, pcm: bytes) -> str:
    return hashlib.sha256(json.dumps(words).encode() + b"\n" + pcm).hexdigest()
