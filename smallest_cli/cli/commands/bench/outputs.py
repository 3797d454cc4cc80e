"""Where the results of `smallest bench` go: looked at before the first request, and each of them written
whatever becomes of the others."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from smallest_cli.audio import wav
from smallest_cli.audio.destinations import refuse_twice
from smallest_cli.bench.runner import Measured
from smallest_cli.bench.storage import as_text, raw_lines, refuse_stdout, write_text
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.cli.commands.bench.options import CorpusOptions, OutcomeOptions
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.cli.run_config import check_not_overwriting, check_not_overwriting_inputs
from smallest_cli.errors import Interrupted, OutputError
from smallest_cli.files import check_target
from smallest_cli.models import AudioFormat
from smallest_cli.security import os_error_text, printable
from smallest_cli.settings import Settings


def check_outputs(
    outcome: OutcomeOptions, texts: CorpusOptions, settings: Settings, where: ServiceOptions
) -> None:
    """Find what cannot be written while it costs no request. Raises UsageError and OutputError."""
    names = [name for name in (outcome.jsonl, outcome.save) if name is not None]
    for name in names:
        refuse_stdout(name)
    refuse_twice(names)
    check_not_overwriting_inputs(settings, where.api_key_file, names)
    check_not_overwriting(texts.file or [], names, "the text is read from it")
    for name in names:
        check_target(name)
    if outcome.save_audio is not None:
        _check_folder(Path(outcome.save_audio))


def _check_folder(folder: Path) -> None:
    """Raise OutputError where no file could be written in a folder that may have to be made first."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if _is_there(each))
    except OSError as error:
        raise OutputError(f"cannot make {printable(folder)}: {os_error_text(error)}") from None
    check_target(str(there / "trial.wav"))


def _is_there(path: Path) -> bool:
    """Whether something has that name. Raises OSError where nothing can, or where nobody may look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folder(name: str) -> None:
    """Make the folder for every trial's sound. Raises OutputError."""
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {printable(name)}: {os_error_text(error)}") from None


class Sounds:
    """The sound of trials until it is written: on disk, since memory would grow with it."""

    def __init__(self, spool: FileIO) -> None:
        self._spool, self._lock = spool, threading.Lock()
        self._kept: list[tuple[Trial, int]] = []
        self._failure: OutputError | None = None

    def keep(self, made: Attempt) -> None:
        """Add the sound of a trial that is over, if it will be written. A disk that fails is told of by
        `write`: no trial is lost to it."""
        if made.trial.phase != "measure" or not made.pcm:
            return
        with self._lock:
            if self._failure is not None:
                return
            try:
                rest = memoryview(made.pcm)
                while rest:
                    rest = rest[self._spool.write(rest) :]
            except OSError as error:
                self._failure = OutputError(f"cannot keep the sound of trials: {os_error_text(error)}")
                self._kept.clear()
                self._spool.truncate(0)  # what room is left is for the results
            else:
                self._kept.append((made.trial, len(made.pcm)))

    def write(self, folder: Path) -> None:
        """A WAV for each. Raises OutputError."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            while self._kept:  # from the last on, so that the disk never holds more than one of them twice
                trial, size = self._kept.pop()
                at = self._spool.seek(-size, os.SEEK_END)
                _write_sound(folder, trial, self._spool.read(size))
                self._spool.truncate(at)


def _write_sound(folder: Path, trial: Trial, pcm: bytes) -> None:
    path = folder / f"{trial.index:06}-{trial.arm.replace('/', '-')}-{trial.text}.wav"
    try:
        path.write_bytes(wav.header(AudioFormat(trial.rate), len(pcm)) + pcm)
    except OSError as error:
        raise OutputError(f"cannot write {printable(path)}: {os_error_text(error)}") from None


@contextmanager
def keep_sounds(folder: str | None) -> Iterator[Sounds | None]:
    """Room for the sound of trials, where they will be written; None where nobody wants them. Raises
    OutputError."""
    if folder is None:
        yield None
        return
    with ExitStack() as opened:
        try:
            spool = opened.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
        except OSError as error:
            raise OutputError(f"cannot write in {printable(folder)}: {os_error_text(error)}") from None
        yield Sounds(spool)


def write_outputs(
    outcome: OutcomeOptions, measured: Measured, result: dict[str, Any], sounds: Sounds | None
) -> list[OutputError | Interrupted]:
    """Write all that was asked for; what could not be written, and the signal that cut one of them short."""
    failures: list[OutputError | Interrupted] = []
    writes: list[tuple[str | None, Callable[[Path], None]]] = [
        (outcome.jsonl, lambda path: write_text(path, "".join(raw_lines(measured.run, measured.trials)))),
        (outcome.save, lambda path: write_text(path, as_text(result))),
    ]
    if sounds is not None:
        writes.append((outcome.save_audio, sounds.write))
    for name, write in writes:
        if name is None:
            continue
        try:
            write(Path(name))
        except (OutputError, Interrupted) as failure:
            failures.append(failure)
    return failures
