"""`smallest bench`: how fast it speaks, over which transport, and how much a player must buffer."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from smallest_cli import wav
from smallest_cli.commands.bench_files import print_result
from smallest_cli.connect import Dialer
from smallest_cli.console import Console, print_json, say
from smallest_cli.errors import OutputFailed, UsageError
from smallest_cli.measure.attempt import Attempt
from smallest_cli.measure.corpus import CORPORA
from smallest_cli.measure.plan import CONNS, OPEN_IN_FLIGHT, Arm, Plan, Text
from smallest_cli.measure.run import Measured, measure
from smallest_cli.options import ReportOptions, ServiceOptions, VoiceOptions, grouped
from smallest_cli.reading import read_texts
from smallest_cli.report.screen import LiveView
from smallest_cli.safety import reason, safe
from smallest_cli.script import SPLIT, write_script
from smallest_cli.service import open_local_service, open_service
from smallest_cli.settings import Settings
from smallest_cli.speaking import settle_voice
from smallest_cli.speech import VIAS, AudioFormat, Service, SpeechRequest
from smallest_cli.trials.files import raw_lines, write_text
from smallest_cli.trials.slo import parse_promise
from smallest_cli.trials.summary import summarise

CHILDREN = ("compare", "merge", "replay", "report")
MAX_CHARS = 20_000
PRICE = {"lightning_v3.1_pro": 0.195}
"""US dollars for 10,000 characters, where the vendor's pages state it (waves/api.md, 6)."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How many trials, of what, how many at once, and when."""

    count: Annotated[
        int | None, typer.Option("-n", "--count", metavar="N", min=1, help="Trials for each arm; 30.")
    ] = None
    duration: Annotated[
        float | None,
        typer.Option("-d", "--duration", metavar="SECONDS", min=0.1, help="Measure for so long instead."),
    ] = None
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", metavar="N", min=1, max=1000, help="At once; 1.")
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", metavar="PER_SECOND", min=0.001, help="An open loop: so many begin, whatever ends."
        ),
    ] = None
    arrival: Annotated[
        Literal["poisson", "constant"], typer.Option("--arrival", help="How an open loop's trials come.")
    ] = "poisson"
    transport: Annotated[str, typer.Option("--transport", metavar="LIST", help="Of ws, sse and http.")] = (
        "ws,sse,http"
    )
    conn: Annotated[str, typer.Option("--conn", metavar="LIST", help="Of warm and cold.")] = "warm,cold"
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=0, help="Uncounted uses of each connection.")
    ] = 1
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Fixes order and arrivals.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What is spoken."""

    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="Speak TEXT (repeatable).")
    ] = None
    file: Annotated[
        list[str] | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read FILE (repeatable); - is stdin."),
    ] = None
    corpus: Annotated[
        Literal["short", "mixed", "long"],
        typer.Option("--corpus", help="Texts of our own, if none is given."),
    ] = "short"


@dataclass(frozen=True, kw_only=True)
class OutcomeOptions:
    """What becomes of it."""

    buffer: Annotated[
        str,
        typer.Option(
            "--buffer", metavar="LIST", help="Prebuffers of the simulated player, ms; ttfa is of the first."
        ),
    ] = "0,50,100,200"
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo", metavar="EXPR", help="A threshold, as ttfb.p95<300ms (repeatable); missed: exit 20."
        ),
    ] = None
    save: Annotated[str | None, typer.Option("--save", metavar="FILE", help="Write what --json prints.")] = (
        None
    )
    jsonl: Annotated[str | None, typer.Option("--jsonl", metavar="FILE", help="Write every trial, raw.")] = (
        None
    )
    save_audio: Annotated[
        str | None, typer.Option("--save-audio", metavar="DIR", help="Write every trial's sound.")
    ] = None
    max_chars: Annotated[
        int | None,
        typer.Option("--max-chars", metavar="N", min=0, help="Never send more; 20,000, 0 for no bound."),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before characters are paid for.")] = False
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Measure this machine first, on the offline server."),
    ] = True


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
    """Measure latency; bench compare | merge | replay | report.

    Those four have a --help of their own. Exit codes: 20 a threshold was missed, 22 the run is invalid or
    every trial failed.
    """
    if words and words[0] in CHILDREN and "--" not in sys.argv:
        raise UsageError(
            f"{words[0]} takes no options of bench",
            hint=f"put them behind it: smallest bench {words[0]} --help",
        )
    if where.retries is not None:
        raise UsageError("bench never tries again: a failed trial is a result")
    console, settings, template = settle_voice(who, where, report)
    plan = _plan(load, texts, words or [], outcome, where, settings, template)
    said: dict[str, Any] = {"buffers_ms": _numbers(outcome.buffer), "slo": outcome.slo or []}
    for promise in said["slo"]:
        parse_promise(promise)
    if report.dry_run:
        _tell_plan(plan, report)
        return
    folder = _folder(outcome.save_audio)
    _announce(plan, settings, outcome, console)
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


def _plan(
    load: LoadOptions,
    texts: CorpusOptions,
    words: list[str],
    outcome: OutcomeOptions,
    where: ServiceOptions,
    settings: Settings,
    template: SpeechRequest,
) -> Plan:
    if load.count is not None and load.duration is not None:
        raise UsageError("-n and -d each say when to end: give one of them")
    transports = where.via if where.via not in (None, "auto") else load.transport
    vias, conns = _choices(transports or "", VIAS, "--transport"), _choices(load.conn, CONNS, "--conn")
    most = outcome.max_chars if outcome.max_chars is not None else 0 if settings.local else MAX_CHARS
    plan = Plan(
        arms=tuple(Arm(via, conn) for via in VIAS if via in vias for conn in CONNS if conn in conns),
        texts=tuple(_texts(texts, words, template)),
        template=template,
        count=None if load.duration is not None else load.count or 30,
        seconds=load.duration,
        concurrency=load.concurrency or (1 if load.rate is None else OPEN_IN_FLIGHT),
        rate=load.rate,
        arrival=load.arrival,
        warmups=load.warmup,
        seed=load.seed if load.seed is not None else secrets.randbelow(10_000),
        max_chars=most,
    )
    characters = plan.characters()
    if most and characters is not None and characters > most:
        raise UsageError(
            f"the run would send {characters} characters, and {most} are allowed",
            hint="ask for fewer trials (-n) or arms (--transport, --conn), or allow more with --max-chars",
        )
    return plan


def _texts(options: CorpusOptions, words: list[str], template: SpeechRequest) -> Iterator[Text]:
    """The texts by name. A long one becomes several, since a trial is one request."""
    given = list(options.text or [])
    if words or options.file:
        given += read_texts(words, options.file or [], 0)
    if not given:
        yield from (Text(f"{options.corpus}{n:02}", each) for n, each in enumerate(CORPORA[options.corpus]))
        return
    script = write_script(given, template, split=SPLIT, pause_s=0)
    pieces = [item.text for item in script.items if isinstance(item, SpeechRequest)]
    yield from (Text(f"text{n:02}", each) for n, each in enumerate(pieces))


def _choices(given: str, known: tuple[str, ...], flag: str) -> set[str]:
    chosen = {each.strip() for each in given.split(",") if each.strip()}
    if not chosen or not chosen <= set(known):
        raise UsageError(f"{flag}: {safe(given, 40)} is not a list of {', '.join(known)}")
    return chosen


def _numbers(given: str) -> list[float]:
    try:
        numbers = [float(each) for each in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= 60_000 for number in numbers):
        raise UsageError(f"--buffer: {safe(given, 40)} is not a list of milliseconds")
    return numbers


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


def _announce(plan: Plan, settings: Settings, outcome: OutcomeOptions, console: Console) -> None:
    """Say what it will cost, and ask, before a service that may be paid is asked for anything."""
    characters = plan.characters()
    if settings.local:
        return
    most = characters if characters is not None else plan.max_chars
    words = (
        f"{characters} characters"
        if characters is not None
        else f"at most {most or 'any number of'} characters"
    )
    price = PRICE.get(plan.template.model or "")
    if price and most:
        words += f" (about ${most / 10_000 * price:.2f} by the published price)"
    trials = f"{plan.trials} trials" if plan.trials is not None else f"{plan.seconds:g} s of trials"
    arms = "1 arm" if len(plan.arms) == 1 else f"{len(plan.arms)} arms"
    say(f"{trials} over {arms}, {words}, to {settings.base_url}")
    if outcome.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("these characters are paid for, and nobody is there to ask", hint="say --yes")
    if not typer.confirm("Go on?", err=True):
        raise UsageError("nothing was sent")


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
