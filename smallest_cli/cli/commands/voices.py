"""`smallest voices`: list, search, play and clone voices."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from smallest_cli import errors
from smallest_cli import voices as catalog
from smallest_cli.audio.destinations import Overlap
from smallest_cli.cli import options
from smallest_cli.cli.account import open_account
from smallest_cli.cli.completion_lists import save_voices
from smallest_cli.cli.console import Console, print_json
from smallest_cli.cli.help import HelpTyper
from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import AccountOptions, JsonOption
from smallest_cli.cli.run_config import build_run_config, report_text, session_on_console
from smallest_cli.cli.summary import result_as_json
from smallest_cli.cli.tables import print_result, print_voices
from smallest_cli.client.cloning import encode_clone, read_sample, wait_for_clone
from smallest_cli.files import unique_names
from smallest_cli.models import SEGMENT_CHARS, Clone, Voice
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings, package_data
from smallest_cli.synthesis.request import result
from smallest_cli.text.input import join_words
from smallest_cli.text.segments import FinishedSegments, write_script

SORTS = ("id", "name", "model", "gender", "accent", "age")
CLONE_TIMEOUT_S = 300.0

voices = HelpTyper(invoke_without_command=True)


class FilterOptions(Options, group="Search"):
    """Properties of voices, by the names of `VoiceFilter`."""

    search: str | None = option("--search TEXT", "Substring of id or name.")
    language: str | None = option("-l, --language NAME", "Language, e.g. hindi or hi.")
    gender: str | None = option("--gender NAME", "Gender: female or male.")
    accent: str | None = option("--accent NAME", "Accent, e.g. british.")
    age: str | None = option("--age NAME", "Age, e.g. young.")
    use_case: str | None = option("--use-case NAME", "Use case, e.g. conversational.")
    model: str | None = option("-m, --model NAME", "Model of the voices.")


class ListOptions(Options, group="Search"):
    """Which voices are listed, and in which order."""

    limit: int | None = option("--limit N", "Maximum number of results.", min=1)
    sort: str | None = option("--sort COLUMN", f"Sort by {', '.join(SORTS)}.")
    refresh: bool = option("--refresh", "Ask the service even if the saved list is fresh.", False)


class PlayOptions(Options, group="Playback"):
    """The sample text, and the output of the audio."""

    text: str | None = option("--text TEXT", "Text to speak. [default: a sentence in its language]")
    folder: str | None = option("-o, --output DIR", "Save a WAV file per voice in DIR, unplayed.")
    overlap: Overlap | None = options.OVERLAP


class CloneOptions(Options, group="Voice"):
    """Properties of a cloned voice."""

    name: str = option("--name NAME", "Name of the new voice.", ...)
    language: str | None = option("-l, --language CODE", "Language, e.g. en.")
    accent: str | None = option("--accent NAME", "Accent, e.g. british.")
    description: str | None = option("--description TEXT", "Description.")
    tag: list[str] | None = option("--tag WORD", "Tag (repeatable).")
    model: str | None = option("-m, --model NAME", "Model of the new voice.")
    wait: bool = option("--wait", "Wait until the voice can be used.", False)
    max_time: float | None = option("--max-time SECONDS", "Time limit of --wait. [default: 300]", min=0.01)


@voices.callback()
@grouped
def list_voices(
    context: typer.Context,
    *,
    filter_options: FilterOptions,
    list_options: ListOptions,
    account_options: AccountOptions,
) -> None:
    """List and search voices; voices play | clone | clones | delete.

    Prints a table on a terminal and tab-separated values elsewhere. The list is the service's, saved for a
    day; without a key, the one bundled with this version.
    """
    if context.invoked_subcommand:
        given = filter_options.as_dict() | list_options.as_dict() | account_options.as_dict()
        if any(given.values()):
            raise errors.UsageError(
                f"put options after the subcommand: smallest voices {context.invoked_subcommand} [OPTIONS]"
            )
        return
    criteria, sort = catalog.VoiceFilter(**filter_options.as_dict()), list_options.sort
    if sort not in (None, *SORTS):
        raise errors.UsageError(f"--sort: not one of {', '.join(SORTS)}")
    settings = load_settings(account_options.as_dict())
    known = _load(settings, account_options, refresh=list_options.refresh)
    found = catalog.filter_voices(known, criteria)
    if not found:
        hint = catalog.describe_alternatives(known, criteria)
        raise errors.UsageError(f"no voice matches {criteria.as_options()}", hint=hint)
    found.sort(key=lambda voice: voice.model, reverse=True)  # the newest model first
    if sort:
        found.sort(key=lambda voice: str(getattr(voice, sort) or "~").casefold())
    shown = found[: list_options.limit]
    print_voices(shown, as_json=account_options.json)
    console = Console()
    if console.shows_info and not account_options.json:  # else the saved list would be read for nothing
        source = "of the offline server" if settings.local else catalog.describe_list(settings.base_url)
        console.info(f"{len(shown)} of {errors.plural(len(known), 'voice')}, {source}; * default")


def _load(settings: Settings, account_options: AccountOptions, *, refresh: bool) -> tuple[Voice, ...]:
    """Return the cached list if fresh, else the service's; on failure the cached or bundled one."""
    saved = catalog.cached_voices(settings.base_url, fresh=True)
    if saved and not refresh and not settings.local:
        return saved
    try:
        with open_account(account_options) as account:
            listed = tuple(account.voices())
    except (errors.RemoteError, errors.SettingsError) as error:
        if refresh:
            raise
        if isinstance(error, errors.RemoteError):
            Console().warn(f"{error}; showing the last known list")
        return catalog.known_voices(settings.base_url)
    if not settings.local:
        catalog.cache_voices(settings.base_url, listed)
        save_voices(listed)
    return listed


