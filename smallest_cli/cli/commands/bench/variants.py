"""Resolve what `smallest bench` compares: each combination of base URL, API, voice and model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import NamedTuple

from smallest_cli.bench.plan import Plan, Variant, split_list
from smallest_cli.cli.commands.bench.options import ComparedVoiceOptions, MeasuredServiceOptions
from smallest_cli.cli.console import Console
from smallest_cli.cli.options import ReportOptions
from smallest_cli.cli.run_config import load_request
from smallest_cli.client.credentials import is_given
from smallest_cli.client.service import open_local_service, open_service, warn_of_plain_http
from smallest_cli.errors import UsageError
from smallest_cli.files import temporary_folder
from smallest_cli.models import Service, SpeechRequest
from smallest_cli.network.origin import parse_base_url
from smallest_cli.settings import Settings
from smallest_cli.voices import VoiceMismatch


class Variants(NamedTuple):
    """The settings and request template of each variant. Those of the first are valid for what is common."""

    console: Console
    all: dict[Variant, tuple[Settings, SpeechRequest]]

    @property
    def first(self) -> tuple[Settings, SpeechRequest]:
        return next(iter(self.all.values()))


def load_variants(
    voice: ComparedVoiceOptions, service: MeasuredServiceOptions, report: ReportOptions
) -> Variants:
    """Resolve all variants. Raises UsageError, also for one invalid pair of voice and model."""
    lists: list[list[str | None]] = [
        [*service.base_url] if service.base_url else [None],
        *(_items(service, "api"), _items(voice, "voice"), _items(voice, "model")),
    ]
    found: dict[Variant, tuple[Settings, SpeechRequest]] = {}
    origins: dict[object, str] = {}
    warnings: list[str] = []
    for base_url, api, name, model in product(*lists):
        try:
            console, settings, template = load_request(
                voice.but(voice=name, model=model),
                service.but(base_url=base_url, api=api),
                report,
                warn=warnings.append,
            )
        except VoiceMismatch as error:
            if len(lists[2]) == len(lists[3]) == 1:
                raise
            hint = "leave out --model: each voice then takes its own; or send all pairs with --force"
            raise UsageError(f"--voice and --model: {error}", hint=hint) from None
        same = origins.setdefault(parse_base_url(settings.base_url), settings.base_url)
        variant = Variant(template.voice, template.model, settings.api, same)
        found.setdefault(variant, (settings._replace(base_url=same), template))
    for line in dict.fromkeys(warnings):
        console.warn(line)
    return Variants(console, found)


def _items(options: ComparedVoiceOptions | MeasuredServiceOptions, name: str) -> list[str | None]:
    given = getattr(options, name)
    return [*split_list(given, f"--{name}")] if given else [None]


def open_services(
    plan: Plan, variants: Variants, key_file: str | None, opened: ExitStack
) -> tuple[Mapping[str, Service], Path | None]:
    """Open the service of each arm id; for the offline server, also return the path of its request log.

    Each base URL gets the key that a run with it alone would get.
    Raises SettingsError, ServerError, UsageError.
    """
    settings, _ = variants.first
    services: dict[str, Service] = {}
    log = None
    if settings.local:
        log = opened.enter_context(temporary_folder()) / "log.jsonl"
        behaviour = {"concurrency": plan.concurrency, "log": str(log)}
        services[settings.base_url] = opened.enter_context(open_local_service(settings.api, behaviour))
    for each, _ in variants.all.values():
        if each.base_url in services:
            continue
        if services and is_given(key_file):
            warn_of_plain_http(each, variants.console.warn)
            services[each.base_url] = services[settings.base_url]._replace(base_url=each.base_url)
        else:
            opening = open_service(each, key_file, variants.console.warn)
            services[each.base_url] = opened.enter_context(opening)
    return {
        arm.id: services[arm.base_url or settings.base_url]._replace(api=arm.api or settings.api)
        for arm in plan.arms
    }, log
