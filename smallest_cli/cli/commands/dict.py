"""`smallest dict`: pronunciation dictionaries."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from smallest_cli.cli.account import open_account
from smallest_cli.cli.console import print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.cli.run_config import check_key_not_from_text
from smallest_cli.cli.tables import print_list
from smallest_cli.client.api import AccountClient
from smallest_cli.errors import ProtocolError, RequestError, UsageError
from smallest_cli.models import Dictionary
from smallest_cli.security import escape, printable
from smallest_cli.settings import load_settings
from smallest_cli.text.input import read_texts

LARGEST = 1_000_000
HEADER = ("word", "pronunciation")
JSON_BEGINS = ("[", "{")

dictionaries = typer.Typer()

Items = Annotated[
    list[str] | None, typer.Argument(metavar="[WORD=PRONUNCIATION]...", help="Words and how to say them.")
]
Files = Annotated[
    list[str] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Read a CSV (word,pronunciation) or JSON; - is stdin."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The dictionary's id.")]


@dictionaries.callback()
def describe() -> None:
    """Pronunciation dictionaries.

    An id that is printed here goes into `speak --dict ID`.
    """


@dictionaries.command("list")
@grouped
def list_dictionaries(*, as_json: AsJson = False, where: ServiceOptions) -> None:
    """Id, number of words and date of each."""
    with open_account(where) as account:
        found = account.dictionaries()
    if as_json:
        print_json({"dictionaries": [_as_fields(each) for each in found]})
    else:
        rows = [(each.id, str(len(each.items)), each.created or "") for each in found]
        print_list(("id", "words", "created"), rows)


@dictionaries.command("show")
@grouped
def show(id: Id, *, as_json: AsJson = False, where: ServiceOptions) -> None:
    """The words of one, as `create -f` reads them."""
    with open_account(where) as account:
        found = _find(account, id)
    if as_json:
        print_json(_as_fields(found))
        return
    if sys.stdout.isatty():
        print(_as_csv([(escape(word), escape(said)) for word, said in found.items]), end="")
        return
    if not all(_is_text(word + said) for word, said in found.items):
        raise ProtocolError(
            "the service's dictionary has a word that is not Unicode text", hint="--json prints it escaped"
        )
    sys.stdout.buffer.write(_as_csv(found.items).encode())


@dictionaries.command("create")
@grouped
def create(
    items: Items = None, file: Files = None, *, as_json: AsJson = False, where: ServiceOptions
) -> None:
    """Make one; prints its id alone."""
    check_key_not_from_text(file or [], where.api_key_file, load_settings(where.as_dict()))
    pairs = _read(items or [], file or [])
    with open_account(where) as account:
        _print_id(account.create_dictionary(pairs.items()), as_json=as_json)


@dictionaries.command("update")
@grouped
def update(
    id: Id,
    items: Items = None,
    file: Files = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget its other words, rather than add to them.")
    ] = False,
    *,
    as_json: AsJson = False,
    where: ServiceOptions,
) -> None:
    """Add words to one, or change them; prints its id alone."""
    check_key_not_from_text(file or [], where.api_key_file, load_settings(where.as_dict()))
    pairs = _read(items or [], file or [])
    with open_account(where) as account:
        merged = pairs if replace else dict(_find(account, id).items) | pairs
        _print_id(account.replace_dictionary(id, merged.items()), as_json=as_json)


@dictionaries.command("delete")
@grouped
def delete(id: Id, *, where: ServiceOptions) -> None:
    """Delete one."""
    with open_account(where) as account:
        account.delete_dictionary(_find(account, id).id)


def _find(account: AccountClient, id: str) -> Dictionary:
    found = next((each for each in account.dictionaries() if each.id == id), None)
    if found is None:
        raise RequestError(f"there is no dictionary {printable(id)}", hint="smallest dict list shows them")
    return found


def _print_id(made: Dictionary, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_fields(made))
    else:
        print(printable(made.id))


def _as_fields(dictionary: Dictionary) -> dict[str, Any]:
    items = [{"word": word, "pronunciation": said} for word, said in dictionary.items]
    return {"id": dictionary.id, "items": items, "created": dictionary.created}


def _as_csv(items: Sequence[tuple[str, str]]) -> str:
    """Rows that `_parse_csv` reads back as they are."""
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if items and _is_header(items[0]):
        plain.writerow(HEADER)  # the words themselves would be taken for it
    for word, said in items:
        # Unquoted, `[` and `{` begin JSON, a mark at the start is no text, and csv lets a lone CR through.
        bare = word.lstrip()[:1] not in JSON_BEGINS and word[:1] != "\ufeff" and "\r" not in word + said
        (plain if bare else quoted).writerow((word, said))
    return out.getvalue()


def _is_text(word: str) -> bool:
    """Whether it has no half of a character, as a stray byte in argv or an escape in JSON gives one."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _is_header(row: Sequence[str]) -> bool:
    return tuple(cell.strip().lower() for cell in row) == HEADER


def _read(items: list[str], files: list[str]) -> dict[str, str]:
    """Words and pronunciations; of a word that comes twice the last counts. Raises UsageError."""
    pairs: list[tuple[str, str]] = []
    if files:
        for text in read_texts([], files, LARGEST):
            pairs += _parse_json(text) if text.lstrip()[:1] in JSON_BEGINS else _parse_csv(text)
    for item in items:
        word, equals, said = item.partition("=")
        if not equals:
            raise UsageError(f"{printable(item, 60)} is not WORD=PRONUNCIATION")
        pairs.append((word, said))
    pairs = [(word.strip(), said.strip()) for word, said in pairs]
    if not pairs:
        raise UsageError("no words were given", hint="as WORD=PRONUNCIATION, or in a file: -f FILE")
    for word, said in pairs:
        if not word or not said:
            raise UsageError(f"{printable(word, 60) or 'a word'} has no pronunciation or is empty")
        if not _is_text(word + said):
            raise UsageError(f"{printable(f'{word}={said}', 60)} is not Unicode text")
    return dict(pairs)


def _parse_csv(text: str) -> list[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise UsageError(f"the CSV cannot be read: {printable(error)}") from None
    if rows and _is_header(rows[0]):
        del rows[0]
    if any(len(row) != 2 for row in rows):
        raise UsageError("a row of the CSV has not two columns: word,pronunciation")
    return [(row[0], row[1]) for row in rows]


def _parse_json(text: str) -> list[tuple[str, str]]:
    """A list of objects as the service has them, an object that holds one, or words to pronunciations."""
    try:
        given = json.loads(text)
    except ValueError:
        raise UsageError(
            "the file is not valid JSON",
            hint='a CSV whose first word begins with [ or { has it in quotes: "["',
        ) from None
    except RecursionError:
        raise UsageError("the JSON is nested too deeply") from None
    if isinstance(given, dict) and isinstance(given.get("items"), list):
        given = given["items"]
    if isinstance(given, dict):
        given = [{"word": word, "pronunciation": said} for word, said in given.items()]
    pairs = []
    for each in given:
        match each:
            case {"word": str(word), "pronunciation": str(said)}:
                pairs.append((word, said))
            case _:
                raise UsageError("an item of the JSON is no word with a pronunciation")
    return pairs
