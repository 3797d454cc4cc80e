"""API keys: where they are looked up and saved, and to which origin each may be sent."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smallest_cli.errors import MissingKeyError, OutputError, SettingsError, UsageError
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import KEY_LENGTH, LONG_KEY, Secret, hide_key, printable, translate_os_errors
from smallest_cli.settings import (
    DEFAULT_BASE_URL,
    FILE_LIMIT,
    config_folder,
    home_folder,
    read_private,
    read_regular,
)

NO_KEY_HINT = (
    "get one at https://console.smallest.ai, then: smallest login\n"
    "or set SMALLEST_API_KEY or SMALLEST_API_KEY_FILE, or use --api-key-file FILE"
)
VENDOR_FIELDS = ("api_key", "apiKey", "SMALLEST_API_KEY", "token")
"""Field names tried in the vendor's file, whose format is not documented."""


class _GivenKey(NamedTuple):
    """A key, or the file that holds it, given for this run by `source`, an option or a variable."""

    source: str
    key: str = ""
    file: str = ""


def _given_keys(key_file: str | None, environ: Mapping[str, str]) -> Iterator[_GivenKey]:
    """Yield the keys given for this run, in order of precedence; they come before all saved keys."""
    if key_file is not None:
        yield _GivenKey("--api-key-file", file=key_file)
    if key := environ.get("SMALLEST_API_KEY"):
        yield _GivenKey("SMALLEST_API_KEY", key=key)
    if path := environ.get("SMALLEST_API_KEY_FILE"):
        yield _GivenKey("SMALLEST_API_KEY_FILE", file=path)


def find_key(
    key_file: str | None, base_url: str, environ: Mapping[str, str] = os.environ
) -> tuple[Secret, list[str]]:
    """Return the key for a service and warnings about the place it comes from.

    Precedence: `key_file` (--api-key-file), SMALLEST_API_KEY, SMALLEST_API_KEY_FILE, the key that `login`
    saved for the origin of `base_url`, for the default service the vendor's file. A key given for the run
    is sent to any base URL. Raises MissingKeyError, SettingsError, UsageError.
    """
    given = next(_given_keys(key_file, environ), None)
    if given is not None:
        return (Secret(given.key, given.source), []) if given.key else read_key_file(given.file, given.source)
    saved, origin = _load_saved(environ), origin_of(base_url)
    if origin in saved:
        return Secret(saved[origin], printable(credentials_path(environ))), []
    if origin == origin_of(DEFAULT_BASE_URL) and (key := _read_vendor_key(environ)):
        return Secret(key, printable(vendor_path(environ))), []
    other = f" for {printable(origin)}: the stored one is for {printable(min(saved))}" if saved else ""
    raise MissingKeyError(f"no API key{other}", hint=NO_KEY_HINT)


def read_key_file(path: str, source: str) -> tuple[Secret, list[str]]:
    """Read the key from a file, or from the first line of stdin for "-"; return it and warnings.

    The file may be a link, a FIFO, or readable by other users, but then there is a warning. `source` is the
    option or variable that names it. Raises SettingsError, UsageError.
    """
    if not path:
        raise UsageError(f"{source} is empty", hint="unset shell variable?")
    if path == "-":
        return _read_key_line(), []
    if len(path) >= LONG_KEY and not {*path} & {*"/."} and not os.path.exists(path):
        hide_key(path)  # the key itself may have been given
    with translate_os_errors(SettingsError, f"read the key file ({source})", path), open(path, "rb") as file:
        status = os.fstat(file.fileno())
        text = file.read(2 * KEY_LENGTH).decode("utf-8", "replace")
    open_to_others = stat.S_ISREG(status.st_mode) and status.st_mode & 0o077
    warnings = [f"the key file {printable(path)} can be read by other users"] if open_to_others else []
    return Secret(text, source), warnings


def _read_key_line() -> Secret:
    """Read the key from the first line of stdin. Raises SettingsError, UsageError."""
    from smallest_cli.files import read_some  # most keys come from elsewhere

    line = b"" if sys.stdin else b"\n"
    with translate_os_errors(UsageError, "read", "stdin"):
        while b"\n" not in line and len(line) <= KEY_LENGTH:
            more = read_some(sys.stdin.fileno(), KEY_LENGTH)
            line += more or b"\n"
    return Secret(line.partition(b"\n")[0].decode("utf-8", "replace"), "stdin")


def reads_stdin(key_file: str | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `find_key` reads the key from stdin."""
    given = next(_given_keys(key_file, environ), None)
    return given is not None and given.file == "-"


def is_given(key_file: str | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the key is given for the run: the same for any service, and its file may be read only once."""
    return next(_given_keys(key_file, environ), None) is not None


def key_files(key_file: str | None, environ: Mapping[str, str] = os.environ) -> list[str | Path]:
    """Return all files that may hold a key, whether they exist or not; "-" is stdin."""
    given = [each.file for each in _given_keys(key_file, environ) if each.file]
    return [*given, credentials_path(environ), vendor_path(environ)]


def origin_of(base_url: str) -> str:
    """Return scheme, host and port, to which a saved key belongs."""
    origin = parse_base_url(base_url)
    return f"{'https' if origin.secure else 'http'}://{origin.netloc}"


def credentials_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of saved keys."""
    return config_folder(environ) / "credentials.json"


def vendor_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the credentials file of the vendor's command line; it is only read."""
    return home_folder(environ) / ".smallestai" / "credentials.json"


def _load_saved(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the saved keys by origin. Raises SettingsError."""
    path = credentials_path(environ)
    try:
        text = read_private(path)
        stored = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict) or not all(isinstance(key, str) for key in stored.values()):
        hint = "smallest logout removes it"
        raise SettingsError(f"{printable(path)} was not written by smallest login", hint=hint)
    return stored


def _read_vendor_key(environ: Mapping[str, str]) -> str | None:
    try:
        fields = json.loads(read_regular(vendor_path(environ), FILE_LIMIT)[0])
    except (OSError, ValueError, RecursionError):
        return None
    found = (fields.get(name) for name in VENDOR_FIELDS) if isinstance(fields, dict) else ()
    return next((key for key in found if isinstance(key, str) and key), None)


def store_key(base_url: str, key: Secret, environ: Mapping[str, str] = os.environ) -> Path:
    """Save a key for the origin of `base_url`, atomically, in a file that only its owner can read.

    Raises OutputError, and SettingsError if the present file is not valid.
    """
    from smallest_cli.files import atomic_write, locked_folder, make_folder_of  # most runs write no key

    path = credentials_path(environ)
    make_folder_of(path, 0o700)
    with translate_os_errors(OutputError, "write", path), locked_folder(path.parent):
        stored = _load_saved(environ) | {origin_of(base_url): key.reveal()}
        atomic_write(path, json.dumps(stored).encode(), mode=0o600, durable=True)
    return path


def forget_keys(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Remove the saved keys and return their file, None where there was none. Raises OutputError."""
    from smallest_cli.files import locked_folder

    path = credentials_path(environ)
    if not os.path.lexists(path):
        return None
    with translate_os_errors(OutputError, "remove", path), suppress(FileNotFoundError):
        with locked_folder(path.parent):  # a login that is under way must not write the keys again
            path.unlink()
        return path
    return None
