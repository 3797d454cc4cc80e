"""`smallest bench`: how fast it speaks, over which transport, and how much a player must buffer."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from smallest_cli.bench.plan import Plan
from smallest_cli.bench.results import summarise
from smallest_cli.bench.runner import Measured, measure
from smallest_cli.bench.thresholds import check_promises
from smallest_cli.bench.trial import Attempt
from smallest_cli.cli.commands.bench.display import LiveView
from smallest_cli.cli.commands.bench.options import (
    CorpusOptions,
    LoadOptions,
    MeasuredServiceOptions,
    OutcomeOptions,
)
from smallest_cli.cli.commands.bench.outputs import (
    Sounds,
    check_outputs,
    keep_sounds,
    make_folder,
    write_outputs,
)
from smallest_cli.cli.commands.bench.plan import announce, make_plan, read_numbers
from smallest_cli.cli.commands.bench.results import print_result
from smallest_cli.cli.console import Console, print_error, print_interruption, print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import ReportOptions, ServiceOptions, VoiceOptions
from smallest_cli.cli.run_config import load_request
from smallest_cli.cli.tables import answer_question
from smallest_cli.client.service import open_local_service, open_service
from smallest_cli.errors import Interrupted, OutputError, UsageError
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.signals import reraise_signal

CHILDREN = ("compare", "merge", "report", "locustfile")
NEARLY = 0.8
"""Of 1, how much of a word must be that of a command of ours to be taken for it."""


@grouped
def bench(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="The words.")] = None,
    *,
    load: LoadOptions,
    texts: CorpusOptions,
    outcome: OutcomeOptions,
    who: VoiceOptions,
    where: MeasuredServiceOptions,
    report: ReportOptions,
) -> None:
    """Measure latency; bench compare | merge | report | locustfile.

    They have a --help of their own. Ctrl-C ends a run early: what was measured until then is printed
    and written. Exit codes: 20 a threshold was missed, 22 the run is invalid or every trial failed.
    """
    if words and "--" not in sys.argv:
        _refuse_children(words[0])
    if who.voice == "?":
        answer_question(who.voice, None, as_json=report.json)
        return
    if where.retries:
        raise UsageError("bench never tries again: a failed trial is a result")
    console, settings, template = load_request(who, where, report)
    plan = make_plan(load, texts, words or [], outcome, where, settings, template)
    said: dict[str, Any] = {"buffers_ms": read_numbers(outcome.buffer), "slo": outcome.slo or []}
    check_promises(said["slo"], [plan.name(arm) for arm in plan.arms], said["buffers_ms"])
    check_outputs(outcome, texts, settings, where)
    if report.dry_run:
        _tell_plan(plan, report)
        return
    if outcome.save_audio is not None:
        make_folder(outcome.save_audio)
    announce(plan, settings, agreed=outcome.yes, quiet=report.quiet)
    with keep_sounds(outcome.save_audio) as sounds:
        with ExitStack() as opened:
            service, log = _open(plan, settings, where, console, opened)
            dialer = Dialer.from_settings(settings, max_time=where.max_time)
            with LiveView(quiet=report.quiet) as view:
                keep = sounds.keep if sounds else _let_go
                measured = measure(
                    plan, service, dialer, said, view.update, keep, log=log, calibrated=outcome.calibrate
                )
        if measured.run["cut_short"]:
            console.warn(_shortfall(measured, plan))
        _finish(measured, sounds, outcome, report)


def _refuse_children(word: str) -> None:
    """Raise UsageError for the name of a command of ours, or nearly one: it must not be spoken and billed."""
    if word in CHILDREN:
        raise UsageError(
            f"{word} takes no options of bench", hint=f"put them behind it: smallest bench {word} --help"
        )
    near = get_close_matches(word.lower(), CHILDREN, 1, NEARLY)
    if near and " " not in word:
        raise UsageError(
            f"there is no bench {printable(word, 40)}: is bench {near[0]} meant?",
            hint="put a text that is to be spoken in quotes, or behind --",
        )


def _let_go(_: Attempt) -> None:
    """The sound is not wanted."""


def _tell_plan(plan: Plan, report: ReportOptions) -> None:
    told: dict[str, Any] = {
        "characters": plan.characters(),
        "max_characters": plan.max_chars or None,
        "trials": plan.trials,
        "seconds": plan.seconds,
        "arms": [plan.name(arm) for arm in plan.arms],
        "voice": plan.template.voice,
        "model": plan.template.model,
    }
    if report.json:
        print_json(told)
    else:
        shown = told | {"arms": ",".join(told["arms"])}
        print("\n".join(f"{name}\t{value}" for name, value in shown.items() if value is not None))


def _open(
    plan: Plan, settings: Settings, where: ServiceOptions, console: Console, opened: ExitStack
) -> tuple[Service, Path | None]:
    """The service; of the offline one, as many at once as the plan needs, and where it logs its stamps."""
    if not settings.local:
        return opened.enter_context(open_service(settings, where.api_key_file, console.warn)), None
    log = Path(opened.enter_context(tempfile.TemporaryDirectory()), "log.jsonl")
    behaviour = {"concurrency": plan.lanes, "log": str(log)}
    return opened.enter_context(open_local_service(settings.api, behaviour)), log


def _shortfall(measured: Measured, plan: Plan) -> str:
    made = sum(trial.phase == "measure" for trial in measured.trials)
    planned = "" if plan.trials is None else f" of {plan.trials}"
    return f"{measured.run['cut_short']} ended the run early: {made}{planned} trials were made"


def _finish(
    measured: Measured, sounds: Sounds | None, outcome: OutcomeOptions, report: ReportOptions
) -> None:
    """Write and print what there is, whole or partial; then end as the run did."""
    result = summarise(measured.run, measured.trials)
    failures = write_outputs(outcome, measured, result, sounds)
    for failure in failures:
        if isinstance(failure, OutputError):
            print_error(failure)
    print_result(result, json=report.json, save=None)
    for signalled in (measured.interruption, *failures):
        if isinstance(signalled, Interrupted):
            _end_by(signalled)
    if failures or result["exit"]:
        raise typer.Exit(OutputError.exit_code if failures else result["exit"])


def _end_by(interruption: Interrupted) -> NoReturn:
    """End by the signal. Raised again, it would be told on stdout, where the result is already."""
    sys.stdout.flush()
    print_interruption(interruption)
    reraise_signal(interruption.signal_number)
