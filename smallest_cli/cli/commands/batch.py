"""`smallest batch`: one file for each row of a table."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal

import typer

from smallest_cli.cli.console import RED, Console, print_json, print_line
from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import FileOptions, ReportOptions, ServiceOptions, SplitOptions, VoiceOptions
from smallest_cli.cli.run_config import check_key_not_from_text, load_request, report_text
from smallest_cli.cli.tables import print_facts
from smallest_cli.client.service import open_service
from smallest_cli.errors import BatchFailed, Interrupted, SmallestError, UsageError, plural
from smallest_cli.models import Value
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import printable
from smallest_cli.synthesis.batch import manifest as manifests
from smallest_cli.synthesis.batch.items import BatchConfig, Item, plan_items
from smallest_cli.synthesis.batch.rows import check_problems, read_rows
from smallest_cli.synthesis.batch.workers import MAX_CONSECUTIVE_FAILURES, Outcome, run_items
from smallest_cli.synthesis.request import RunConfig, dictionary_digest, resolve_speakers
from smallest_cli.synthesis.session import ignore

MAX_SHOWN_FAILURES = 20
ROW = attrgetter("item.row")


class BatchOptions(Options, group="Table"):
    """Where the files of a batch go, and which rows are spoken."""

    dir: str | None = option("-d, --dir DIR", "Directory for the files [required].")
    naming: Literal["id", "index", "text"] = option(
        "--naming", "Name files after the id, the order of rows or the text.", "id"
    )
    jobs: int = option(
        "--jobs N", "Rows at the same time; your plan limits concurrent requests.", 1, min=1, max=64
    )
    resume: bool = option("--resume", "Speak only rows that are missing, changed or failed.", False)
    input_format: Literal["csv", "tsv", "jsonl"] | None = option(
        "--input-format", "Format of the table. [default: by extension]"
    )
    ignore_columns: bool = option("--ignore-columns", "Do not warn about unknown columns.", False)
    yes: bool = option("--yes", "Speak finished rows again without asking.", False)


class BatchFileOptions(FileOptions):
    """How the files are written."""

    format: str | None = option("--format NAME", "wav pcm flac ogg opus mp3 ulaw alaw. [default: wav]")


@grouped
def batch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .tsv or .jsonl file; - is stdin.")],
    *,
    options: BatchOptions,
    voice: VoiceOptions,
    files: BatchFileOptions,
    text: SplitOptions,
    service: ServiceOptions,
    report: ReportOptions,
) -> None:
    """Speak each row of a table into a file of its own.

    Columns: id, text, and optionally voice, model, language, speed, format. All rows are checked before the
    first is billed. DIR/manifest.jsonl records what was done.
    """
    if options.dir is None:
        raise UsageError("batch needs a directory for its files", hint="name one: --dir DIR")
    console, settings, template = load_request(voice, service, report, files.cache)
    run = RunConfig(
        settings,
        template,
        key_file=service.api_key_file,
        max_time=service.max_time,
        keep_partial=files.partial == "keep",
        clobber=files.clobber,
    )
    check_key_not_from_text([file], service.api_key_file, settings)
    config = BatchConfig(
        run,
        "stdin" if file == "-" else file,
        options.dir,
        naming=options.naming,
        format=files.format or "wav",
        split=text.split,
        pause_s=text.pause,
        force=voice.force,
        speakers=resolve_speakers(
            text.speaker or [], settings, template, force=voice.force, warn=console.warn
        ),
        jobs=options.jobs,
    )
    rows = read_rows(file, options.input_format, None if options.ignore_columns else console.warn)
    if template.dictionaries and not report.dry_run:
        config = config.but(dictionaries=_read_dictionaries(run))
    items = plan_items(rows, config, console.warn)
    report_text(
        sum(item.script.removed for item in items),
        sum(item.script.dropped for item in items),
        dict.fromkeys(warning for item in items for warning in item.script.warnings),
        console,
    )
    manifests.check_folder(options.dir)
    find_pending = partial(_find_pending, items, config, text.max_chars)
    if report.dry_run:
        pending = find_pending(
            manifests.read_index(options.dir) if options.resume else manifests.ManifestIndex()
        )
        _print_plan(pending, len(items) - len(pending), as_json=report.json)
        return
    pending = [] if options.resume else find_pending(manifests.ManifestIndex())
    if not (options.resume or options.yes or settings.local):
        index = manifests.read_index(options.dir)
        _confirm_repeat(list(filter(index.is_current, items)), "", console)
    with manifests.Manifest(options.dir) as manifest:
        if options.resume:
            pending = find_pending(manifest.index)
            if not (options.yes or settings.local):
                repeated = list(filter(manifest.index.had_other_options, pending))
                _confirm_repeat(repeated, "spoken with other options ", console)
            parts = manifests.find_parts(manifest.folder)
            for item in pending:
                parts.pop(item.path.name, None)
            for item in items:  # those not pending: their partial files are stale
                manifests.remove_parts(parts, item)
        tally = Tally(len(items), len(items) - len(pending), [])
        with tally.reported_on_error(), console.progress_bar(len(pending)) as advance:

            def on_outcome(outcome: Outcome) -> None:
                tally.outcomes.append(outcome)
                advance(1)

            run_items(config, pending, manifest, on_outcome, console.warn)
    _print_result(tally, console, as_json=report.json)


def _read_dictionaries(run: RunConfig) -> str:
    """Return a hash of the content of the dictionaries. Raises RemoteError."""
    dialer = Dialer.from_settings(run.settings, max_time=run.max_time)
    with open_service(run.settings, run.key_file, ignore) as service:
        return dictionary_digest(run.template, service, dialer)


def _confirm_repeat(finished: list[Item], how: str, console: Console) -> None:
    """Ask before finished rows are paid for again, `how` with --resume. Raises UsageError if declined."""
    if not finished:
        return
    count = plural(sum(item.characters for item in finished), "character")
    problem = f"{plural(len(finished), 'row')} of {count} {how}would be paid for again"
    if not console.confirms(f"{problem}. Continue?"):
        others = "give the options of that run" if how else "speak only the others with --resume"
        raise UsageError(problem, hint=f"{others}, or all with --yes")


def _find_pending(
    items: list[Item], config: BatchConfig, max_chars: int, index: manifests.ManifestIndex
) -> list[Item]:
    """Return the items to speak. Raises UsageError if the text is too long or a file must not be replaced."""
    pending = [item for item in items if not index.is_current(item)]
    if max_chars and sum(item.characters for item in pending) > max_chars:
        hint = "every character is billed; allow more with --max-chars"
        raise UsageError(f"the texts together are longer than {plural(max_chars, 'character')}", hint=hint)
    if not config.run.clobber:
        problems = [
            f"row {each.row}: {printable(each.path)} exists"
            for each in pending
            if os.path.exists(each.path) and not index.is_unchanged(each.path)
        ]
        check_problems(problems, config.table, hint="drop --no-clobber to replace it")
    return pending


def _print_plan(items: list[Item], skipped: int, *, as_json: bool) -> None:
    plan: dict[str, int | list[str]] = {
        "rows": len(items),
        "skipped": skipped,
        "characters": sum(item.characters for item in items),
        "segments": sum(item.script.segments for item in items),
        "voices": sorted({item.voice for item in items}),
        "models": sorted({item.model for item in items}),
    }
    lines = {name: ", ".join(value) if isinstance(value, list) else value for name, value in plan.items()}
    print_facts(plan if as_json else lines, as_json=as_json)


class Tally(Value):
    """Outcomes of a batch, in order of completion. `skipped` rows were done in an earlier run."""

    rows: int
    skipped: int
    outcomes: list[Outcome]

    @property
    def done(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is None), key=ROW)

    @property
    def failed(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is not None), key=ROW)

    @property
    def untried(self) -> int:
        return self.rows - self.skipped - len(self.outcomes)

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
    def reported_on_error(self) -> Iterator[None]:
        """Add the counts of finished and billed rows to an error that ends the run."""
        try:
            yield
        except (SmallestError, Interrupted) as error:
            _print_failures(self.failed)
            error.summary = self.summary()
            complete = self.skipped + len(self.done)
            if complete or isinstance(error, Interrupted):
                done = f"{complete} of {plural(self.rows, 'row')} done"
                progress = f"{done}; continue with the same options and --resume"
                error.hint = f"{error.hint}; {progress}" if error.hint else progress
            raise


def _print_result(tally: Tally, console: Console, *, as_json: bool) -> None:
    """Print the summary of a batch that ran to the end. Raises BatchFailed if rows failed."""
    summary = tally.summary()
    resent = f" ({summary['characters_resent']} sent again)" if summary["characters_resent"] else ""
    console.info(
        f"{summary['done']} done  {tally.skipped} skipped  {summary['failed']} failed"
        f"  {summary['seconds']:.1f} s  {plural(summary['characters'], 'character')}{resent}"
    )
    if tally.failed:
        _print_failures(tally.failed)
        untried = f"; {tally.untried} not attempted after {MAX_CONSECUTIVE_FAILURES} consecutive failures"
        error = BatchFailed(
            f"{len(tally.failed)} of {plural(tally.rows, 'row')} failed{untried if tally.untried else ''}",
            hint="run the same command with --resume to speak only what is missing",
        )
        error.summary = summary
        raise error
    if as_json:
        print_json(summary)


def _print_failures(failed: list[Outcome]) -> None:
    for each in failed[:MAX_SHOWN_FAILURES]:
        print_line(f"smallest: {each.item.place}: {each.error}", RED)
    if len(failed) > MAX_SHOWN_FAILURES:
        print_line(f"smallest: and {len(failed) - MAX_SHOWN_FAILURES} more", RED)
