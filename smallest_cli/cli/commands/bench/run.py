"""`smallest bench`: measure latency over each transport, and how much audio a player must buffer."""

import sys
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from smallest_cli.bench.check import check_audio, parse_check
from smallest_cli.bench.plan import BUFFERS, Plan, parse_buffers
from smallest_cli.bench.results import summarise
from smallest_cli.bench.runner import Measurement, measure
from smallest_cli.bench.thresholds import check_thresholds
from smallest_cli.bench.workers import ignore
from smallest_cli.cli.commands.bench import options, outputs
from smallest_cli.cli.commands.bench.display import live_view
from smallest_cli.cli.commands.bench.plan import confirm_cost, make_plan
from smallest_cli.cli.commands.bench.results import exit_with, print_result
from smallest_cli.cli.commands.bench.variants import Variants, load_variants, open_services
from smallest_cli.cli.console import print_error, print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import ReportOptions
from smallest_cli.cli.tables import answer_question
from smallest_cli.errors import Interrupted, OutputError, UsageError, plural
from smallest_cli.files import temporary_folder
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import printable
from smallest_cli.signals import reraise_signal

CHILDREN = ("compare", "merge", "report", "locustfile")
MIN_SIMILARITY = 0.8  # from this similarity (0 to 1) on, a word counts as a misspelt subcommand


@grouped
def bench(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Text to speak.")] = None,
    *,
    load: options.LoadOptions,
    texts: options.CorpusOptions,
    outcome: options.OutcomeOptions,
    voice: options.ComparedVoiceOptions,
    service_options: options.MeasuredServiceOptions,
    report: options.BenchReportOptions,
) -> None:
    """Measure latency; bench compare | merge | report | locustfile.

    Each subcommand has its own --help. Ctrl-C ends a run early: what was measured so far is printed and
    written. Exit codes: 20 a threshold was missed, 22 the run is invalid or every trial failed, 23 too few
    trials to tell whether a threshold is met.
    """
    if words and "--" not in sys.argv:
        _reject_subcommands(words[0])
    if "?" in (voice.voice or ()):
        answer_question(device=None, as_json=report.json)
        return
    if service_options.retries:
        raise UsageError("bench never retries: a failed trial is a result")
    variants = load_variants(voice, service_options, report)
    console, (settings, _) = variants.console, variants.first
    plan = make_plan(load, texts, words or [], outcome, service_options, variants)
    buffers_ms, slo = parse_buffers(outcome.buffer or BUFFERS), outcome.slo or []
    given = {"--cancel-after": load.cancel_after, "--check": outcome.check}
    present = [name for name, value in given.items() if value is not None]
    check_thresholds(slo, plan.arms, buffers_ms, present)
    outputs.check_outputs(outcome, texts, settings, service_options)
    command = parse_check(outcome.check) if outcome.check is not None else None
    if command and plan.cancel_after_ms is not None:
        raise UsageError("--check and --cancel-after cannot be combined: drop one")
    if report.dry_run:
        _print_plan(plan, variants, report)
        return
    confirm_cost(plan, variants, yes=outcome.yes, quiet=report.quiet)
    with ExitStack() as resources:
        spool = resources.enter_context(outputs.spool_audio(outcome.save_audio, needed=command is not None))
        folder = resources.enter_context(temporary_folder()) if command else None
        with ExitStack() as opened:
            services, log = open_services(plan, variants, service_options.api_key_file, opened)
            dialer = Dialer.from_settings(settings, max_time=service_options.max_time)
            with live_view(quiet=report.quiet) as update:
                add, calibrated = spool.add if spool else ignore, outcome.calibrate
                measured = measure(
                    plan, services, dialer, buffers_ms, slo, update, add, log=log, calibrated=calibrated
                )
        if measured.run.cut_short:
            made = sum(trial.phase == "measure" for trial in measured.trials)
            trials = f"{made} of {plural(plan.trials, 'trial')}" if plan.trials else plural(made, "trial")
            console.warn(f"{measured.run.cut_short} ended the run early after {trials}")
        good = [each for each in measured.trials if each.phase == "measure" and each.error is None]
        ended = sum(each.cancellation is None for each in good)
        if plan.cancel_after_ms is not None and ended:
            console.warn(f"{plural(ended, 'trial')} ended before --cancel-after")
        if command and folder and spool and not measured.interruption:
            by_name = {text.name: text.words for text in plan.texts}
            run = measured.run
            with console.progress_bar(ended) as advance:
                checked, interruption = check_audio(
                    command, folder, spool.read(), measured.trials, plan.arms, by_name, advance
                )
            if interruption:
                run = replace(run, interrupted=True, complete=False)
            measured = Measurement(run, checked, interruption)
        _finish(measured, spool, outcome, report)


def _reject_subcommands(word: str) -> None:
    """Raise UsageError for a (misspelt) subcommand name: it must not be spoken and billed as text."""
    if word in CHILDREN:
        hint = f"put options after it: smallest bench {word} --help"
        raise UsageError(f"{word} takes no options of bench", hint=hint)
    near = get_close_matches(word.lower(), CHILDREN, 1, MIN_SIMILARITY)
    if near and " " not in word:
        unknown = f"unknown subcommand {printable(word, 40)!r} (did you mean {near[0]!r}?)"
        raise UsageError(unknown, hint="quote a text that is to be spoken, or put it after --")


def _print_plan(plan: Plan, variants: Variants, report: ReportOptions) -> None:
    models = dict.fromkeys(each.model for each in variants.all if each.model)
    facts: dict[str, Any] = {
        "characters": plan.characters(),
        "max_characters": plan.max_chars or None,
        "trials": plan.trials,
        "seconds": plan.seconds,
        "arms": [arm.id for arm in plan.arms],
        "voice": ", ".join(dict.fromkeys(each.voice for each in variants.all)),
        "model": ", ".join(models) or None,
    }
    if report.json:
        print_json(facts)
    else:
        facts["arms"] = ",".join(facts["arms"])
        print("\n".join(f"{name}\t{value}" for name, value in facts.items() if value is not None))


def _finish(
    measured: Measurement,
    spool: outputs.AudioSpool | None,
    outcome: options.OutcomeOptions,
    report: ReportOptions,
) -> None:
    """Write and print the result, complete or partial, then exit with its code or signal."""
    result = summarise(measured.run, measured.trials)
    failures = outputs.write_outputs(outcome, measured, result, spool)
    for failure in failures:
        if isinstance(failure, OutputError):
            print_error(failure)
    print_result(result, json=report.json, verbose=report.verbose)
    for signalled in (measured.interruption, *failures):
        if isinstance(signalled, Interrupted):
            # Re-raising would print the error on stdout, after the result.
            sys.stdout.flush()
            print_error(signalled)
            reraise_signal(signalled.signal_number)
    exit_with(OutputError.exit_code if failures else result.exit)
