"""The audio cache: completed segments on disk, so that a repeated request costs nothing.

An entry is a file: one line of JSON (a checksum, and word timings if they were requested), then PCM. Its name
is a hash of every request field that affects the audio. Neither holds a key, nor text but the timed words.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.models import AudioChunk, Completed, Event, Service, SpeechRequest, Transport, WordTiming
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import os_error_text, printable
from smallest_cli.settings import Settings
from smallest_cli.transports import open_transport
from smallest_cli.voices import cache_path

VERSION = 1
"""Of the file format; part of the hash, so that entries of another version are never read."""
SILENT_FIELDS = ("completion_wait_ms", "session_id", "request_id")
"""Fields of a request that do not affect the audio."""
ABANDONED_S = 3600
"""Age in seconds from which the temporary file of an entry is taken for a crashed process's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A completed segment: s16le audio, and word timings if they were requested."""

    pcm: bytes
    words: tuple[WordTiming, ...] = ()


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much a cache holds."""

    entries: int
    byte_count: int


class Store:
    """A folder of at most `max_bytes` of entries; the least recently used are evicted first.

    Several processes may share it. Read errors count as a miss, write errors are ignored.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def get(self, key: str) -> Entry | None:
        """Return an entry, None where it is missing or damaged. Marks it as used now."""
        path = self.folder / key
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(descriptor, "rb") as file:
                head, _, body = file.read().partition(b"\n")
            fields = json.loads(head)
            words = tuple(WordTiming(*word) for word in fields["words"])
            if fields["sha256"] != _digest(fields["words"], body) or not body:
                return None
            os.utime(path)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return Entry(body, words)

    def put(self, key: str, entry: Entry) -> None:
        """Write an entry atomically, then evict others to stay under the limit."""
        words = [(word.word, word.start, word.end, word.index) for word in entry.words]
        head = json.dumps({"sha256": _digest(words, entry.pcm), "words": words}).encode()
        if len(head) + len(entry.pcm) >= self.max_bytes:
            return
        part = self.folder / f"{key}.{os.urandom(4).hex()}.part"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(head + b"\n" + entry.pcm)
            os.replace(part, self.folder / key)
        except OSError:
            with suppress(OSError):
                part.unlink()
        self._evict()

    def _evict(self) -> None:
        found = self._files()
        total = sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda each: each[1].st_mtime_ns):  # oldest use first
            abandoned = path.suffix == ".part" and time.time() - status.st_mtime > ABANDONED_S
            if abandoned or (total > self.max_bytes and path.suffix != ".part"):
                with suppress(OSError):
                    path.unlink()
                total -= status.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Return entries and temporary files; another process may remove them at any time."""
        found = []
        with suppress(OSError):
            for each in filter(_is_ours, self.folder.iterdir()):
                with suppress(OSError):
                    if stat.S_ISREG((status := each.lstat()).st_mode):
                        found.append((each, status))
        return found

    def holdings(self) -> Holdings:
        """Return the number and size of the entries."""
        found = [status for path, status in self._files() if path.suffix != ".part"]
        return Holdings(len(found), sum(status.st_size for status in found))

    def clear(self) -> Holdings:
        """Remove all entries and return what they were. Raises OutputError."""
        held = self.holdings()
        for path, _ in self._files():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"cannot clear {printable(self.folder)}: {os_error_text(error)}") from None
        return held


def _is_ours(path: Path) -> bool:
    """Whether a file has a name of the cache's: no other is counted or removed."""
    return re.fullmatch(r"[0-9a-f]{64}(\.[0-9a-f]{8}\.part)?", path.name) is not None


