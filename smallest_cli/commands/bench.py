"""`smallest bench`: how fast it speaks, over which transport, and how much a player must buffer."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from smallest_cli import wav
from smallest_cli.commands.bench_files import print_result
from smallest_cli.commands.bench_options import CorpusOptions, LoadOptions, OutcomeOptions
from smallest_cli.commands.bench_plan import announce, make_plan, read_numbers
from smallest_cli.connect import Dialer
from smallest_cli.console import Console, print_json
from smallest_cli.errors import OutputFailed, UsageError
from smallest_cli.groups import grouped
from smallest_cli.listing import answer_question
from smallest_cli.measure.attempt import Attempt
from smallest_cli.measure.plan import Plan
from smallest_cli.measure.run import Measured, measure
from smallest_cli.options import ReportOptions, ServiceOptions, VoiceOptions
from smallest_cli.report.screen import LiveView
from smallest_cli.safety import reason, safe
from smallest_cli.service import open_local_service, open_service
from smallest_cli.settings import Settings
from smallest_cli.settling import settle_voice
from smallest_cli.speech import AudioFormat, Service
from smallest_cli.trials.files import raw_lines, write_text
from smallest_cli.trials.slo import check_promises
from smallest_cli.trials.summary import summarise

CHILDREN = ("compare", "merge", "replay", "report", "locustfile")


@grouped
def bench(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="The words.")] = None,
    *,
    load: LoadOptions,
    texts: CorpusOptions,
    outcome: OutcomeOptions,
    who: VoiceOptions,
    where: ServiceOptions,
    report: ReportOptions,
) -> None:
    """Measure latency; bench compare | merge | replay | report | locustfile.

    Those five have a --help of their own. Exit codes: 20 a threshold was missed, 22 the run is invalid or
    every trial failed.
    """
    if words and words[0] in CHILDREN and "--" not in sys.argv:
        raise UsageError(
            f"{words[0]} takes no options of bench",
            hint=f"put them behind it: smallest bench {words[0]} --help",
        )
    if answer_question(who.voice, None):
        return
    if where.retries is not None:
        raise UsageError("bench never tries again: a failed trial is a result")
    console, settings, template = settle_voice(who, where, report)
    plan = make_plan(load, texts, words or [], outcome, where, settings, template)
    said: dict[str, Any] = {"buffers_ms": read_numbers(outcome.buffer), "slo": outcome.slo or []}
    check_promises(said["slo"], [plan.name(arm) for arm in plan.arms], said["buffers_ms"])
    if report.dry_run:
        _tell_plan(plan, report)
        return
    folder = _folder(outcome.save_audio)
    announce(plan, settings, outcome)
    kept: list[Attempt] = []
    with ExitStack() as opened:
        service, log = _open(plan, settings, where, console, opened)
        dialer = Dialer(
            timeout=settings.timeout,
            max_time=where.max_time,
            ca_file=settings.ca_file,
            plain_http=settings.plain_http,
        )
        with LiveView(quiet=report.quiet) as view:
            keep = kept.append if folder else _let_go
            measured = measure(
                plan, service, dialer, said, view.watch, keep, log=log, calibrated=outcome.calibrate
            )
    _finish(measured, kept, folder, outcome, report)


def _let_go(_: Attempt) -> None:
    """The sound is not wanted."""


def _tell_plan(plan: Plan, report: ReportOptions) -> None:
    told: dict[str, Any] = {
        "characters": plan.characters(),
        "trials": plan.trials,
        "arms": ",".join(plan.name(arm) for arm in plan.arms),
        "voice": plan.template.voice,
        "model": plan.template.model,
    }
    if report.json:
        print_json(told)
    else:
        print("\n".join(f"{name}\t{value}" for name, value in told.items()))


def _open(
    plan: Plan, settings: Settings, where: ServiceOptions, console: Console, opened: ExitStack
) -> tuple[Service, Path | None]:
    """The service; of the offline one, as many at once as the plan needs, and where it logs its stamps."""
    if not settings.local:
        return opened.enter_context(open_service(settings, where.api_key_file, console.warn)), None
    log = Path(opened.enter_context(tempfile.TemporaryDirectory()), "log.jsonl")
    behaviour = {"concurrency": plan.lanes, "log": str(log)}
    return opened.enter_context(open_local_service(settings.api, behaviour)), log


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot make {safe(folder)}: {reason(error)}") from None
    return folder


def _finish(
    measured: Measured,
    kept: list[Attempt],
    folder: Path | None,
    outcome: OutcomeOptions,
    report: ReportOptions,
) -> None:
    """Write and print what there is, whole or partial; then end as the run did."""
    if outcome.jsonl:
        write_text(Path(outcome.jsonl), "".join(raw_lines(measured.run, measured.trials)))
    for made in kept if folder else ():
        _write_sound(folder, made)
    result = summarise(measured.run, measured.trials)
    print_result(result, json=report.json, save=outcome.save)
    if measured.interruption is not None:
        raise measured.interruption
    if result["exit"]:
        raise typer.Exit(result["exit"])


def _write_sound(folder: Path | None, made: Attempt) -> None:
    trial = made.trial
    if folder is None or trial.phase != "measure" or not made.pcm:
        return
    path = folder / f"{trial.index:06}-{trial.arm.replace('/', '-')}-{trial.text}.wav"
    try:
        path.write_bytes(wav.header(AudioFormat(trial.rate), len(made.pcm)) + made.pcm)
    except OSError as error:
        raise OutputFailed(f"cannot write {safe(path)}: {reason(error)}") from None
