"""Many texts, a file each: read the rows, name the files, say what is missing, keep a manifest."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from smallest_cli.cli.commands.tally import Tally, tell
from smallest_cli.cli.console import print_json
from smallest_cli.cli.options import BatchOptions, CaptionOptions, SoundOptions, TextOptions
from smallest_cli.cli.run_config import Run
from smallest_cli.errors import UsageError
from smallest_cli.security import safe
from smallest_cli.synthesis.batch.items import Item, plan_items
from smallest_cli.synthesis.batch.manifest import Kept, Manifest, check_folder, look
from smallest_cli.synthesis.batch.parts import find_parts, remove_parts
from smallest_cli.synthesis.batch.rows import read_rows, refuse
from smallest_cli.synthesis.batch.workers import work_off


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
        missing = find(look(folder) if batch.resume else Kept())
        _tell_plan(run, missing, len(items) - len(missing))
        return
    missing = [] if batch.resume else find(Kept())
    with Manifest(folder) as manifest:
        if batch.resume:
            missing = find(manifest.kept)
            _clean_up(manifest.folder, items, missing)
        tally = Tally(len(items), len(items) - len(missing))
        with tally.told_when_cut_off():
            work_off(run, missing, manifest, batch.jobs or 1, tally.outcomes.append)
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
    items: list[Item], run: Run, batch: BatchOptions, text: TextOptions, kept: Kept
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
        problems = [f"row {each.row}: {safe(each.path)} exists" for each in strangers]
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
