"""`smallest speak`: say a finished text."""

from __future__ import annotations

from typing import Annotated

import typer

from smallest_cli.cli.console import print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import (
    BatchOptions,
    CaptionOptions,
    ReportOptions,
    ServiceOptions,
    SoundOptions,
    TextOptions,
    VoiceOptions,
)
from smallest_cli.cli.run_config import (
    build_run_config,
    check_not_overwriting,
    refuse_text_and_key,
    refuse_unwritable,
)
from smallest_cli.cli.summary import print_summary
from smallest_cli.synthesis.request import Run, build_request
from smallest_cli.synthesis.session import run_session
from smallest_cli.text.input import read_texts
from smallest_cli.text.segments import Script, write_script


@grouped
def speak(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="The words.")] = None,
    *,
    text: TextOptions,
    batch: BatchOptions,
    who: VoiceOptions,
    sound: SoundOptions,
    captions: CaptionOptions,
    where: ServiceOptions,
    report: ReportOptions,
) -> None:
    """Say a finished text: played, into files, or into a pipe."""
    if "?" in (who.voice, sound.device):
        from smallest_cli.cli.tables import answer_question  # for those who ask

        answer_question(who.voice, sound.device, as_json=report.json)
        return
    if batch != BatchOptions():
        from smallest_cli.cli.commands.batch import check_batch, speak_batch

        check_batch(batch, words, text, sound, captions)
        console, settings, template = build_request(who, where, report, sound.cache)
        speak_batch(Run(settings, template, [], sound, where, report, console), batch, text, who.force)
        return
    run = build_run_config(who, sound, where, report, captions)
    texts_from = text.file or ([] if words else ["-"])
    refuse_text_and_key(texts_from, where, run.settings)
    check_not_overwriting(texts_from, run.written, "where the text comes from")
    texts = read_texts(words or [], text.file or [], text.max_chars)
    script = write_script(
        texts, run.template, split=text.split, pause_s=text.pause, by_sentence=run.plan is not None
    )
    if script.removed:
        run.console.warn(f"{script.removed} control characters were left out of the text")
    if report.dry_run:
        refuse_unwritable(run)
        _tell_plan(run, script)
        return
    print_summary(run, run_session(run, script.items))


def _tell_plan(run: Run, script: Script) -> None:
    plan = {
        "characters": script.characters,
        "segments": script.segments,
        "voice": run.template.voice,
        "model": run.template.model,
    }
    if run.report.json:
        print_json(plan)
    else:
        from smallest_cli.cli.tables import print_facts

        print_facts(plan)
