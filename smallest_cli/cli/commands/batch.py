"""Many texts, a file each: read the rows, name the files, say what is missing, keep a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from smallest_cli.cli.console import print_json, say
from smallest_cli.cli.options import BatchOptions, CaptionOptions, SoundOptions, TextOptions
from smallest_cli.errors import BatchFailed, Interrupted, SmallestError, UsageError
from smallest_cli.security import printable
from smallest_cli.synthesis.batch.items import Item, plan_items
from smallest_cli.synthesis.batch.manifest import (
    Manifest,
    ManifestIndex,
    check_folder,
    find_parts,
    look,
    remove_parts,
)
from smallest_cli.synthesis.batch.rows import read_rows, refuse
from smallest_cli.synthesis.batch.workers import IN_A_ROW, Outcome, run_items
from smallest_cli.synthesis.request import Run


def speak_batch(run: Run, batch: BatchOptions, text: TextOptions, who_force: bool) -> None:
    """Say every row of a file into a file of its own. Raises BatchFailed where some could not be said.

    Whatever is wrong with the rows is found before anything is asked for: UsageError.
    """
    rows = read_rows(batch.batch or "")
    items = plan_items(rows, run, batch, text, force=who_force)
    if removed := sum(item.script.removed for item in items):
        run.console.warn(f"{removed} control characters were left out of the texts")
    folder = batch.dir or ""
    check_folder(folder)
    find = partial(_find_missing, items, run, batch, text)
    if run.report.dry_run:
        missing = find(look(folder) if batch.resume else ManifestIndex())
        _tell_plan(run, missing, len(items) - len(missing))
        return
    missing = [] if batch.resume else find(ManifestIndex())
    with Manifest(folder) as manifest:
        if batch.resume:
            missing = find(manifest.kept)
            _clean_up(manifest.folder, items, missing)
        tally = Tally(len(items), len(items) - len(missing))
        with tally.told_when_cut_off():
            run_items(run, missing, manifest, batch.jobs or 1, tally.outcomes.append)
    tell(run, tally)


def check_batch(
    batch: BatchOptions,
    words: list[str] | None,
    text: TextOptions,
    sound: SoundOptions,
    captions: CaptionOptions,
) -> None:
    """Raise UsageError for what a batch says otherwise: its text is the file's, its sound goes to files."""
    if batch.batch is None:
        raise UsageError("--dir, --naming, --jobs and --resume go with --batch FILE")
    given = {
        "TEXT": words, "-f": text.file, "-o": sound.output, "-p": sound.play, "--device": sound.device,
        "--player": sound.player, "--lead-silence": sound.lead_silence, "--ahead": sound.ahead,
        "--subtitles": captions.subtitles, "--cue": captions.cue, "--follow": captions.follow,
    }  # fmt: skip
    for name, value in given.items():
        if value not in (None, []) and value is not False:
            raise UsageError(f"{name} and --batch do not go together", hint="the files go to --dir DIR")
    if not batch.dir:
        raise UsageError("--batch needs a folder for its files", hint="name one: --dir DIR")


def _find_missing(
    items: list[Item], run: Run, batch: BatchOptions, text: TextOptions, kept: ManifestIndex
) -> list[Item]:
    """What is to be said. Raises UsageError where it is too much, or would replace what must stay."""
    missing = [item for item in items if not kept.holds(item)]
    if text.max_chars and sum(item.characters for item in missing) > text.max_chars:
        raise UsageError(
            f"the texts together are longer than {text.max_chars} characters",
            hint="every character is paid for; allow more with --max-chars",
        )
    if not run.sound.clobber:
        strangers = [each for each in missing if os.path.exists(each.path) and not kept.wrote(each.path)]
        problems = [f"row {each.row}: {printable(each.path)} exists" for each in strangers]
        refuse(problems, batch.batch or "", hint="leave --no-clobber away to replace it")
    return missing


def _clean_up(folder: Path, items: list[Item], missing: list[Item]) -> None:
    """Remove what runs that were cut off left beside files that are whole."""
    parts = find_parts(folder)
    for item in missing:
        parts.pop(item.path.name, None)
    for item in items:
        remove_parts(parts, item)


def _tell_plan(run: Run, items: list[Item], skipped: int) -> None:
    plan = {
        "rows": len(items),
        "skipped": skipped,
        "characters": sum(item.characters for item in items),
        "segments": sum(item.script.segments for item in items),
        "voices": sorted({item.voice for item in items}),
        "models": sorted({item.model for item in items}),
    }
    if run.report.json:
        print_json(plan)
        return
    for name, value in plan.items():
        print(f"{name}\t{', '.join(value) if isinstance(value, list) else value}")


SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Tally:
    """Of so many rows some were there; `outcomes` has those that were tried, as they come."""

    rows: int
    skipped: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def done(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is None), key=_row)

    @property
    def failed(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is not None), key=_row)

    @property
    def untried(self) -> int:
        return self.rows - self.skipped - len(self.outcomes)

    @property
    def so_far(self) -> str:
        """Words for a run that was cut off."""
        return f"{self.skipped + len(self.done)} of {self.rows} rows done; --resume goes on"

    def summary(self) -> dict[str, Any]:
        """The object of --json."""
        done = self.done
        return {
            "done": len(done),
            "failed": len(self.failed),
            "skipped": self.skipped,
            "untried": self.untried,
            "files": [str(each.item.path) for each in done],
            "characters": sum(each.item.characters for each in done),
            "characters_resent": sum(each.resent for each in done),
            "seconds": round(sum(each.seconds for each in done), 6),
            "cached": sum(each.cached for each in self.outcomes),
        }

    @contextmanager
    def told_when_cut_off(self) -> Iterator[None]:
        """Whatever ends the run within the context, what was done and paid for is said beside it."""
        try:
            yield
        except SmallestError as error:
            _say_failures(self.failed)
            error.summary = self.summary()
            if self.skipped + len(self.done):
                error.hint = "; ".join(filter(None, [error.hint, self.so_far]))
            raise
        except BaseException as end:
            if isinstance(end, Interrupted):
                end.summary, end.hint = self.summary(), self.so_far
            say(f"smallest: {self.so_far}")
            raise


def tell(run: Run, tally: Tally) -> None:
    """How it went, when every row was tried. Raises BatchFailed where some failed."""
    summary = tally.summary()
    resent = f" ({summary['characters_resent']} sent again)" if summary["characters_resent"] else ""
    run.console.tell(
        f"{summary['done']} done  {tally.skipped} were there  {summary['failed']} failed"
        f"  {summary['seconds']:.1f} s  {summary['characters']} characters{resent}"
    )
    if tally.failed:
        _say_failures(tally.failed)
        raise _failure(tally)
    if run.report.json:
        print_json(summary)


def _failure(tally: Tally) -> BatchFailed:
    untried = f", and {tally.untried} were not tried: {IN_A_ROW} failed one after the other"
    error = BatchFailed(
        f"{len(tally.failed)} of {tally.rows} rows failed{untried if tally.untried else ''}",
        hint="the same command with --resume does what is missing, and no other",
    )
    error.summary = tally.summary()
    return error


def _say_failures(failed: list[Outcome]) -> None:
    for each in failed[:SHOWN_FAILURES]:
        id = f" ({printable(each.item.id, 60)})" if each.item.id else ""
        say(f"smallest: row {each.item.row}{id}: {each.error}")
    if len(failed) > SHOWN_FAILURES:
        say(f"smallest: and {len(failed) - SHOWN_FAILURES} more")


def _row(outcome: Outcome) -> int:
    return outcome.item.row
