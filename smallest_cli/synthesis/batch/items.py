"""Rows -> items: what is asked for, how it is spoken, and the file that each goes into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smallest_cli.audio.formats import ALIASES, check_rate, choose_coding
from smallest_cli.cli.options import BatchOptions, TextOptions
from smallest_cli.client.cache import audible_fields
from smallest_cli.errors import UsageError
from smallest_cli.files import safe_name, unique_names
from smallest_cli.models import Silence, SpeechRequest
from smallest_cli.synthesis.batch.rows import Row, refuse
from smallest_cli.synthesis.request import Run
from smallest_cli.text.segments import Script, write_script
from smallest_cli.voices import resolve_voice

SLUG = 40


@dataclass(frozen=True, slots=True)
class Item:
    """One file to be. `key` is a hash of the text and of everything that it is spoken by."""

    row: int
    id: str | None
    path: Path
    coding: str
    voice: str
    model: str
    script: Script
    key: str

    @property
    def characters(self) -> int:
        """What is paid for."""
        return self.script.characters


def plan_items(
    rows: Sequence[Row], run: Run, batch: BatchOptions, text: TextOptions, *, force: bool
) -> list[Item]:
    """An item for each row, their paths all apart and all in the folder. Raises UsageError for bad rows."""
    naming = batch.naming or "id"
    problems = [f"row {row.number} has no id" for row in rows if row.id is None and naming == "id"]
    if problems and all(row.id is None for row in rows):
        problems = ["no id column; --naming index and --naming text need none"]
    refuse(problems, batch.batch or "")
    items = []
    warnings = {}
    for row, name in zip(rows, _names(rows, naming), strict=True):
        try:
            template, told = _template(row, run, force=force)
            warnings.update(dict.fromkeys(told))
            items.append(_item(row, name, template, run, batch, text))
        except UsageError as error:
            problems.append(f"row {row.number}: {error}")
    if len({item.path for item in items}) < len(items):
        problems.append("two rows would go into one file")
    refuse(problems, batch.batch or "")
    for warning in warnings:
        run.console.warn(warning)
    return items


def _names(rows: Sequence[Row], naming: str) -> list[str]:
    if naming == "index":
        width = max(4, len(str(len(rows))))
        return [f"{row.number:0{width}}" for row in rows]
    if naming == "id":
        return unique_names([(row.id or "", row.id or "") for row in rows])
    return unique_names([(_slug(row.text), row.id or repr(replace(row, number=0))) for row in rows])


def _slug(text: str) -> str:
    return "-".join(safe_name(text[: 2 * SLUG]).replace("_", " ").split())[:SLUG]


def _template(row: Row, run: Run, *, force: bool) -> tuple[SpeechRequest, tuple[str, ...]]:
    template = run.template
    told: tuple[str, ...] = ()
    if row.voice or row.model:
        settings = run.settings
        voice, model = row.voice or settings.voice, row.model or settings.model
        chosen = resolve_voice(voice, model, settings.api, base_url=settings.base_url, force=force)
        template, told = replace(template, voice=chosen.voice, model=chosen.model), chosen.warnings
    speed = template.speed if row.speed is None else row.speed
    return replace(template, language=row.language or template.language, speed=speed), told


def _item(
    row: Row, name: str, template: SpeechRequest, run: Run, batch: BatchOptions, text: TextOptions
) -> Item:
    format = row.format or run.sound.format or "wav"
    coding = choose_coding("-", format)
    check_rate(coding, template.format.sample_rate)
    path = Path(batch.dir or "", f"{name}.{ALIASES.get(format, format)}")
    script = write_script([row.text], template, split=text.split, pause_s=text.pause)
    settled = {
        "items": [
            each.seconds if isinstance(each, Silence) else audible_fields(each) for each in script.items
        ],
        "coding": coding,
        "service": "local" if run.settings.local else run.settings.base_url,
        "api": run.settings.api,
    }
    key = hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()
    return Item(row.number, row.id, path, coding, template.voice, template.model or "", script, key)
