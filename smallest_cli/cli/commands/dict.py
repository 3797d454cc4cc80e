"""`smallest dict`: manage pronunciation dictionaries."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from smallest_cli.cli.account import open_account
from smallest_cli.cli.console import print_json
from smallest_cli.cli.help import HelpTyper
from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import AccountOptions
from smallest_cli.cli.run_config import check_key_not_from_text
from smallest_cli.cli.tables import print_result
from smallest_cli.client.api import AccountClient
from smallest_cli.errors import ProtocolError, RequestError, UsageError, plural
from smallest_cli.models import Dictionary
from smallest_cli.security import escape, printable
from smallest_cli.settings import load_settings
from smallest_cli.text.input import is_unicode, read_texts
from smallest_cli.text.table import read_table

MAX_FILE_CHARS = 1_000_000
MAX_WORD_CHARS = 100_000
HEADER = ("word", "pronunciation")
JSON_START = ("[", "{")

dictionaries = HelpTyper(
    help="Manage pronunciation dictionaries.\n\nPass an id that is printed here to `speak --dict ID`."
)

Items = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORD=PRONUNCIATION]...", help="Words and their pronunciations."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Dictionary id.")]


class WordFileOptions(Options):
    """Where words are read from, besides the arguments."""

    file: list[str] | None = option(
        "-f, --file FILE", "Read a CSV (word,pronunciation) or JSON file; - is stdin."
    )


class UpdateOptions(WordFileOptions):
    """`WordFileOptions`, and how existing words are handled."""

    replace_all: bool = option("--replace", "Remove all other words from the dictionary.", False)


@dictionaries.command("list")
@grouped
def list_dictionaries(*, account_options: AccountOptions) -> None:
    """List the dictionaries: id, number of words, creation date."""
    with open_account(account_options) as account:
        found = account.dictionaries()
    print_result(
        {"dictionaries": [_as_fields(each) for each in found]},
        ("id", "words", "created"),
        [(each.id, str(len(each.items)), each.created or "") for each in found],
        as_json=account_options.json,
    )


@dictionaries.command("show")
@grouped
def show(id: Id, *, account_options: AccountOptions) -> None:
    """Print the words of a dictionary as CSV, which `create -f` reads."""
    with open_account(account_options) as account:
        found = _find(account, id)
    if account_options.json:
        print_json(_as_fields(found))
        return
    if sys.stdout.isatty():
        print(_as_csv([(escape(word), escape(spoken)) for word, spoken in found.items]), end="")
        return
    if not all(is_unicode(word + spoken) for word, spoken in found.items):
        hint = "--json prints it escaped"
        raise ProtocolError("the dictionary contains a word that is not Unicode text", hint=hint)
    sys.stdout.buffer.write(_as_csv(found.items).encode())


@dictionaries.command("create")
@grouped
def create(items: Items = None, *, file_options: WordFileOptions, account_options: AccountOptions) -> None:
    """Create a dictionary and print its id."""
    pairs = _read(items or [], file_options.file or [], account_options)
    with open_account(account_options) as account:
        _print_id(account.create_dictionary(pairs.items()), as_json=account_options.json)


@dictionaries.command("update")
@grouped
def update(
    id: Id, items: Items = None, *, update_options: UpdateOptions, account_options: AccountOptions
) -> None:
    """Add or change words of a dictionary, and print its id."""
    pairs = _read(items or [], update_options.file or [], account_options)
    with open_account(account_options) as account:
        # The service replaces all items of a dictionary, so they are merged here (waves/api.md, 8).
        merged = pairs if update_options.replace_all else dict(_find(account, id).items) | pairs
        _print_id(account.replace_dictionary(id, merged.items()), as_json=account_options.json)


@dictionaries.command("delete")
@grouped
def delete(id: Id, *, account_options: AccountOptions) -> None:
    """Delete a dictionary."""
    with open_account(account_options) as account:
        account.delete_dictionary(_find(account, id).id)
    if account_options.json:
        print_json({"id": id, "deleted": True})


def _find(account: AccountClient, id: str) -> Dictionary:
    found = next((each for each in account.dictionaries() if each.id == id), None)
    if found is None:
        raise RequestError(f"no dictionary with id {printable(id)}", hint="smallest dict list shows the ids")
    return found


def _print_id(dictionary: Dictionary, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_fields(dictionary))
    else:
        print(printable(dictionary.id))


def _as_fields(dictionary: Dictionary) -> dict[str, Any]:
    items = [{"word": word, "pronunciation": spoken} for word, spoken in dictionary.items]
    return {"id": dictionary.id, "items": items, "created": dictionary.created}


def _as_csv(items: Sequence[tuple[str, str]]) -> str:
    """Format rows so that `_parse_csv` reads them back unchanged."""
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if items and _is_header(items[0]):
        plain.writerow(HEADER)  # so that the first item is not read as the header
    for word, spoken in items:
        # Unquoted, `[` and `{` are read as JSON and a BOM is dropped; csv does not quote a lone CR.
        bare = word.lstrip()[:1] not in JSON_START and word[:1] != "\ufeff" and "\r" not in word + spoken
        (plain if bare else quoted).writerow((word, spoken))
    return out.getvalue()


def _is_header(row: Sequence[str]) -> bool:
    return tuple(cell.strip().lower() for cell in row) == HEADER


def _read(items: list[str], files: list[str], account_options: AccountOptions) -> dict[str, str]:
    """Return words and pronunciations; for duplicate words the last one wins. Raises UsageError."""
    check_key_not_from_text(files, account_options.api_key_file, load_settings(account_options.as_dict()))
    pairs: list[tuple[str, str]] = []
    if files:
        for path, text in zip(files, read_texts([], files, MAX_FILE_CHARS), strict=True):
            is_json = text.lstrip()[:1] in JSON_START
            pairs += _parse_json(text) if is_json else _parse_csv(text, "stdin" if path == "-" else path)
    for item in items:
        word, equals, spoken = item.partition("=")
        if not equals:
            raise UsageError(f"{printable(item, 60)} is not of the form WORD=PRONUNCIATION")
        pairs.append((word, spoken))
    pairs = [(word.strip(), spoken.strip()) for word, spoken in pairs]
    if not pairs:
        raise UsageError("no words given", hint="use WORD=PRONUNCIATION, or a file: -f FILE")
    for word, spoken in pairs:
        if not word or not spoken:
            raise UsageError(f"empty word or pronunciation: {printable(f'{word}={spoken}', 60)}")
        if len(word + spoken) > MAX_WORD_CHARS:
            shown = printable(f"{word}={spoken}", 60)
            raise UsageError(f"longer than {MAX_WORD_CHARS} characters: {shown}")
        if not is_unicode(word + spoken):
            raise UsageError(f"{printable(f'{word}={spoken}', 60)} is not Unicode text")
    return dict(pairs)


def _parse_csv(text: str, name: str) -> list[tuple[str, str]]:
    """Parse words from CSV, or from a table with another delimiter; `name` is its file."""
    rows, broken, error = read_table(text, ",", set(HEADER))
    for row in rows:
        if len(row.cells) != len(HEADER):
            hint = "every row has two columns: word,pronunciation"
            cells = plural(len(row.cells), "cell")
            raise UsageError(f"{printable(name)}: {row.place} has {cells} for 2 columns", hint=hint)
    if broken:
        raise UsageError(f"{printable(name)}: {broken.place} cannot be parsed: {error}")
    if rows and _is_header(rows[0].cells):
        del rows[0]
    return [(word, spoken) for word, spoken in (row.cells for row in rows)]


def _parse_json(text: str) -> list[tuple[str, str]]:
    """Parse items in the form of the API: one, a list or an object with a list; or a plain mapping."""
    try:
        given = json.loads(text)
    except ValueError:
        hint = 'in a CSV file, quote a first word that begins with [ or {: "["'
        raise UsageError("invalid JSON", hint=hint) from None
    except RecursionError:
        raise UsageError("the JSON is nested too deeply") from None
    if isinstance(given, dict) and isinstance(given.get("items"), list | dict):
        given = given["items"]
    if isinstance(given, dict) and given.keys() == set(HEADER):
        given = [given]  # one item, rather than a mapping of these two words
    elif isinstance(given, dict):
        given = [{"word": word, "pronunciation": spoken} for word, spoken in given.items()]
    pairs = []
    for each in given:
        match each:
            case {"word": str(word), "pronunciation": str(spoken)}:
                pairs.append((word, spoken))
            case _:
                raise UsageError("every item of the JSON must have a word and a pronunciation")
    return pairs
