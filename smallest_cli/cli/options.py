"""Options shared by commands. An option that was not given is None; its setting then applies."""

from typing import Annotated, Literal

import typer

from smallest_cli.audio.destinations import Overlap
from smallest_cli.cli.option_groups import Options, option
from smallest_cli.models import SEGMENT_CHARS

JSON_HELP = "Print one JSON object on stdout."
JsonOption = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


PAUSE_HELP = "Silence between paragraphs."
PAUSE_S = 0.4
SPEAKER_HELP = "Voice of lines that begin with NAME: (repeatable)."


class VoiceOptions(Options, group="Voice"):
    """Voice and model. Fields that are settings have the names of `Settings`."""

    voice: str | None = option("-v, --voice, --voice-id NAME", "Voice id or name; ? lists the voices.")
    model: str | None = option("-m, --model NAME", "Model. [default: the voice's model]")
    language: str | None = option("-l, --language CODE", "Language of the text, e.g. en or hi.")
    speed: float | None = option("-s, --speed FACTOR", "Speed, 0.5-2.0. [default: 1]")
    sample_rate: int | None = option(
        "-r, --sample-rate HZ", "8000 (PBX), 16000, 24000, 44100. [default: 24000]", group="Audio output"
    )
    number_language: str | None = option(
        "--number-language CODE", "Language in which numbers are read.", advanced=True
    )
    math_notation: bool = option("--math-notation", "Read formulas as mathematics.", False, advanced=True)
    dictionary: list[str] | None = option("--dict ID", "Pronunciation dictionary (repeatable).")
    consistency: float | None = option(
        "--consistency FACTOR", "Consistency, 0-1 (--api v2 only).", advanced=True
    )
    similarity: float | None = option(
        "--similarity FACTOR", "Similarity, 0-1 (--api v2 only).", advanced=True
    )
    enhancement: int | None = option(
        "--enhancement LEVEL", "Enhancement, 0, 1 or 2 (--api v2 only).", advanced=True
    )
    force: bool = option("--force", "Skip the checks of voice, model and language.", False, advanced=True)


class FileOptions(Options, group="Audio output"):
    """How audio files are written."""

    format: str | None = option(
        "--format NAME", "wav pcm flac ogg opus mp3 ulaw alaw. [default: by extension]"
    )
    clobber: bool = option("--clobber/--no-clobber", "Replace existing files.", True)
    partial: Literal["keep", "discard"] = option(
        "--partial", "Keep or delete a partial file.", "keep", advanced=True
    )
    cache: bool | None = option("--cache/--no-cache", "Keep audio: repeats are free. [default: no-cache]")


OVERLAP = option(
    "--overlap MODE", "While others play: wait, interrupt, mix. [default: wait]", group="Playback"
)


class SoundOptions(FileOptions):
    """Audio output: destinations and format."""

    output: list[str] | None = option(
        "-o, --output, --out FILE", "Write to FILE (repeatable); - is stdout (PCM)."
    )
    play: bool = option("-p, --play", "Play on the output device.", False, group="Playback")
    device: str | None = option("--device NAME", "Output device; ? lists the devices.", group="Playback")
    player: str | None = option(
        "--player CMD",
        "Play through ffplay, aplay, paplay, mpv, pw-play, play, sox or a command with {rate} in it"
        " (not run by a shell; use sh -c for pipes); ? lists the players.",
        group="Playback",
    )
    overlap: Overlap | None = OVERLAP
    lead_silence: str | None = option(
        "--lead-silence TIME", "Silence before playback, e.g. 0.5 or 500ms.", advanced=True
    )
    ahead: float | None = option(
        "--ahead SECONDS", "Maximum audio buffered ahead; 0 = unlimited. [default: 30]", min=0, advanced=True
    )


class CaptionOptions(Options, group="Subtitles"):
    """Text shown with the audio: in a subtitle file, or on the terminal as it is played."""

    subtitles: str | None = option("--subtitles FILE", "Write FILE.srt, .vtt or .json.")
    cue: Literal["sentence", "word"] | None = option(
        "--cue", "Subtitle unit; few voices have words. [default: sentence]"
    )
    follow: bool = option("--follow", "Print the text on stderr as it is played.", False)


class SplitOptions(Options, group="Text"):
    """How complete text is split."""

    pause: float = option("--pause SECONDS", PAUSE_HELP, PAUSE_S, min=0, max=60)
    speaker: list[str] | None = option("--speaker NAME=VOICE", SPEAKER_HELP)
    split: int = option(
        "--split N", "Maximum characters per request; 0 = no limit.", SEGMENT_CHARS, min=0, advanced=True
    )
    max_chars: int = option(
        "--max-chars N", "Maximum text length; 0 = unlimited.", 200_000, min=0, advanced=True
    )


class TextOptions(SplitOptions):
    """Where complete text is read from, and how it is split."""

    file: list[str] | None = option("-f, --file FILE", "Read text from FILE (repeatable); - is stdin.")


class RemoteOptions(Options, group="Network"):
    """How to connect to a service. Fields that are settings have the names of `Settings`."""

    base_url: str | None = option(
        "--base-url URL", "Service URL. [default: https://api.smallest.ai]", advanced=True
    )
    api_key_file: str | None = option("--api-key-file FILE", "Read the API key from FILE; - is stdin.")
    ca_file: str | None = option(
        "--ca-file FILE", "Trust the certificate authorities in FILE.", advanced=True
    )
    plain_http: bool | None = option("--plain-http", "Allow sending the key over plain http.", advanced=True)
    timeout: float | None = option("--timeout SECONDS", "Timeout for connect and reply. [default: 15]")


class ConnectionOptions(RemoteOptions):
    """`RemoteOptions` and --local, for commands that also work with the offline server."""

    local: bool | None = option("--local", "Use the offline server: no key, no network.")


class AccountOptions(ConnectionOptions):
    """Options of the commands that call the account API: it has one transport, and no call is retried."""

    json: bool = option("--json", JSON_HELP, False, group="Output")


class ServiceOptions(ConnectionOptions):
    """Options of the commands that request speech."""

    timeout: float | None = option("--timeout SECONDS", "For connect, first audio and gaps. [default: 15]")
    via: str | None = option("--via TRANSPORT", "Transport: auto, ws, sse or http. [default: auto]")
    max_time: float | None = option(
        "--max-time SECONDS", "Overall time limit. [default: none]", min=0.01, advanced=True
    )
    retries: int | None = option("--retries N", "Retries before the first audio. [default: 2]")
    completion_wait: int | None = option(
        "--completion-wait MS",
        "Idle time before the server sends `complete` (ws only). [default: 4000]",
        advanced=True,
    )
    api: str | None = option("--api NAME", "API: unified, v3.1 or v2. [default: unified]", advanced=True)


class RunOptions(Options, group="Output"):
    """Output about a run: level of detail and JSON."""

    dry_run = False
    """Not an option here, only in ReportOptions."""

    json: bool = option("--json", JSON_HELP, False)
    quiet: bool = option("-q, --quiet", "Print errors only.", False)
    verbose: bool = option("--verbose", "Show timings.", False)
    debug: bool = option("--debug", "Show resolved settings and wire events.", False, advanced=True)


class ReportOptions(RunOptions):
    """`RunOptions`, and --dry-run."""

    dry_run: bool = option("--dry-run", "Show what would be sent, and stop.", False)
