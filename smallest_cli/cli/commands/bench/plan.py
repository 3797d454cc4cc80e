"""Build the plan of `smallest bench` from its options, and confirm its cost."""

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
from smallest_cli.models import PRO_MODEL, SEGMENT_CHARS, VIAS, SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.text.input import read_texts
from smallest_cli.text.segments import write_script

MAX_CHARS = 20_000
PRICE = {PRO_MODEL: 0.195}
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
    """Build the plan. Raises UsageError."""
    if load.count is not None and load.duration is not None:
        raise UsageError("-n and -d cannot be combined: drop one")
    vias, conns = _transports(load, where), _choices(load.conn, CONNS, "--conn")
    arms = tuple(Arm(via, conn) for via in VIAS if via in vias for conn in CONNS if conn in conns)
    count = None if load.duration is not None else load.count or 30
    concurrency = load.concurrency or (1 if load.rate is None else OPEN_IN_FLIGHT)
    max_chars = 0 if settings.local else MAX_CHARS
    plan = Plan(
        arms=arms,
        texts=tuple(_texts(texts, words, template)),
        template=template,
        count=count,
        seconds=load.duration,
        concurrency=concurrency if count is None else min(concurrency, count * len(arms)),
        rate=load.rate,
        arrival=load.arrival,
        warmups=load.warmup,
        seed=load.seed if load.seed is not None else secrets.randbelow(10_000),
        max_chars=max_chars if outcome.max_chars is None else outcome.max_chars,
    )
    _check_limit(plan)
    return plan


def _check_limit(plan: Plan) -> None:
    """Raise UsageError if the limit is known to be too low; a run with -d that reaches it ends early."""
    characters, minimum = plan.characters(), plan.min_characters()
    if plan.max_chars and characters is not None and characters > plan.max_chars:
        raise UsageError(
            f"the run would send {characters} characters; the limit is {plan.max_chars}",
            hint="use fewer trials (-n) or arms (--transport, --conn), or raise --max-chars",
        )
    if plan.max_chars and minimum > plan.max_chars:
        raise UsageError(
            f"the warm-ups and the first trial are {minimum} characters; the limit is {plan.max_chars}",
            hint="use fewer warm-ups (--warmup) or arms, or raise --max-chars",
        )


def _transports(load: LoadOptions, where: ServiceOptions) -> set[str]:
    if where.via is not None and load.transport is not None:
        raise UsageError("--via and --transport cannot be combined: drop one")
    given = load.transport if where.via in (None, "auto") else where.via
    return set(VIAS) if given is None else _choices(given, VIAS, "--transport")


def _texts(options: CorpusOptions, words: list[str], template: SpeechRequest) -> Iterator[Text]:
    """Yield the texts. A long one is split, since a trial is one request."""
    given = list(options.text or [])
    if words or options.file:
        given += read_texts(words, options.file or [], 0)
    if not given:
        yield from (Text(f"{options.corpus}{n:02}", each) for n, each in enumerate(CORPORA[options.corpus]))
        return
    script = write_script(given, template, split=SEGMENT_CHARS, pause_s=0)
    pieces = [item.text for item in script.items if isinstance(item, SpeechRequest)]
    yield from (Text(f"text{n:02}", each) for n, each in enumerate(pieces))


def _choices(given: str, known: tuple[str, ...], flag: str) -> set[str]:
    chosen = {each.strip() for each in given.split(",") if each.strip()}
    if not chosen or not chosen <= set(known):
        raise UsageError(f"{flag}: {printable(given, 40)} is not a list of {', '.join(known)}")
    return chosen


def parse_buffers(given: str) -> list[float]:
    """Parse the milliseconds of --buffer. Raises UsageError."""
    try:
        numbers = [float(each) for each in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= 60_000 for number in numbers):
        raise UsageError(f"--buffer: {printable(given, 40)} is not a list of milliseconds")
    return numbers


def confirm_cost(plan: Plan, settings: Settings, *, yes: bool, quiet: bool) -> None:
    """Print the cost and ask for confirmation before anything is sent. Raises UsageError without it.

    The cost is printed even with --quiet, unless --yes was given too.
    """
    characters = plan.characters()
    if settings.local:
        return
    limit = characters if characters is not None else plan.max_chars
    words = (
        f"{characters} characters"
        if characters is not None
        else (f"at most {limit} characters" if limit else "unlimited characters")
    )
    price = PRICE.get(plan.template.model or "")
    if price and limit:
        words += f" (about ${limit / 10_000 * price:.2f} by the published price)"
    trials = f"{plan.trials} trials" if plan.trials is not None else f"{plan.seconds:g} s of trials"
    arms = "1 arm" if len(plan.arms) == 1 else f"{len(plan.arms)} arms"
    if not (quiet and yes):
        print_line(f"{trials} over {arms}, {words}, to {settings.base_url}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"refusing to bill {words} without confirmation", hint="pass --yes")
    if not typer.confirm("Continue?", err=True):
        raise UsageError("aborted")
