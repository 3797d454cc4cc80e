"""Many texts, a file each: read the rows, name the files, say what is missing, keep a manifest."""

from __future__ import annotations

from collections.abc import Iterator

from smallest_cli.batch.items import Item, plan_items
from smallest_cli.batch.manifest import Manifest
from smallest_cli.batch.rows import read_rows
from smallest_cli.batch.working import Outcome, work_off
from smallest_cli.console import print_json, say
from smallest_cli.errors import BatchFailed, UsageError
from smallest_cli.options import BatchOptions, SoundOptions, TextOptions
from smallest_cli.safety import safe
from smallest_cli.speaking import Run

SHOWN_FAILURES = 20


def speak_batch(run: Run, batch: BatchOptions, text: TextOptions, who_force: bool) -> None:
    """Say every row of a file into a file of its own. Raises BatchFailed where some could not be said.

    Whatever is wrong with the rows is found before anything is asked for: UsageError.
    """
    rows = read_rows(batch.batch or "")
    items = plan_items(rows, run, batch, text, force=who_force)
    if text.max_chars and sum(item.characters for item in items) > text.max_chars:
        raise UsageError(
            f"the texts together are longer than {text.max_chars} characters",
            hint="every character is paid for; allow more with --max-chars",
        )
    if run.report.dry_run:
        _tell_plan(run, items)
        return
    with Manifest(batch.dir or "") as manifest:
        done = {item.id for item in items if batch.resume and manifest.holds(item)}
        missing = [item for item in items if item.id not in done]
        outcomes = work_off(run, missing, manifest, batch.jobs)
    _tell(run, items, done, outcomes)


def refuse_with_batch(words: list[str] | None, text: TextOptions, sound: SoundOptions) -> None:
    """Raise UsageError for what a batch says otherwise: its text is the file's, its sound goes to files."""
    given = {"TEXT": words, "-f": text.file, "-o": sound.output, "-p": sound.play, "--device": sound.device}
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} and --batch do not go together", hint="the files go to --dir DIR")


def _tell_plan(run: Run, items: list[Item]) -> None:
    plan = {
        "items": len(items),
        "characters": sum(item.characters for item in items),
        "segments": sum(item.script.segments for item in items),
    }
    if run.report.json:
        print_json(plan)
    else:
        print("\n".join(f"{name}\t{value}" for name, value in plan.items()))


def _tell(run: Run, items: list[Item], skipped: set[str], outcomes: list[Outcome]) -> None:
    failed = [each for each in outcomes if each.error is not None]
    done = [each for each in outcomes if each.error is None]
    summary = {
        "done": len(done),
        "failed": len(failed),
        "skipped": len(skipped),
        "files": [str(each.item.path) for each in done],
        "characters": sum(each.characters for each in done),
        "seconds": round(sum(each.seconds for each in done), 6),
        "cached": sum(each.cached for each in outcomes),
    }
    run.console.tell(
        f"{len(done)} done  {len(skipped)} were there  {len(failed)} failed"
        f"  {summary['seconds']:.1f} s  {summary['characters']} characters"
    )
    if failed:
        for line in _failures(failed):
            say(line)
        error = BatchFailed(
            f"{len(failed)} of {len(items)} items failed",
            hint="the same command with --resume does these again, and no other",
        )
        error.summary = summary
        raise error
    if run.report.json:
        print_json(summary)


def _failures(failed: list[Outcome]) -> Iterator[str]:
    for each in failed[:SHOWN_FAILURES]:
        yield f"smallest: row {each.item.row} ({safe(each.item.id, 60)}): {each.error}"
    if len(failed) > SHOWN_FAILURES:
        yield f"smallest: and {len(failed) - SHOWN_FAILURES} more"
