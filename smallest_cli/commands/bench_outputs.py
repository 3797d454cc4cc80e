"""Where the results of `smallest bench` go: looked at before the first request, and each of them written
whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from smallest_cli import wav
from smallest_cli.commands.bench_options import CorpusOptions, OutcomeOptions
from smallest_cli.errors import Interrupted, OutputFailed
from smallest_cli.files import check_target
from smallest_cli.measure.attempt import Attempt
from smallest_cli.measure.run import Measured
from smallest_cli.options import ServiceOptions
from smallest_cli.safety import reason, safe
from smallest_cli.settings import Settings
from smallest_cli.settling import spare, spare_own
from smallest_cli.sinks import refuse_twice
from smallest_cli.speech import AudioFormat
from smallest_cli.trials.files import as_text, raw_lines, refuse_stdout, write_text


def check_outputs(
    outcome: OutcomeOptions, texts: CorpusOptions, settings: Settings, where: ServiceOptions
) -> None:
    """Find what cannot be written while it costs no request. Raises UsageError and OutputFailed."""
    names = [name for name in (outcome.jsonl, outcome.save) if name is not None]
    for name in names:
        refuse_stdout(name)
    refuse_twice(names)
    spare_own(settings, where, names)
    spare(texts.file or [], names, "where the text comes from")
    for name in names:
        check_target(name)
    if outcome.save_audio is not None:
        _check_folder(Path(outcome.save_audio))


def _check_folder(folder: Path) -> None:
    """Raise OutputFailed where no file could be written in a folder that may have to be made first."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if _is_there(each))
    except OSError as error:
        raise OutputFailed(f"cannot make {safe(folder)}: {reason(error)}") from None
    check_target(str(there / "trial.wav"))


def _is_there(path: Path) -> bool:
    """Whether something has that name. Raises OSError where nothing can, or where nobody may look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folder(name: str) -> None:
    """Make the folder for every trial's sound. Raises OutputFailed."""
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot make {safe(name)}: {reason(error)}") from None


def write_outputs(
    outcome: OutcomeOptions, measured: Measured, result: dict[str, Any], kept: Iterable[Attempt]
) -> list[OutputFailed | Interrupted]:
    """Write all that was asked for; what could not be written, and the signal that cut one of them short."""
    failures: list[OutputFailed | Interrupted] = []
    writes: list[tuple[str | None, Callable[[Path], None]]] = [
        (outcome.jsonl, lambda path: write_text(path, "".join(raw_lines(measured.run, measured.trials)))),
        (outcome.save, lambda path: write_text(path, as_text(result))),
        (outcome.save_audio, lambda path: _write_sounds(path, kept)),
    ]
    for name, write in writes:
        if name is None:
            continue
        try:
            write(Path(name))
        except (OutputFailed, Interrupted) as failure:
            failures.append(failure)
    return failures


def _write_sounds(folder: Path, kept: Iterable[Attempt]) -> None:
    for made in kept:
        trial = made.trial
        if trial.phase != "measure" or not made.pcm:
            continue
        path = folder / f"{trial.index:06}-{trial.arm.replace('/', '-')}-{trial.text}.wav"
        try:
            path.write_bytes(wav.header(AudioFormat(trial.rate), len(made.pcm)) + made.pcm)
        except OSError as error:
            raise OutputFailed(f"cannot write {safe(path)}: {reason(error)}") from None
