"""Build the plan of `smallest bench` from its options, and confirm its cost."""

from __future__ import annotations

import secrets
import sys
from math import ceil

import typer
from msgspec import UNSET

from smallest_cli.bench import plan as planning
from smallest_cli.bench.plan import CONNS, MAX_CHARS, OPEN_IN_FLIGHT, Plan, make_arms, make_texts
from smallest_cli.cli.commands.bench import options
from smallest_cli.cli.commands.bench.variants import Variants
from smallest_cli.cli.console import print_line
from smallest_cli.errors import UsageError, plural
from smallest_cli.models import PRICES, VIAS
from smallest_cli.text.input import join_words, read_texts


def make_plan(
    load: options.LoadOptions,
    texts: options.CorpusOptions,
    words: list[str],
    outcome: options.OutcomeOptions,
    service_options: options.MeasuredServiceOptions,
    variants: Variants,
) -> Plan:
    """Build the plan. Raises UsageError."""
    settings, template = variants.first
    if load.count is not None and load.duration is not None:
        raise UsageError("-n and -d cannot be combined: drop one")
    if service_options.via is not None and load.transport is not None:
        raise UsageError("--via and --transport cannot be combined: drop one")
    vias = load.transport if service_options.via in (None, "auto") else service_options.via
    levels = planning.parse_levels(load.concurrency or ["1" if load.rate is None else str(OPEN_IN_FLIGHT)])
    if load.rate is not None and len(levels) > 1:
        raise UsageError("--rate cannot be combined with several --concurrency: give one")
    kinds = planning.parse_kinds(vias or VIAS, load.conn or CONNS, "--transport")
    given = [join_words([text]) for text in texts.text or []]
    if words or texts.file:
        given += read_texts(words, texts.file or [], 0)
    count = None if load.duration is not None else load.count or 30
    if count is not None:  # more workers than trials would only open connections
        kinds_of_arms = len(kinds[0]) * len(kinds[1]) * len(variants.all)
        if len(levels) > 1 and (count // 2) * kinds_of_arms < max(levels):
            needed = 2 * ceil(max(levels) / kinds_of_arms)
            raise UsageError(f"-c {max(levels)} needs at least {needed} trials per arm: raise -n")
        levels = [min(level, count * kinds_of_arms) for level in levels]
    max_chars = 0 if settings.local else MAX_CHARS
    plan = Plan(
        arms=make_arms(*kinds, levels, load.rate, list(variants.all)),
        texts=make_texts(given, texts.corpus, template),
        template=template,
        count=count,
        seconds=load.duration,
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


def confirm_cost(plan: Plan, variants: Variants, *, yes: bool, quiet: bool) -> None:
    """Print the cost and ask for confirmation before anything is sent. Raises UsageError without it.

    The cost is printed even with --quiet, unless --yes was given too.
    """
    settings, _ = variants.first
    if settings.local:
        return
    urls = ", ".join(dict.fromkeys(each.base_url for each, _ in variants.all.values()))
    if (limit := plan.characters()) is not None:
        words = plural(limit, "character")
    else:
        limit = plan.max_chars
        words = f"at most {plural(limit, 'character')}" if limit else "unlimited characters"
    models = {plan.template.model if arm.model is UNSET else arm.model for arm in plan.arms}
    prices = [PRICES.get(model or "", 0.0) for model in models]
    if all(prices) and limit:
        about = "about" if len(prices) == 1 else "at most"
        words += f" ({about} ${limit / 10_000 * max(prices):.2f} by the published price)"
    trials = plural(plan.trials, "trial") if plan.trials is not None else f"{plan.seconds:g} s of trials"
    if not (quiet and yes):
        print_line(f"{trials} over {plural(len(plan.arms), 'arm')}, {words}, to {urls}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"refusing to bill {words} without confirmation", hint="pass --yes")
    if not typer.confirm("Continue?", err=True):
        raise UsageError("aborted")
