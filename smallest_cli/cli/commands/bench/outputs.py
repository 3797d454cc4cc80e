"""Write the files of `smallest bench`: checked before the first request, each written even if others fail."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

from smallest_cli.audio import wav
from smallest_cli.audio.destinations import check_distinct
from smallest_cli.bench.runner import Measurement
from smallest_cli.bench.schema import Result
from smallest_cli.bench.storage import as_text, raw_lines, refuse_stdout, write_text
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.cli.commands.bench.options import CorpusOptions, OutcomeOptions
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.cli.run_config import check_not_overwriting, check_not_overwriting_inputs
from smallest_cli.errors import Interrupted, OutputError, plural
from smallest_cli.files import check_target, write_file
from smallest_cli.models import AudioFormat
from smallest_cli.security import os_error_text, translate_os_errors
from smallest_cli.settings import Settings


def check_outputs(
    outcome: OutcomeOptions, texts: CorpusOptions, settings: Settings, service_options: ServiceOptions
) -> None:
    """Check the output files before any request is sent. Raises UsageError and OutputError."""
    names = [name for name in (outcome.jsonl, outcome.save) if name is not None]
    for name in names:
        refuse_stdout(name)
    check_distinct(names)
    check_not_overwriting_inputs(settings, service_options.api_key_file, names)
    check_not_overwriting(texts.file or [], names, "the text is read from it")
    for name in names:
        check_target(name)
    if outcome.save_audio is not None:
        _check_directory(Path(outcome.save_audio))


def _check_directory(directory: Path) -> None:
    """Raise OutputError if a directory, which may not exist yet, would not be writable."""
    with translate_os_errors(OutputError, "create", directory):
        for existing in (directory, *directory.absolute().parents):
            with suppress(FileNotFoundError, NotADirectoryError):
                existing.stat()  # unlike `exists`, raises for an invalid name or no permission
                break
    check_target(str(existing / "trial.wav"))


class AudioSpool:
    """Spool the audio of trials to disk until it is used: in memory it would grow with the run.

    A full disk ends it; what was spooled before is kept.
    """

    def __init__(self, spool: FileIO) -> None:
        self._spool, self._lock = spool, threading.Lock()
        self._trials: list[tuple[Trial, int]] = []
        self._failure: OutputError | None = None

    def add(self, made: Attempt) -> None:
        """Add the audio of a measured trial.

        Disk errors are raised by `write`, so that no trial is lost to them.
        """
        if made.trial.phase != "measure" or not made.pcm:
            return
        with self._lock:
            if self._failure is not None:
                return
            try:
                remaining = memoryview(made.pcm)
                while remaining:
                    remaining = remaining[self._spool.write(remaining) :]
            except OSError as error:
                kept = f"that of {plural(len(self._trials), 'trial')} was kept"
                problem = f"cannot spool the audio of more trials: {os_error_text(error)}"
                self._failure = OutputError(f"{problem}; {kept}")
                self._spool.truncate(sum(size for _, size in self._trials))
            else:
                self._trials.append((made.trial, len(made.pcm)))

    def read(self) -> Iterator[tuple[Trial, bytes]]:
        """Yield each trial with its audio."""
        at = 0
        for trial, size in self._trials:
            self._spool.seek(at)
            yield trial, self._spool.read(size)
            at += size

    def free_space(self) -> bool:
        """Give up the audio of a trial, so that a result fits on the full disk; False if that is no use."""
        return self._failure is not None and self._take_last() is not None

    def write(self, directory: Path) -> None:
        """Write a WAV file for each trial. Raises OutputError, after all that can be written."""
        failure = self._failure
        while taken := self._take_last():
            trial, pcm = taken
            path = directory / f"{trial.index:06}-{trial.arm.replace('/', '-')}-{trial.text}.wav"
            try:
                data = wav.header(AudioFormat(trial.rate), len(pcm)) + pcm
                write_file(str(path), data, durable=False)
            except OutputError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _take_last(self) -> tuple[Trial, bytes] | None:
        """Take the last trial and its audio from the disk, which may be full."""
        with self._lock:
            if not self._trials:
                return None
            trial, size = self._trials.pop()
            at = self._spool.seek(-size, os.SEEK_END)
            pcm = self._spool.read(size)
            self._spool.truncate(at)
            return trial, pcm


@contextmanager
def spool_audio(directory: str | None, *, needed: bool = False) -> Iterator[AudioSpool | None]:
    """Create the directory, and open a spool in it; None without a directory, unless audio is `needed`.

    Raises OutputError.
    """
    if directory is None and not needed:
        yield None
        return
    with ExitStack() as opened:
        with translate_os_errors(OutputError, "write in", directory or "the temporary directory"):
            if directory is not None:
                Path(directory).mkdir(parents=True, exist_ok=True)
            spool = opened.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
        yield AudioSpool(spool)


def write_outputs(
    outcome: OutcomeOptions, measured: Measurement, result: Result, spool: AudioSpool | None
) -> list[OutputError | Interrupted]:
    """Write every requested file. Return the errors, and a signal that interrupted one of them."""
    failures: list[OutputError | Interrupted] = []
    writes: list[tuple[str | None, Callable[[Path], None]]] = [
        (outcome.jsonl, lambda path: write_text(path, "".join(raw_lines(measured.run, measured.trials)))),
        (outcome.save, lambda path: write_text(path, as_text(result))),
    ]
    if spool is not None:
        writes.append((outcome.save_audio, spool.write))
    for name, write in writes:
        while name is not None:
            try:
                write(Path(name))
            except (OutputError, Interrupted) as failure:
                if isinstance(failure, OutputError) and spool and spool.free_space():
                    continue  # results are worth more than audio
                failures.append(failure)
            break
    return failures
