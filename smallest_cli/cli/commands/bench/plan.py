"""Build the plan of `smallest bench` from its options, and confirm its cost."""

from __future__ import annotations

import secrets
import sys

import typer

from smallest_cli.bench.plan import MAX_CHARS, OPEN_IN_FLIGHT, Plan, make_texts, parse_arms
from smallest_cli.cli.commands.bench.options import CorpusOptions, LoadOptions, OutcomeOptions
from smallest_cli.cli.console import print_line
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.errors import UsageError, plural
from smallest_cli.models import PRICES, VIAS, SpeechRequest
from smallest_cli.settings import Settings
from smallest_cli.text.input import join_words, read_texts


def make_plan(
    load: LoadOptions,
    texts: CorpusOptions,
    words: list[str],
    outcome: OutcomeOptions,
    service_options: ServiceOptions,
    settings: Settings,
    template: SpeechRequest,
) -> Plan:
    """Build the plan. Raises UsageError."""
    if load.count is not None and load.duration is not None:
        raise UsageError("-n and -d cannot be combined: drop one")
    if service_options.via is not None and load.transport is not None:
        raise UsageError("--via and --transport cannot be combined: drop one")
    vias = load.transport if service_options.via in (None, "auto") else service_options.via
    arms = parse_arms(",".join(VIAS) if vias is None else vias, load.conn, "--transport")
    given = [join_words([text]) for text in texts.text or []]
    if words or texts.file:
        given += read_texts(words, texts.file or [], 0)
    count = None if load.duration is not None else load.count or 30
    concurrency = load.concurrency or (1 if load.rate is None else OPEN_IN_FLIGHT)
    max_chars = 0 if settings.local else MAX_CHARS
    plan = Plan(
        arms=arms,
        texts=make_texts(given, texts.corpus, template),
        template=template,
        count=count,
        seconds=load.duration,
        concurrency=concurrency if count is None else min(concurrency, count * len(arms)),
        rate=load.rate,
        arrival=load.arrival,
        warmups=load.warmup,
        seed=load.seed if load.seed is not None else secrets.randbelow(10_000),
        cancel_after_ms=load.cancel_after,
        max_chars=max_chars if outcome.max_chars is None else outcome.max_chars,
    )
    _check_limit(plan)
    return plan


def _check_limit(plan: Plan) -> None:
    """Raise UsageError if --max-chars is too low; a run with -d ends early when it reaches the limit."""
    limit, characters, minimum = plan.max_chars, plan.characters() or 0, plan.characters(1) or 0
    if limit and characters > limit:
        hint = "use fewer trials (-n) or arms (--transport, --conn), or raise --max-chars"
        needed = f"the run would send {plural(characters, 'character')}"
        raise UsageError(f"{needed}; the limit is {limit}", hint=hint)
    if limit and minimum > limit:
        needed = f"the warm-ups and the first trial are {plural(minimum, 'character')}"
        hint = "use fewer warm-ups (--warmup) or arms, or raise --max-chars"
        raise UsageError(f"{needed}; the limit is {limit}", hint=hint)


def confirm_cost(plan: Plan, settings: Settings, *, yes: bool, quiet: bool) -> None:
    """Print the cost and ask for confirmation before anything is sent. Raises UsageError without it.

    The cost is printed even with --quiet, unless --yes was given too.
    """
    if settings.local:
        return
    if (limit := plan.characters()) is not None:
        words = plural(limit, "character")
    else:
        limit = plan.max_chars
        words = f"at most {plural(limit, 'character')}" if limit else "unlimited characters"
    price = PRICES.get(plan.template.model or "")
    if price and limit:
        words += f" (about ${limit / 10_000 * price:.2f} by the published price)"
    trials = plural(plan.trials, "trial") if plan.trials is not None else f"{plan.seconds:g} s of trials"
    if not (quiet and yes):
        print_line(f"{trials} over {plural(len(plan.arms), 'arm')}, {words}, to {settings.base_url}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"refusing to bill {words} without confirmation", hint="pass --yes")
    if not typer.confirm("Continue?", err=True):
        raise UsageError("aborted")
