"""`smallest voices`: list, search and hear the voices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from smallest_cli.cli.account import open_account
from smallest_cli.cli.completion_lists import keep_voices
from smallest_cli.cli.console import Console, print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import RunOptions, ServiceOptions, SoundOptions, TextOptions, VoiceOptions
from smallest_cli.cli.progress import upload_progress
from smallest_cli.cli.run_config import build_run_config, session_on_console
from smallest_cli.cli.summary import result_as_json
from smallest_cli.cli.tables import print_list, print_voices
from smallest_cli.client.cloning import encode_clone, read_sample, wait_for_clone
from smallest_cli.errors import (
    Interrupted,
    OutputError,
    RemoteError,
    ServerError,
    SettingsError,
    SmallestError,
    UsageError,
)
from smallest_cli.files import unique_names
from smallest_cli.models import Clone, Voice
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings
from smallest_cli.synthesis.session import result
from smallest_cli.text.segments import SPLIT, write_script
from smallest_cli.voices import (
    VoiceFilter,
    cache_voices,
    cached_voices,
    describe_alternatives,
    filter_voices,
    find_voice,
    known_voices,
)

SORTS = ("id", "name", "model", "gender", "accent", "age")
CLONING_S = 300.0
SENTENCES = Path(__file__).parents[2] / "data" / "auditions.json"

voices = typer.Typer(invoke_without_command=True)


@voices.callback()
@grouped
def list_voices(
    context: typer.Context,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Part of an id or a name.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("-l", "--language", metavar="NAME", help="As hindi, or its code hi.")
    ] = None,
    gender: Annotated[str | None, typer.Option("--gender", metavar="NAME", help="female or male.")] = None,
    accent: Annotated[str | None, typer.Option("--accent", metavar="NAME", help="As british.")] = None,
    age: Annotated[str | None, typer.Option("--age", metavar="NAME", help="As young.")] = None,
    use_case: Annotated[
        str | None, typer.Option("--use-case", metavar="NAME", help="As conversational.")
    ] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", metavar="NAME", help="One pool.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help=f"By one of {', '.join(SORTS)}.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the service, whatever is kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    *,
    where: ServiceOptions,
) -> None:
    """List and search voices; hear them; clone one.

    A table at a terminal, columns apart by tabs in a pipe. The list is the service's, a day old at the most,
    else the bundled one.
    """
    wish = VoiceFilter(
        search=search,
        language=language,
        gender=gender,
        accent=accent,
        age=age,
        use_case=use_case,
        model=model,
    )
    if context.invoked_subcommand:
        if any((*asdict(wish).values(), limit, sort, refresh, as_json, *where.as_dict().values())):
            raise UsageError(f"options of voices {context.invoked_subcommand} stand behind its name")
        return
    if sort not in (None, *SORTS):
        raise UsageError(f"--sort: not one of {', '.join(SORTS)}")
    settings = load_settings(where.as_dict())
    known = _load(settings, where, refresh=refresh)
    found = filter_voices(known, wish)
    if not found:
        raise UsageError(f"no voice matches {wish.words()}", hint=describe_alternatives(known, wish))
    if sort:
        found.sort(key=lambda voice: str(getattr(voice, sort) or "~").casefold())
    print_voices(found[:limit], as_json=as_json)


def _load(settings: Settings, where: ServiceOptions, *, refresh: bool) -> tuple[Voice, ...]:
    """What is kept, if it is fresh; else what the service lists; else, without a key, what there is."""
    kept = cached_voices(settings.base_url, fresh=True)
    if kept and not refresh and not settings.local:
        return kept
    try:
        return _fetch(settings, where)
    except (RemoteError, SettingsError) as error:
        if refresh:
            raise
        if isinstance(error, RemoteError):
            Console(quiet=False, verbose=False).warn(f"{error}; this is the list that was known before")
        return known_voices(settings.base_url)


def _fetch(settings: Settings, where: ServiceOptions) -> tuple[Voice, ...]:
    with open_account(where) as account:
        listed = tuple(account.voices())
    if not settings.local:
        cache_voices(settings.base_url, listed)
        keep_voices(listed)
    return listed


@voices.command("play")
@grouped
def play_voices(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Ids or names.")],
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="What to print_line, not the usual sentence.")
    ] = None,
    folder: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="Save each as a WAV in this folder.")
    ] = None,
    *,
    who: VoiceOptions,
    where: ServiceOptions,
    report: RunOptions,
) -> None:
    """Hear voices, one after the other, say the same sentence in their language.

    The object of --json lists in "voices" what speak --json would print of each.
    """
    if who.voice is not None:
        raise UsageError("voices play takes the voices as words", hint="smallest voices play NAME...")
    if folder is not None and not Path(folder).is_dir():
        raise OutputError(f"there is no folder {printable(folder)}")
    heard: list[dict[str, Any]] = []
    with _summed_up(heard):
        for each in _play_each(names, text, folder, who, where, report):
            heard.append(each)
    if report.json:
        print_json({"voices": heard})


def _play_each(
    names: list[str],
    text: str | None,
    folder: str | None,
    who: VoiceOptions,
    where: ServiceOptions,
    report: RunOptions,
) -> Iterator[dict[str, Any]]:
    """Voices in their turn; of each, when it was heard, what --json tells."""
    settings = load_settings(where.as_dict())
    known = known_voices(settings.base_url)
    found = {name: find_voice(name, known) for name in names}
    ids = {name: voice.id if voice else name for name, voice in found.items()}
    files = _files(ids.values())
    for name in names:
        voice, chosen = found[name], who.but(voice=ids[name])
        sound = SoundOptions(
            output=[str(Path(folder, files[ids[name]]))] if folder else None, play=not folder
        )
        config, console = build_run_config(chosen, sound, where, report)
        script = write_script(
            [text or sentence(voice)], config.template, split=SPLIT, pause_s=TextOptions().pause
        )
        if script.removed:
            console.warn(f"removed {script.removed} control characters from the text")
        Console(quiet=report.quiet, verbose=True).info(f"{chosen.voice}  {config.template.model}")
        with session_on_console(config, console) as session:
            session.run(script.items)
        yield result_as_json(config, result(config, session))


@contextmanager
def _summed_up(heard: list[dict[str, Any]]) -> Iterator[None]:
    """Have what ends it early tell of the voices that were heard."""
    try:
        yield
    except (SmallestError, Interrupted) as end:
        end.summary = {"voices": heard}
        raise


def _files(ids: Iterable[str]) -> dict[str, str]:
    """A file's name for each id. An id is whatever a service says, so that it may not name the place."""
    apart = list(dict.fromkeys(ids))
    names = unique_names([(id, id) for id in apart])
    return {id: f"{name}.wav" for id, name in zip(apart, names, strict=True)}


