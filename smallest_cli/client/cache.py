"""What was spoken before, kept on this machine, so that the same request is not paid for twice.

An entry is a file: a line of JSON (its hash, the words' times where they were asked for), then PCM. Its
name is a hash of all that changes the sound. Texts and keys are in neither, but for the words of word times.
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
"""Of the entries' form; another one finds nothing of this one's."""
SILENT_FIELDS = ("completion_wait_ms", "session_id", "request_id")
"""What a request says that is not heard."""
ABANDONED_S = 3600
"""A half-written entry that is older than this has no writer any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole segment: s16le, and its words where they were asked for."""

    pcm: bytes
    words: tuple[WordTiming, ...] = ()


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much is kept."""

    entries: int
    byte_count: int


class Store:
    """A folder of entries, its owner's alone, of at most `max_bytes`: what was not used longest goes first.

    Several processes may use it. What cannot be read is not there; what cannot be written is not kept.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def get(self, key: str) -> Entry | None:
        """An entry, None where there is none or it is damaged."""
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
        """Keep an entry, whole or not at all."""
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
        self._shrink()

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
        """What is ours and there now; another process may take it away meanwhile."""
        found = []
        with suppress(OSError):
            for each in filter(_is_ours, self.folder.iterdir()):
                with suppress(OSError):
                    if stat.S_ISREG((status := each.lstat()).st_mode):
                        found.append((each, status))
        return found

    def holdings(self) -> Holdings:
        """What is kept."""
        found = [status for path, status in self._files() if path.suffix != ".part"]
        return Holdings(len(found), sum(status.st_size for status in found))

    def clear(self) -> Holdings:
        """Throw everything away. What it was."""
        held = self.holdings()
        for path, _ in self._files():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"cannot clear {printable(self.folder)}: {os_error_text(error)}") from None
        return held


def _is_ours(path: Path) -> bool:
    """Whether the name is one that we give: nothing else is counted or thrown away."""
    return re.fullmatch(r"[0-9a-f]{64}(\.[0-9a-f]{8}\.part)?", path.name) is not None


def store_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the entries are kept."""
    return cache_path(environ).with_name("speech")


def open_store(max_bytes: int, environ: Mapping[str, str] = os.environ) -> Store:
    """The store, made if need be.

    Raises OutputError where it cannot be made, SettingsError where others could look into it or write there.
    """
    folder = store_folder(environ)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise OutputError(f"cannot keep anything in {printable(folder)}: {os_error_text(error)}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise SettingsError(f"{printable(folder)} is no folder", hint="--no-cache does without")
    if os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        raise SettingsError(f"{printable(folder)} is open to others", hint=f"chmod 700 {printable(folder)}")
    return Store(folder, max_bytes)


def audible_fields(request: SpeechRequest) -> dict[str, Any]:
    """What a request says, but for what changes nothing in the sound."""
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
