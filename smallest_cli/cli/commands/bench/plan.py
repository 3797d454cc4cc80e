"""What `smallest bench` is about to do, out of its options, and what that will cost."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator

import typer

from smallest_cli.bench.corpus import CORPORA
from smallest_cli.bench.plan import CONNS, OPEN_IN_FLIGHT, Arm, Plan, Text
from smallest_cli.cli.commands.bench.options import CorpusOptions, LoadOptions, OutcomeOptions
from smallest_cli.cli.console import print_line
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.errors import UsageError
from smallest_cli.models import VIAS, SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.text.input import read_texts
from smallest_cli.text.segments import SPLIT, write_script

MAX_CHARS = 20_000
PRICE = {"lightning_v3.1_pro": 0.195}
"""US dollars for 10,000 characters, where the vendor's pages state it (waves/api.md, 6)."""


def make_plan(
    load: LoadOptions,
    texts: CorpusOptions,
    words: list[str],
    outcome: OutcomeOptions,
    where: ServiceOptions,
    settings: Settings,
    template: SpeechRequest,
) -> Plan:
    """What the options come to. Raises UsageError."""
    if load.count is not None and load.duration is not None:
        raise UsageError("-n and -d each say when to end: give one of them")
    vias, conns = _transports(load, where), _choices(load.conn, CONNS, "--conn")
    arms = tuple(Arm(via, conn) for via in VIAS if via in vias for conn in CONNS if conn in conns)
    count = None if load.duration is not None else load.count or 30
    lanes = load.concurrency or (1 if load.rate is None else OPEN_IN_FLIGHT)
    most = outcome.max_chars if outcome.max_chars is not None else 0 if settings.local else MAX_CHARS
    plan = Plan(
        arms=arms,
        texts=tuple(_texts(texts, words, template)),
        template=template,
        count=count,
        seconds=load.duration,
        concurrency=lanes if count is None else min(lanes, count * len(arms)),
        rate=load.rate,
        arrival=load.arrival,
        warmups=load.warmup,
        seed=load.seed if load.seed is not None else secrets.randbelow(10_000),
        max_chars=most,
    )
    _refuse_too_many(plan)
    return plan


def _refuse_too_many(plan: Plan) -> None:
    """Raise UsageError where the bound is known to be too low; that a run in time meets it, is told after."""
    characters, least = plan.characters(), plan.least_characters()
    if plan.max_chars and characters is not None and characters > plan.max_chars:
        raise UsageError(
            f"the run would send {characters} characters, and {plan.max_chars} are allowed",
            hint="ask for fewer trials (-n) or arms (--transport, --conn), or allow more with --max-chars",
        )
    if plan.max_chars and least > plan.max_chars:
        raise UsageError(
            f"the warm-ups and the first trial are {least} characters, and {plan.max_chars} are allowed",
            hint="ask for fewer warm-ups (--warmup) or arms, or allow more with --max-chars",
        )


def _transports(load: LoadOptions, where: ServiceOptions) -> set[str]:
    if where.via is not None and load.transport is not None:
        raise UsageError("--via and --transport each say over what: give one of them")
    given = load.transport if where.via in (None, "auto") else where.via
    return set(VIAS) if given is None else _choices(given, VIAS, "--transport")


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
        raise UsageError(f"{flag}: {printable(given, 40)} is not a list of {', '.join(known)}")
    return chosen


def read_numbers(given: str) -> list[float]:
    """The milliseconds of --buffer. Raises UsageError."""
    try:
        numbers = [float(each) for each in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= 60_000 for number in numbers):
        raise UsageError(f"--buffer: {printable(given, 40)} is not a list of milliseconds")
    return numbers


def announce(plan: Plan, settings: Settings, *, agreed: bool, quiet: bool) -> None:
    """Say what it will cost, and ask, before a service that may be paid is asked for anything.

    Whoever is asked is told, however quiet it is to be.
    """
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
    if not (quiet and agreed):
        print_line(f"{trials} over {arms}, {words}, to {settings.base_url}")
    if agreed:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("these characters are paid for, and nobody is there to ask", hint="say --yes")
    if not typer.confirm("Go on?", err=True):
        raise UsageError("nothing was sent")