def sentence(voice: Voice | None) -> str:
    """The sentence that a voice is heard by: in its first language, English where it has that."""
    sentences: dict[str, str] = json.loads(SENTENCES.read_text("utf-8"))
    languages = voice.languages if voice else ()
    if not languages or "english" in languages:
        return sentences["english"]
    return next((sentences[each] for each in languages if each in sentences), sentences["english"])


Sample = Annotated[str, typer.Argument(metavar="FILE", help="A recording of 5 to 15 seconds, 5 MB at most.")]


@voices.command("clone")
@grouped
def clone_voice(
    file: Sample,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it.")],
    language: Annotated[str | None, typer.Option("-l", "--language", metavar="CODE", help="As en.")] = None,
    accent: Annotated[str | None, typer.Option("--accent", metavar="NAME", help="As british.")] = None,
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="A note.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="WORD", help="A tag (repeatable).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="NAME", help="The pool that it is made for.")
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Return when it can be used; wait for 5 minutes at most, or for --max-time."
        ),
    ] = False,
    *,
    where: ServiceOptions,
) -> None:
    """Clone a voice from a recording; prints its id alone, as soon as it has one."""
    sample = read_sample(file)
    given = {
        "displayName": name,
        "language": language,
        "accent": accent,
        "description": description,
        "tags": ",".join(tag or []) or None,
        "model": model.replace("_", "-") if model else None,
    }
    fields = {field: value for field, value in given.items() if value}
    body, kind = encode_clone(sample, Path(file).name, fields)
    with open_account(where) as account:
        with upload_progress(body, f"sending {printable(Path(file).name)}") as sent:
            made = account.create_clone(sent, kind)
        print(printable(made.id), flush=True)  # whatever comes now, another attempt would make a second one
        with _made_already(made):
            if wait:
                made = wait_for_clone(account, made, where.max_time or CLONING_S)
            if made.status == "failed":
                raise ServerError(f"the service could not clone the voice {printable(made.id)}")


@contextmanager
def _made_already(clone: Clone) -> Iterator[None]:
    """Have what goes wrong name the voice that there is by now."""
    try:
        yield
    except SmallestError as error:
        there = f"{printable(clone.id)} was made; smallest voices clones tells how it is"
        error.hint = f"{error.hint}; {there}" if error.hint else there
        raise


@voices.command("clones")
@grouped
def list_clones(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    where: ServiceOptions,
) -> None:
    """List your cloned voices: id, name, model, status, language, date."""
    with open_account(where) as account:
        found = account.clones()
    if as_json:
        print_json({"clones": [each._asdict() for each in found]})
    else:
        print_list(Clone._fields, [tuple(str(value or "") for value in each) for each in found])


@voices.command("delete")
def delete_voice(_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Say how a clone is deleted: an API key cannot."""
    raise UsageError(
        "a cloned voice cannot be deleted with an API key",
        hint="delete it where it is listed, in the console's voice cloning page: https://console.smallest.ai",
    )
