"""Speak the items of a batch, several at a time; fewer where the service says that it is too many."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from smallest_cli import errors
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.sink import Sink
from smallest_cli.client.retry import Attempt, Budget, RetryPolicy
from smallest_cli.client.service import open_service
from smallest_cli.models import Service, Transport, Value
from smallest_cli.network.dialer import Dialer
from smallest_cli.synthesis.batch.items import BatchConfig, Item
from smallest_cli.synthesis.batch.manifest import Manifest, find_parts, remove_parts
from smallest_cli.synthesis.pipeline import Pipeline
from smallest_cli.synthesis.request import open_cache_for, retry_policy
from smallest_cli.synthesis.session import Session
from smallest_cli.text.segments import FinishedSegments
from smallest_cli.transports import open_transport

STOP_S = 2.0
"""How long a signal waits for items that are being finished."""
FATAL = (errors.AuthError, errors.SettingsError, errors.SecurityError)
"""Errors that every other item would meet, too."""
SERVICE_FAILURES = frozenset({6, 7, 8})
"""Exit codes of failures that are not the item's fault."""
MAX_CONSECUTIVE_FAILURES = 5
"""After as many of those in a row the remaining items are not attempted: they would take hours to fail."""


class Outcome(Value):
    """What became of an item; `error` is None where its file is complete."""

    item: Item
    seconds: float = 0.0
    resent: int = 0
    """Characters that were sent again."""
    cached: int = 0
    error: errors.SmallestError | None = None


def run_items(
    config: BatchConfig,
    items: list[Item],
    manifest: Manifest,
    on_outcome: Callable[[Outcome], None],
    warn: Callable[[str], None],
) -> None:
    """Speak every item, `config.jobs` at a time; fewer once the service has refused that many.

    `on_outcome` gets each outcome once it is in the manifest. Raises errors that every item would meet, and
    Interrupted.
    """
    if items:
        with open_service(config.run.settings, config.run.key_file, warn) as service:
            _Workers(config, service, manifest, min(config.jobs, len(items)), on_outcome, warn).run(items)


class _StepBackPolicy(RetryPolicy):
    """Does not retry a rate limit while other workers remain: one of them stops instead."""

    def __init__(self, retries: int, max_total_wait_s: float, has_others: Callable[[], bool]) -> None:
        super().__init__(retries, max_total_wait_s)
        self._has_others = has_others

    def next_wait(self, attempt: Attempt, budget: Budget) -> float | None:
        if isinstance(attempt.error, errors.RateLimited) and self._has_others():
            return None
        return super().next_wait(attempt, budget)


class _Workers:
    """Threads that share a queue of items. Each has a connection of its own, kept from item to item."""

    def __init__(
        self,
        config: BatchConfig,
        service: Service,
        manifest: Manifest,
        count: int,
        on_outcome: Callable[[Outcome], None],
        warn: Callable[[str], None],
    ) -> None:
        self._config = config
        self._service = service
        self._manifest = manifest
        self._count = count
        self._on_outcome = on_outcome
        self._warn = warn
        self._dialer = Dialer.from_settings(config.run.settings, max_time=config.run.max_time)
        self._cache = open_cache_for(config.run, service, self._dialer, warn)
        self._policy = _StepBackPolicy(
            config.run.settings.retries,
            retry_policy(config.run).max_total_wait_s,
            has_others=lambda: self._count > 1,
        )
        self._budget = Budget()
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._sinks: dict[int, Sink] = {}
        self._stop = False
        """No further item is started."""
        self._cancelled = False
        """A signal came: items under way are cut short, too."""
        self._resent: Counter[int] = Counter()
        """Characters of a row that were sent before its worker stepped back."""
        self._consecutive_failures = 0
        self._parts = find_parts(manifest.folder)
        self._kept: Path | None = None
        """A partial file that a worker kept after it was cancelled."""

    def run(self, items: list[Item]) -> None:
        for item in items:
            self._queue.put(item)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._count)]
        try:
            for thread in threads:
                thread.start()
            failures = [self._ended.get() for _ in threads]
        except errors.Interrupted as interruption:
            self._cancel(interruption, threads)
            raise
        for failure in filter(None, failures):
            raise failure

    def _cancel(self, interruption: errors.Interrupted, threads: list[threading.Thread]) -> None:
        """Keep what is half written as partial files. A worker that is finishing an item may finish it."""
        self._stop = self._cancelled = True
        with self._lock:
            sinks = list(self._sinks.values())
        for sink in sinks:
            interruption.partial = sink.abort() or interruption.partial
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        interruption.partial = interruption.partial or self._kept

    def _work(self) -> None:
        """One thread: items until there are none. What ends the run is raised by the main thread."""
        try:
            with open_transport(self._config.run.settings.via, self._service, self._dialer) as transport:
                while (item := self._next()) and self._process(item, transport):
                    pass
            self._ended.put(None)
        except BaseException as error:
            self._stop = True
            self._ended.put(error)

    def _next(self) -> Item | None:
        """The next item. After None the thread ends and is not counted any more."""
        with self._lock:
            if not self._stop:
                with suppress(queue.Empty):
                    return self._queue.get_nowait()
            self._count -= 1
            return None

    def _process(self, item: Item, transport: Transport) -> bool:
        """Speak an item and report its outcome; False where this thread must end. Raises FATAL errors."""
        run = self._config.run
        clobber = run.clobber or self._manifest.index.is_unchanged(item.path)
        destination = Destination(str(item.path), item.coding, keep=run.keep_partial, clobber=clobber)
        session: Session | None = None
        try:
            with open_sinks([destination], run.template.format) as sink:
                session = self._session(item, transport, sink)
                self._sinks[threading.get_ident()] = sink
                try:
                    session.run(FinishedSegments(item.script.items))
                finally:
                    self._sinks.pop(threading.get_ident(), None)
        except FATAL:
            raise
        except errors.SmallestError as error:
            if self._cancelled:
                self._kept = error.partial or self._kept
                return False
            if session and self._steps_back(item, session, error):
                return False
            self._manifest.failed(item, error.exit_code, str(error))
            outcome = Outcome(item, error=error, cached=session.cache_hits if session else 0)
        else:
            remove_parts(self._parts, item)
            self._manifest.done(item, session.totals.seconds)
            resent = session.resent + self._resent[item.row]
            outcome = Outcome(item, session.totals.seconds, resent, session.cache_hits)
        self._report(outcome)
        return True

    def _session(self, item: Item, transport: Transport, sink: Sink) -> Session:
        return Session(
            transport,
            Pipeline(sink, self._config.run.template.format),
            self._policy,
            self._budget,
            cache=self._cache,
            warn=lambda line: self._warn(f"{item.place}: {line}"),
            is_cancelled=lambda: self._cancelled,
        )

    def _steps_back(self, item: Item, session: Session, error: errors.SmallestError) -> bool:
        """Whether this worker ends because there are too many: the item is left to the others."""
        if not isinstance(error, errors.RateLimited) and not isinstance(error.__cause__, errors.RateLimited):
            return False
        with self._lock:
            if self._count <= 1:
                return False
            self._count -= 1
            self._resent[item.row] += session.sent_characters
            self._queue.put(item)
        if error.partial:
            error.partial.unlink(missing_ok=True)
        return True

    def _report(self, outcome: Outcome) -> None:
        with self._lock:
            self._on_outcome(outcome)
            failed = outcome.error is not None and outcome.error.exit_code in SERVICE_FAILURES
            self._consecutive_failures = self._consecutive_failures + 1 if failed else 0
            if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
                self._stop = True