def store_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the cache."""
    return cache_path(environ).with_name("speech")


def open_store(max_bytes: int, environ: Mapping[str, str] = os.environ) -> Store:
    """Open the cache and create its folder if necessary.

    Raises OutputError where it cannot be created, SettingsError where other users have access to it.
    """
    folder = store_folder(environ)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise OutputError(f"cannot create the cache {printable(folder)}: {os_error_text(error)}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise SettingsError(f"{printable(folder)} is not a directory", hint="use --no-cache")
    if os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        raise SettingsError(
            f"{printable(folder)} is open to other users", hint=f"chmod 700 {printable(folder)}"
        )
    return Store(folder, max_bytes)


def audible_fields(request: SpeechRequest) -> dict[str, Any]:
    """Return the fields of a request that affect the audio."""
    fields = asdict(request)
    for name in SILENT_FIELDS:
        del fields[name]
    return fields


class Cache:
    """Answers a request out of the store, or keeps what a transport answers. `hits` counts the former.

    `place` is the service that is asked, "local" for the offline server, wherever that listens.
    """

    def __init__(self, store: Store, place: str, api: str) -> None:
        self._store = store
        self._scope = (VERSION, place.rstrip("/"), api)
        self.hits = 0

    def over(
        self, request: SpeechRequest, synthesize: Callable[[SpeechRequest], Iterator[Event]]
    ) -> Iterator[Event]:
        """One segment. What came out of the store is marked, and nothing was sent for it."""
        key = self._key(request)
        entry = self._store.get(key)
        if entry is None or len(entry.pcm) % request.format.frame_size:
            yield from self._keeping(key, request, synthesize(request))
            return
        self.hits += 1
        now = time.perf_counter_ns()
        yield AudioChunk(entry.pcm, at_ns=now, cached=True)
        yield from entry.words
        yield Completed(at_ns=now)

    def _keeping(self, key: str, request: SpeechRequest, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; the segment is kept once its end was announced, and never before."""
        pcm = bytearray()
        words: list[WordTiming] = []
        whole = False
        for event in events:
            match event:
                case AudioChunk(pcm=piece):
                    pcm += piece
                case WordTiming():
                    words.append(event)
                case Completed():
                    whole = True
            yield event
        if whole and pcm and len(pcm) % request.format.frame_size == 0:
            self._store.put(key, Entry(bytes(pcm), tuple(words)))

    def _key(self, request: SpeechRequest) -> str:
        scoped = [*self._scope, audible_fields(request)]
        return hashlib.sha256(json.dumps(scoped, sort_keys=True).encode()).hexdigest()


def _digest(words: Any, pcm: bytes) -> str:
    return hashlib.sha256(json.dumps(words).encode() + b"\n" + pcm).hexdigest()


@dataclass(frozen=True)
class Source:
    """One thread's; `transport` is the way past the cache."""

    transport: Transport
    cache: Cache | None = None

    @property
    def hits(self) -> int:
        """Segments that the service was not asked for."""
        return self.cache.hits if self.cache else 0

    def synthesize(self, request: SpeechRequest) -> Iterator[Event]:
        """As a transport does."""
        if self.cache is None:
            return self.transport.synthesize(request)
        return self.cache.over(request, self.transport.synthesize)


def find_store(settings: Settings, warn: Callable[[str], None]) -> Store | None:
    """Where segments are kept. None where nobody asked for it, and where it cannot be made.

    Of the latter `warn` hears: the sound is what was wanted. Raises SettingsError.
    """
    if not settings.cache:
        return None

    try:
        return open_store(settings.cache_max_mb * 1_000_000)
    except OutputError as error:
        warn(f"{error}; --no-cache does without")
        return None


@contextmanager
def open_source(
    settings: Settings, service: Service, dialer: Dialer, store: Store | None
) -> Iterator[Source]:
    """Connects when it is first asked for what is not in the store."""
    cache = None
    if store is not None:
        place = "local" if settings.local else settings.base_url
        cache = Cache(store, place, settings.api)
    with open_transport(settings.via, service, dialer) as transport:
        yield Source(transport, cache)


def head_start(settings: Settings, service: Service, dialer: Dialer) -> AbstractContextManager[None]:
    """Connecting from now on, but for a run that the cache may answer alone."""
    return nullcontext() if settings.cache else dialer.head_start(parse_base_url(service.base_url))
