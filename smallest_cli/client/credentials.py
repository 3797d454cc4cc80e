"""Where keys live, and which of them goes to which origin."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from smallest_cli.errors import MissingKeyError, OutputError, SettingsError, UsageError
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import KEY_LENGTH, Secret, os_error_text, printable
from smallest_cli.settings import DEFAULT_BASE_URL, config_folder, read_private

_WAYS = "set SMALLEST_API_KEY, or SMALLEST_API_KEY_FILE, or use --api-key-file FILE, or smallest login"
VENDOR_FIELDS = ("api_key", "apiKey", "SMALLEST_API_KEY", "token")
"""Names under which the vendor's own file may hold its key: no source states which."""


def find_key(
    named_file: str | None, base_url: str, environ: Mapping[str, str] = os.environ
) -> tuple[Secret, list[str]]:
    """The key, from the first place that has one, and warnings about that place.

    Order: --api-key-file, SMALLEST_API_KEY, SMALLEST_API_KEY_FILE, our own file, the vendor's. The
    first three go wherever the person points; a stored key goes only to the origin it was stored for.
    Raises SettingsError.
    """
    if named_file is not None:
        return read_key_file(named_file, "--api-key-file")
    if value := environ.get("SMALLEST_API_KEY"):
        return Secret(value, "SMALLEST_API_KEY"), []
    if path := environ.get("SMALLEST_API_KEY_FILE"):
        return read_key_file(path, "SMALLEST_API_KEY_FILE")
    stored = _load(environ)
    origin = origin_of(base_url)
    if origin in stored:
        return Secret(stored[origin], printable(credentials_path(environ))), []
    if origin == origin_of(DEFAULT_BASE_URL) and (key := _vendors_key(environ)):
        return Secret(key, printable(vendor_path(environ))), []
    if stored:
        raise MissingKeyError(
            f"no API key for {printable(origin)}: the stored one is for {printable(min(stored))}", hint=_WAYS
        )
    raise MissingKeyError("no API key", hint=_WAYS)


def read_key_file(path: str, source: str) -> tuple[Secret, list[str]]:
    """A key file that the person names: a link, a FIFO, or open to others, but then with a warning."""
    if not path:
        raise UsageError(f"{source} is empty", hint="is a variable not set?")
    try:
        if path == "-":
            line = sys.stdin.buffer.readline(KEY_LENGTH + 2) if sys.stdin else b""
            return Secret(line.decode("utf-8", "replace"), "stdin"), []
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(2 * KEY_LENGTH).decode("utf-8", "replace")
    except OSError as error:
        raise SettingsError(
            f"cannot read the key file {printable(path)} ({source}): {os_error_text(error)}"
        ) from None
    open_to_others = stat.S_ISREG(status.st_mode) and status.st_mode & 0o077
    warnings = [f"the key file {printable(path)} can be read by others"] if open_to_others else []
    return Secret(text, source), warnings


def reads_stdin(named: str | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `find_key` takes the key from stdin."""
    if named is not None or environ.get("SMALLEST_API_KEY"):
        return named == "-"
    return environ.get("SMALLEST_API_KEY_FILE") == "-"


def key_files(named: str | None, environ: Mapping[str, str] = os.environ) -> list[str | Path]:
    """Every file that a key may come from, whether it is there or not; `-` is stdin."""
    files = [named, environ.get("SMALLEST_API_KEY_FILE"), credentials_path(environ), vendor_path(environ)]
    return [file for file in files if file]


def origin_of(base_url: str) -> str:
    """Scheme, host and port: what a stored key belongs to."""
    origin = parse_base_url(base_url)
    return f"{'https' if origin.secure else 'http'}://{origin.netloc}"


def credentials_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Our own file."""
    return config_folder(environ) / "credentials.json"


def vendor_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file of the vendor's own command line, which is read and never written."""
    return Path(environ.get("HOME") or Path.home()) / ".smallestai" / "credentials.json"


def _load(environ: Mapping[str, str]) -> dict[str, str]:
    """Keys by origin."""
    path = credentials_path(environ)
    text = read_private(path)
    if text is None:
        return {}
    try:
        stored = json.loads(text)
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or not all(isinstance(key, str) for key in stored.values()):
        raise SettingsError(f"{printable(path)} is not what login wrote", hint="smallest logout removes it")
    return stored


def _vendors_key(environ: Mapping[str, str]) -> str | None:
    try:
        fields = json.loads(vendor_path(environ).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    found = (fields.get(name) for name in VENDOR_FIELDS) if isinstance(fields, dict) else ()
    return next((key for key in found if isinstance(key, str) and key), None)


def store_key(base_url: str, key: Secret, environ: Mapping[str, str] = os.environ) -> Path:
    """Keep a key for an origin, in a file that is ours alone from its first byte.

    Raises OutputError, and SettingsError where what is there is not ours.
    """
    path = credentials_path(environ)
    stored = _load(environ) | {origin_of(base_url): key.reveal()}
    part = path.with_name(f"{path.name}.{os.urandom(4).hex()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(stored, file)
                file.flush()
                os.fsync(descriptor)
            os.replace(part, path)
        except BaseException:
            part.unlink()
            raise
    except FileExistsError:
        raise OutputError(f"cannot write {printable(path)}: {printable(path.parent)} is no folder") from None
    except OSError as error:
        raise OutputError(f"cannot write {printable(path)}: {os_error_text(error)}") from None
    return path


def forget_keys(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Remove our own file, None where there was none. Raises OutputError."""
    path = credentials_path(environ)
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"cannot remove {printable(path)}: {os_error_text(error)}") from None
    return path
