"""Rows -> items: the requests of each row and the file that they are written to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from smallest_cli.audio.formats import ALIASES, HEADERLESS_G711, TELEPHONE_RATE, check_rate, choose_coding
from smallest_cli.client.cache import audio_fields
from smallest_cli.errors import UsageError
from smallest_cli.files import safe_name, unique_names
from smallest_cli.models import AudioFormat, Silence, SpeechRequest, Value
from smallest_cli.security import printable
from smallest_cli.synthesis.batch.rows import Row, check_problems
from smallest_cli.synthesis.request import RunConfig
from smallest_cli.text.segments import Script, Speakers, write_script
from smallest_cli.voices import check_language, resolve_voice

MAX_SLUG = 40


class BatchConfig(Value):
    """What all rows share. `run` has no destinations: each row is a file in `folder`."""

    run: RunConfig
    table: str
    """The file that the rows are from."""
    folder: str
    naming: str = "id"
    """What files are named after: id, index (the order of the rows) or text."""
    format: str = "wav"
    split: int = 250
    pause_s: float = 0.4
    force: bool = False
    speakers: Speakers = MappingProxyType({})
    """The voices of lines that begin with a name; a row's language and speed apply to them, too."""
    dictionaries: str = ""
    """A hash of the content of the dictionaries."""
    jobs: int = 1


class Item(Value):
    """One file to be written. `key` is a hash of the text and of everything that changes its audio.

    `row` is the number of its row in the file.
    """

    row: int
    id: str | None
    path: Path
    coding: str
    voice: str
    model: str
    script: Script
    key: str
    options: str
    """A hash of the options that all rows share."""

    @property
    def place(self) -> str:
        """The row in messages: its number and id."""
        return f"row {self.row}{f' ({printable(self.id, 60)})' if self.id else ''}"

    @property
    def characters(self) -> int:
        """Characters that are billed."""
        return self.script.characters


def plan_items(rows: Sequence[Row], config: BatchConfig, warn: Callable[[str], None]) -> list[Item]:
    """An item for each row, each with a path of its own in the folder. Raises UsageError for bad rows."""
    problems = [f"{row.place} has no id" for row in rows if row.id is None and config.naming == "id"]
    if problems and all(row.id is None for row in rows):
        problems = ["no id column; --naming index and --naming text need none"]
    check_problems(problems, config.table)
    items = []
    warnings = {}
    options, hint = _options(config), ""
    for row, name in zip(rows, _names(rows, config.naming), strict=True):
        try:
            template, row_warnings = _template(row, config)
            warnings.update(dict.fromkeys(row_warnings))
            items.append(_item(row, name, template, config, options))
        except UsageError as error:
            problems.append(f"{row.place}: {error}")
            hint = hint or error.hint
    if len({item.path for item in items}) < len(items):
        problems.append("two rows have the same file name")
    check_problems(problems, config.table, hint=hint)
    for warning in warnings:
        warn(warning)
    return items


def _names(rows: Sequence[Row], naming: str) -> list[str]:
    if naming == "index":
        width = max(4, len(str(len(rows))))
        return [f"{number:0{width}}" for number in range(1, len(rows) + 1)]
    if naming == "id":
        return unique_names([(row.id or "", row.id or "") for row in rows])
    return unique_names([(_slug(row.text), row.id or repr(row.but(number=0, place=""))) for row in rows])


def _slug(text: str) -> str:
    return "-".join(safe_name(text[: 2 * MAX_SLUG]).replace("_", " ").split())[:MAX_SLUG]


def _template(row: Row, config: BatchConfig) -> tuple[SpeechRequest, tuple[str, ...]]:
    """The request of a row without its text, and warnings about its voice and model."""
    template, settings = config.run.template, config.run.settings
    warnings: tuple[str, ...] = ()
    if not config.force:
        check_language(row.language)
    if row.voice or row.model:
        chosen = resolve_voice(
            row.voice or settings.voice,
            row.model or settings.model,
            settings.api,
            base_url=settings.base_url,
            force=config.force,
        )
        template, warnings = template._replace(voice=chosen.voice, model=chosen.model), chosen.warnings
    speed = template.speed if row.speed is None else row.speed
    return template._replace(language=row.language or template.language, speed=speed), warnings


def _item(row: Row, name: str, template: SpeechRequest, config: BatchConfig, options: str) -> Item:
    format = row.format or config.format
    coding = choose_coding("-", format)
    if coding in HEADERLESS_G711 and "sample_rate" not in config.run.settings.sources:
        template = template._replace(format=AudioFormat(TELEPHONE_RATE))
    check_rate(coding, template.format.sample_rate)
    path = Path(config.folder, f"{name}.{ALIASES.get(format, format)}")
    speakers = {
        name: each._replace(language=template.language, speed=template.speed)
        for name, each in config.speakers.items()
    }
    script = write_script([row.text], template, split=config.split, pause_s=config.pause_s, speakers=speakers)
    items = [each.seconds if isinstance(each, Silence) else audio_fields(each) for each in script.items]
    service = "local" if config.run.settings.local else config.run.settings.base_url
    key = _digest(config, items=items, coding=coding, dictionaries=config.dictionaries, service=service)
    return Item(row.number, row.id, path, coding, template.voice, template.model or "", script, key, options)


def _options(config: BatchConfig) -> str:
    """Return a hash of the options that change the audio of rows which do not set them."""
    speakers = {name: audio_fields(each) for name, each in config.speakers.items()}
    shared = [audio_fields(config.run.template), config.split, config.pause_s, speakers]
    return _digest(config, format=ALIASES.get(config.format, config.format), shared=shared)


def _digest(config: BatchConfig, **fields: object) -> str:
    fields |= {"api": config.run.settings.api}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