@voices.command("play")
@grouped
def play_voices(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Voice ids or names.")],
    *,
    play_options: PlayOptions,
    voice_options: options.VoiceOptions,
    service_options: options.ServiceOptions,
    run_options: options.RunOptions,
) -> None:
    """Play voices one after the other, each with a sample sentence in its language.

    With --json, "voices" lists the object that `speak --json` prints, for each voice that was played.
    """
    if voice_options.voice is not None:
        hint = "smallest voices play NAME..."
        raise errors.UsageError("voices play takes voices as arguments, not --voice", hint=hint)
    folder = play_options.folder
    if folder is not None and not Path(folder).is_dir():
        raise errors.OutputError(f"{printable(folder)} is not a directory")
    if folder is not None and play_options.overlap is not None:
        raise errors.UsageError("--overlap requires playback", hint="leave out --output")
    known = catalog.known_voices(load_settings(service_options.as_dict()).base_url)
    found = {name: catalog.find_voice(name, known) for name in names}
    ids = {name: voice.id if voice else name for name, voice in found.items()}
    # Ids come from the service, so they must not be used as paths.
    unique_ids = list(dict.fromkeys(ids.values()))
    files = dict(zip(unique_ids, unique_names([(id, id) for id in unique_ids]), strict=True))
    runs = []  # all are checked before the first is paid for
    for name in names:
        output = [str(Path(folder, f"{files[ids[name]]}.wav"))] if folder else None
        sound_options = options.SoundOptions(output=output, play=not folder, overlap=play_options.overlap)
        of_voice = voice_options.but(voice=ids[name])
        runs.append((name, *build_run_config(of_voice, sound_options, service_options, run_options)))
    results: list[dict[str, Any]] = []
    try:
        for name, checked, console in runs:
            config = checked.but(started_ns=time.perf_counter_ns())
            text = join_words([play_options.text]) if play_options.text else sentence(found[name])
            pause_s = options.TextOptions().pause
            script = write_script([text], config.template, split=SEGMENT_CHARS, pause_s=pause_s)
            report_text(script.removed, script.dropped, script.warnings, console)
            Console(quiet=run_options.quiet, verbose=True).info(f"{ids[name]}  {config.template.model}")
            with session_on_console(config, console, script.segments) as session:
                session.run(FinishedSegments(script.items))
            results.append(result_as_json(config, result(config, session)))
    except (errors.SmallestError, errors.Interrupted) as error:
        error.summary = {"voices": results}
        raise
    if run_options.json:
        print_json({"voices": results})


def sentence(voice: Voice | None) -> str:
    """Return the sample sentence for a voice: English if it speaks it, else its first known language."""
    sentences: dict[str, str] = json.loads(package_data("data/auditions.json"))
    languages = voice.languages if voice else ()
    if not languages or "english" in languages:
        return sentences["english"]
    return next((sentences[each] for each in languages if each in sentences), sentences["english"])


@voices.command("clone")
@grouped
def clone_voice(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Recording of 5 to 15 seconds, at most 5 MB.")],
    *,
    clone_options: CloneOptions,
    account_options: AccountOptions,
) -> None:
    """Clone a voice from a recording and print its id, as soon as there is one."""
    sample = read_sample(file)
    fields = {
        "displayName": clone_options.name,
        "language": clone_options.language,
        "accent": clone_options.accent,
        "description": clone_options.description,
        "tags": ",".join(clone_options.tag or []),
        "model": (clone_options.model or "").replace("_", "-"),
    }
    given = {name: value for name, value in fields.items() if value}
    body, content_type = encode_clone(sample, Path(file).name, given)
    max_time = clone_options.max_time
    with open_account(account_options, max_time) as account:
        with Console().progress_bar(len(body), upload=f"uploading {printable(Path(file).name)}") as on_write:
            clone = account.create_clone(body, content_type, on_write)
        if not account_options.json:
            # Print the id before waiting: a retry after a failure or signal would create a second voice.
            print(printable(clone.id), flush=True)
        try:
            if clone_options.wait:
                clone = wait_for_clone(account, clone, max_time or CLONE_TIMEOUT_S)
            if clone.status == "failed":
                raise errors.ServerError(f"the service could not clone the voice {printable(clone.id)}")
        except (errors.SmallestError, errors.Interrupted) as error:
            error.summary = clone._asdict()
            hint = f"{printable(clone.id)} was created; smallest voices clones shows its status"
            error.hint = f"{error.hint}; {hint}" if error.hint else hint
            raise
    if account_options.json:
        print_json(clone._asdict())


@voices.command("clones")
@grouped
def list_clones(*, account_options: AccountOptions) -> None:
    """List your cloned voices: id, name, model, status, language, date."""
    with open_account(account_options) as account:
        found = account.clones()
    print_result(
        {"clones": [each._asdict() for each in found]},
        Clone._fields,
        [tuple(str(value or "") for value in each) for each in found],
        as_json=account_options.json,
    )


@voices.command("delete")
def delete_voice(_: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Show where to delete a cloned voice: an API key cannot."""
    hint = "delete it in the console, on the voice cloning page: https://console.smallest.ai"
    raise errors.UsageError("a cloned voice cannot be deleted with an API key", hint=hint)
