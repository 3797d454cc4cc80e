"""The options that commands share, each once. What was not given is None, so that the settings can tell."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from smallest_cli.cli.option_groups import Options


class VoiceOptions(Options):
    """Who speaks and how; the names are those of `Settings`."""

    voice: Annotated[
        str | None,
        typer.Option(
            "-v", "--voice", "--voice-id", metavar="NAME", help="A voice's id or name; ? lists them."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            help="The model; without it, that of the voice, else lightning_v3.1_pro.",
        ),
    ] = None
    language: Annotated[
        str | None, typer.Option("-l", "--language", metavar="CODE", help="The text's language, as en or hi.")
    ] = None
    speed: Annotated[
        float | None, typer.Option("-s", "--speed", metavar="FACTOR", help="From 0.5 to 2.0.")
    ] = None
    sample_rate: Annotated[
        int | None,
        typer.Option("-r", "--sample-rate", metavar="HZ", help="8000, 16000, 24000 (the default) or 44100."),
    ] = None
    number_language: Annotated[
        str | None,
        typer.Option("--number-language", metavar="CODE", help="The language that numbers are read in."),
    ] = None
    math_notation: Annotated[bool, typer.Option("--math-notation", help="Read formulas as mathematics.")] = (
        False
    )
    dictionary: Annotated[
        list[str] | None,
        typer.Option("--dict", metavar="ID", help="Use a pronunciation dictionary (repeatable)."),
    ] = None
    consistency: Annotated[
        float | None, typer.Option("--consistency", metavar="FACTOR", help="0 to 1; --api v2 alone.")
    ] = None
    similarity: Annotated[
        float | None, typer.Option("--similarity", metavar="FACTOR", help="0 to 1; --api v2 alone.")
    ] = None
    enhancement: Annotated[
        int | None, typer.Option("--enhancement", metavar="LEVEL", help="0, 1 or 2; --api v2 alone.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Send a voice and a model that clash.")] = False


class FileOptions(Options):
    """How audio files are written."""

    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="wav, pcm, flac, ogg, opus, mp3, ulaw or alaw; else by extension.",
        ),
    ] = None
    clobber: Annotated[
        bool, typer.Option("--clobber/--no-clobber", help="Replace a file that exists, or refuse to.")
    ] = True
    partial: Annotated[
        Literal["keep", "discard"],
        typer.Option("--partial", help="What becomes of a file that was not finished."),
    ] = "keep"
    cache: Annotated[
        bool | None,
        typer.Option("--cache/--no-cache", help="Keep what was spoken on this machine, and pay for it once."),
    ] = None


class SoundOptions(FileOptions):
    """Where the sound goes, and in which format."""

    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            "--out",
            metavar="FILE",
            help="Write to FILE (repeatable); - is stdout, raw PCM.",
        ),
    ] = None
    play: Annotated[bool, typer.Option("-p", "--play", help="Play it on the loudspeaker.")] = False
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="The loudspeaker to use; ? lists them.")
    ] = None
    player: Annotated[
        str | None,
        typer.Option(
            "--player",
            metavar="CMD",
            help="Play through a program: ffplay, aplay, paplay, play, sox, or a command with {rate} in it,"
            " which no shell reads; sh -c '...' has one.",
        ),
    ] = None
    lead_silence: Annotated[
        str | None,
        typer.Option(
            "--lead-silence",
            metavar="TIME",
            help="Silence before the first sound on the loudspeaker, as 0.5 or 500ms.",
        ),
    ] = None
    ahead: Annotated[
        float | None,
        typer.Option(
            "--ahead",
            metavar="SECONDS",
            min=0,
            help="Ask for the next segment once less than this is still to be played; 0 to ask at once; "
            "the default is 30.",
        ),
    ] = None


class CaptionOptions(Options):
    """The text beside the sound: in a subtitle file, or on the terminal as it is heard."""

    subtitles: Annotated[
        str | None,
        typer.Option("--subtitles", metavar="FILE", help="Write subtitles: FILE.srt, .vtt or .json."),
    ] = None
    cue: Annotated[
        Literal["sentence", "word"] | None,
        typer.Option("--cue", help="A subtitle for each sentence, or word (ws, and voices that time them)."),
    ] = None
    follow: Annotated[
        bool, typer.Option("--follow", help="With --play: show the words on the terminal as they are heard.")
    ] = False


class SplitOptions(Options):
    """How a finished text is split."""

    pause: Annotated[
        float,
        typer.Option("--pause", metavar="SECONDS", min=0, max=60, help="Silence between paragraphs."),
    ] = 0.4
    split: Annotated[
        int,
        typer.Option(
            "--split",
            metavar="N",
            min=0,
            help="Most characters in a segment; 0 to send each paragraph whole.",
        ),
    ] = 250
    max_chars: Annotated[
        int, typer.Option("--max-chars", metavar="N", min=0, help="Refuse a longer text; 0 for no bound.")
    ] = 200_000


class TextOptions(SplitOptions):
    """Where a finished text is read from, and how it is split."""

    file: Annotated[
        list[str] | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read FILE (repeatable); - is stdin."),
    ] = None


class ServiceOptions(Options):
    """Where the speech comes from; the names are those of `Settings`, but for the key."""

    via: Annotated[
        str | None, typer.Option("--via", metavar="TRANSPORT", help="auto (which is ws), ws, sse or http.")
    ] = None
    local: Annotated[
        bool | None, typer.Option("--local", help="Speak through the offline server: no key, no network.")
    ] = None
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Where the service is.")
    ] = None
    ca_file: Annotated[
        str | None, typer.Option("--ca-file", metavar="FILE", help="Trust the authorities in FILE.")
    ] = None
    plain_http: Annotated[
        bool | None, typer.Option("--plain-http", help="Send the key over plain http to another machine.")
    ] = None
    api_key_file: Annotated[
        str | None, typer.Option("--api-key-file", metavar="FILE", help="Read the key from FILE; - is stdin.")
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="For connecting, first audio and each stall, which over ws is at least the service's"
            " completion wait and 1 s; the default is 15.",
        ),
    ] = None
    max_time: Annotated[
        float | None,
        typer.Option(
            "--max-time",
            metavar="SECONDS",
            min=0.01,
            help="For all that the service does in this run; without it, no bound.",
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries", metavar="N", help="Try again so often while no audio has come; the default is 2."
        ),
    ] = None
    completion_wait: Annotated[
        int | None,
        typer.Option(
            "--completion-wait",
            metavar="MS",
            help="Over ws: the service's wait in silence before it says complete; unasked it is 4000.",
        ),
    ] = None
    api: Annotated[
        str | None,
        typer.Option("--api", metavar="NAME", help="unified, or one of the older v3.1 and v2."),
    ] = None


class RunOptions(Options):
    """What is said about a run."""

    dry_run = False
    """No option here: see ReportOptions."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="Say how long each step took.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Say what was settled, sent and received.")] = False


class ReportOptions(RunOptions):
    """What is said about a run, or instead of one."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked for, and stop.")] = False
