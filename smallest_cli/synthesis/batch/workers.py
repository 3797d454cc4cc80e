"""Work a list off, some items at a time: fewer where the service says that it is too many."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.sink import Sink
from smallest_cli.client.cache import Source, find_store, open_source
from smallest_cli.client.service import open_service
from smallest_cli.errors import (
    AuthError,
    Interrupted,
    OutputError,
    RateLimited,
    SecurityError,
    SettingsError,
    SmallestError,
)
from smallest_cli.models import Event, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.synthesis.batch.items import Item
from smallest_cli.synthesis.batch.manifest import Manifest, find_parts, remove_parts
from smallest_cli.synthesis.pipeline import Spoken, play
from smallest_cli.synthesis.request import Run
from smallest_cli.synthesis.session import make_dialer, make_retries

PARTING_S = 2.0
"""How long a signal waits for what is in its last steps."""
HOPELESS = (AuthError, SettingsError, SecurityError)
"""What would fail every other item, too."""
ELSEWHERE = frozenset({6, 7, 8})
"""Exit codes of what is no fault of an item's."""
IN_A_ROW = 5
"""So many of those one after the other, and the rest is not tried: it would take hours to fail."""


@dataclass(frozen=True)
class Outcome:
    """What became of an item; `error` is None where its file is whole. `resent` counts characters."""

    item: Item
    seconds: float = 0.0
    resent: int = 0
    cached: int = 0
    error: SmallestError | None = None


class _Crowded(SmallestError):
    """Too many at once, and this one steps back."""


class _Parted(SmallestError):
    """A signal came. What it was is the main thread's to tell."""


class _Enough(SmallestError):
    """Nothing works any more. What was done so far stands."""


def run_items(
    run: Run, items: list[Item], manifest: Manifest, jobs: int, note: Callable[[Outcome], None]
) -> None:
    """Say every item, at most `jobs` at a time; fewer where the service is lost on the way.

    `note` hears of each, once it is in the manifest. Raises what would fail them all, and Interrupted.
    """
    if not items:
        return
    with (
        open_service(run.settings, run.where.api_key_file, run.console.warn) as service,
        run.console.counting(len(items)) as count,
    ):

        def noted(outcome: Outcome) -> None:
            note(outcome)
            count()

        _Crew(run, service, manifest, min(jobs, len(items)), noted).run_items(items)


class _Crew:
    """Threads that share a list. Each has a connection of its own, kept from item to item."""

    def __init__(
        self, run: Run, service: Service, manifest: Manifest, size: int, note: Callable[[Outcome], None]
    ) -> None:
        self._run = run
        self._service = service
        self._dialer: Dialer = make_dialer(run)
        self._store = find_store(run.settings, run.console.warn)
        self._manifest = manifest
        self._note = note
        self._size = size
        self._waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._sinks: dict[int, Sink] = {}
        self._stop: BaseException | None = None
        self._asked: Counter[int] = Counter()
        self._lost = 0
        self._parts = find_parts(manifest.folder)
        self._kept: Path | None = None
        """What a thread kept that parted while the main thread could not abort its sink."""

    def run_items(self, items: list[Item]) -> None:
        for item in items:
            self._waiting.put(item)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._size)]
        try:
            for thread in threads:
                thread.start()
            failures = [self._ended.get() for _ in threads]
        except Interrupted as interruption:
            self._part(interruption, threads)
            raise
        for failure in filter(None, failures):
            raise failure

    def _part(self, interruption: Interrupted, threads: list[threading.Thread]) -> None:
        """Give what is half written a true end. Who is in the last steps of an item may end it."""
        self._stop = interruption
        with self._lock:
            sinks = list(self._sinks.values())
        for sink in sinks:
            interruption.partial = sink.abort() or interruption.partial
        until = time.monotonic() + PARTING_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        interruption.partial = interruption.partial or self._kept

    def _work(self) -> None:
        """One thread, to the end of the list. What ends the whole run is told to whoever waits."""
        try:
            with open_source(self._run.settings, self._service, self._dialer, self._store) as source:
                while item := self._next():
                    try:
                        self._do(item, source)
                    except _Crowded as crowded:
                        if crowded.partial:
                            crowded.partial.unlink(missing_ok=True)
                        break
                    except _Parted as parted:
                        self._kept = parted.partial or self._kept
                        break
            self._ended.put(None)
        except BaseException as error:
            self._stop = self._stop or error
            self._ended.put(error)

    def _next(self) -> Item | None:
        """The next item. With None the thread has left the crew, and nobody leaves the list to it."""
        with self._lock:
            if self._stop is None:
                with suppress(queue.Empty):
                    return self._waiting.get_nowait()
            self._size -= 1
            return None

    def _do(self, item: Item, source: Source) -> None:
        before = source.hits
        try:
            seconds = self._say(item, source)
        except (_Crowded, _Parted, *HOPELESS):
            raise
        except SmallestError as error:
            self._manifest.failed(item, error.exit_code, str(error))
            outcome = Outcome(item, error=error, cached=source.hits - before)
        else:
            self._manifest.done(item, seconds)
            resent = self._asked[item.row] - item.characters
            outcome = Outcome(item, seconds, resent, source.hits - before)
        with self._lock:
            self._note(outcome)
            self._lost = self._lost + 1 if outcome.error and outcome.error.exit_code in ELSEWHERE else 0
            if self._lost >= IN_A_ROW:
                self._stop = self._stop or _Enough("too many failures")

    def _say(self, item: Item, source: Source) -> float:
        """Seconds of sound in the item's file."""
        sound, format = self._run.sound, self._run.template.format
        clobber = sound.clobber or self._manifest.kept.wrote(item.path)
        place = Destination(str(item.path), item.coding, keep=sound.partial == "keep", clobber=clobber)

        def ask(request: SpeechRequest) -> Iterator[Event]:
            self._asked[item.row] += len(request.text)
            return self._heed(item, source.synthesize(request))

        me, spoken = threading.get_ident(), Spoken(format)
        again = make_retries(self._run).over
        try:
            with open_sinks([place], format) as sink:
                self._sinks[me] = sink
                try:
                    play(item.script.items, ask, sink, spoken, ahead_s=0, again=again)
                    self._heed_signal()
                finally:
                    self._sinks.pop(me, None)
        except OutputError as failure:
            # The main thread may have aborted the sink under us: no fault of the item's.
            self._heed_signal(failure.partial)
            raise
        remove_parts(self._parts, item)
        return spoken.seconds

    def _heed_signal(self, kept: Path | None = None) -> None:
        """Raise _Parted after a signal: the main thread's Interrupted names the file that is kept."""
        if isinstance(self._stop, Interrupted):
            parted = _Parted("interrupted")
            parted.partial = kept
            raise parted

    def _heed(self, item: Item, events: Iterator[Event]) -> Iterator[Event]:
        """The same events, for as long as nobody asked us to stop.

        One too many steps back at once and leaves its item to the others; the last waits as any run does.
        """
        try:
            for event in events:
                self._heed_signal()
                yield event
        except RateLimited as error:
            with self._lock:
                if self._size > 1:
                    self._size -= 1
                    self._waiting.put(item)
                    raise _Crowded(str(error)) from None
            raise
