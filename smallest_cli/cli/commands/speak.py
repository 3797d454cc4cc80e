"""`smallest speak`: speak text that is complete."""

from typing import Annotated

import typer

from smallest_cli.cli import options, run_config
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.summary import print_summary
from smallest_cli.synthesis.request import result
from smallest_cli.text.input import read_texts
from smallest_cli.text.segments import FinishedSegments, write_script


@grouped
def speak(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Text to speak.")] = None,
    *,
    text: options.TextOptions,
    voice: options.VoiceOptions,
    sound: options.SoundOptions,
    captions: options.CaptionOptions,
    service: options.ServiceOptions,
    report: options.ReportOptions,
) -> None:
    """Speak text: play it, save it, or pipe it."""
    if "?" in (voice.voice, sound.device, sound.player):
        from smallest_cli.cli.tables import answer_question

        answer_question(sound.device, sound.player, as_json=report.json)
        return
    config, console = run_config.build_run_config(voice, sound, service, report, captions)
    run_config.warn_of_file_name(words or [], "-f FILE", console)
    sources = text.file or ([] if words else ["-"])
    run_config.check_key_not_from_text(sources, service.api_key_file, config.settings)
    run_config.check_not_overwriting(sources, config.written_files, "the text is read from it")
    speakers = run_config.resolve_voices(text.speaker, config, console, force=voice.force)
    script = write_script(
        read_texts(words or [], text.file or [], text.max_chars, console.warn),
        config.template,
        split=text.split,
        pause_s=text.pause,
        by_sentence=config.captions is not None,
        speakers=speakers,
    )
    run_config.report_text(script.removed, script.dropped, script.warnings, console)
    if report.dry_run:
        from smallest_cli.cli.tables import print_script
        from smallest_cli.files import check_target

        for name in config.written_files:
            check_target(name)
        print_script(script, config.template, local=config.settings.local, as_json=report.json)
        return
    with run_config.session_on_console(config, console, script.segments) as session:
        session.run(FinishedSegments(script.items))
    print_summary(config, result(config, session), console, as_json=report.json)
