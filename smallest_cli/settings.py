"""Settings: flag > environment > config.toml > default, with the source of each."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.models import APIS, SAMPLE_RATES, VIAS, Api, Via
from smallest_cli.security import hide_typed_keys, printable, translate_os_errors

DEFAULT_BASE_URL = "https://api.smallest.ai"
FILE_LIMIT = 64 * 1024
NOT_REGULAR = "not a regular file"
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_HOME = Path(os.devnull)
"""A home directory that has no files and takes none, as that of some daemons."""


class Settings(NamedTuple):
    """The settings of one run; for None the code that uses the setting decides.

    `sources` has the source of each value that is not a default, `warnings` the ignored settings.
    """

    base_url: str = DEFAULT_BASE_URL
    """Base URL of the service, with an optional path prefix."""
    voice: str | None = None
    """A voice's id or display name."""
    model: str | None = None
    """The model; by default that of the voice in the catalogue."""
    language: str | None = None
    """A language code, sent only when given."""
    speed: float = 1.0
    """A factor from 0.5 to 2.0."""
    sample_rate: int = 24_000
    """Sample rate in Hz: 8000, 16000, 24000 or 44100."""
    via: Via = "sse"
    """The transport; auto is sse, or ws for options that require it."""
    api: Api = "unified"
    """The service's API."""
    local: bool = False
    """Use the offline server."""
    ca_file: str | None = None
    """File of CA certificates to trust."""
    plain_http: bool = False
    """Allow sending the key over plain HTTP to another machine; set by flag only."""
    timeout: float = 15.0
    """Timeout in seconds for connect, first audio and gaps."""
    completion_wait: int | None = None
    """Idle time in milliseconds before the service sends `complete`; sent only if given."""
    retries: int = 2
    """Maximum retries before the first audio."""
    cache: bool = False
    """Cache audio locally, so that a repeated request is not billed."""
    cache_max_mb: int = 500
    """Maximum size of the cache in MB."""
    player: str | None = None
    """Player command used instead of PortAudio; `--player` overrides it."""
    sources: Mapping[str, str] = MappingProxyType({})
    warnings: tuple[str, ...] = ()


_ENVIRONMENT = {
    "base_url": "SMALLEST_BASE_URL",
    "voice": "SMALLEST_VOICE",
    "model": "SMALLEST_MODEL",
    "local": "SMALLEST_LOCAL",
    "ca_file": "SMALLEST_CA_FILE",
}
_FLAGS_ONLY = {"plain_http"}
_BOOLEANS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
_TEXT, _NUMBER, _INTEGER, _BOOLEAN = (str,), (int, float), (int,), (bool,)
_TYPES: dict[str, tuple[type, ...]] = {
    "base_url": _TEXT, "voice": _TEXT, "model": _TEXT, "language": _TEXT, "speed": _NUMBER,
    "sample_rate": _INTEGER, "via": _TEXT, "api": _TEXT, "local": _BOOLEAN, "ca_file": _TEXT,
    "plain_http": _BOOLEAN, "timeout": _NUMBER, "completion_wait": _INTEGER, "retries": _INTEGER,
    "cache": _BOOLEAN, "cache_max_mb": _INTEGER, "player": _TEXT,
}  # fmt: skip
_KIND_NAMES: dict[tuple[type, ...], str] = {
    _TEXT: "a string", _NUMBER: "a number", _INTEGER: "a whole number", _BOOLEAN: "true or false",
}  # fmt: skip
_HOST = r"\w+://(\[[^]/]*\]|[^:/?#@]+)(:\d*)?/"
_XDG = {
    "config": ("XDG_CONFIG_HOME", ".config"),
    "cache": ("XDG_CACHE_HOME", ".cache"),
    "data": ("XDG_DATA_HOME", ".local/share"),
}
"""Kind of folder -> its variable, and its default in the home directory (XDG Base Directory)."""
_Layer = dict[str, tuple[Any, str]]
"""Settings of one source: name -> value and the source's name."""


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Resolve all settings. Ignores flags that are None or not settings.

    Raises UsageError for an invalid flag, SettingsError for another invalid value or an invalid file.
    """
    path = config_path(environ)
    in_file = _load_file(path)
    resolved: _Layer = {}
    for layer in (_known(in_file, path), _from_environment(environ), _from_flags(flags)):
        # A base URL overrides `local` from a source of lower precedence.
        if "base_url" in layer and "local" not in layer and "local" in resolved:
            resolved["local"] = (False, layer["base_url"][1])
        resolved |= layer
    if resolved.get("via", ("", ""))[0] == "auto":
        del resolved["via"]
    for name, (value, source) in resolved.items():
        error = UsageError if source.startswith("--") else SettingsError
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            raise error(f"{source}: {name} {'holds a NUL' if value.strip() else 'is empty'}")
        if problem := _validation_error(name, value):
            place = f"{source}: {name}" if source == str(path) else source
            raise error(f"{place}: {problem}")
    values = {name: value for name, (value, _) in resolved.items()}
    if "ca_file" in values:
        values["ca_file"] = os.path.expanduser(values["ca_file"])  # no shell does it in a file or after =
    sources = {name: source for name, (_, source) in resolved.items()}
    return Settings(**values, sources=sources, warnings=tuple(_warn_of_unknown(in_file)))


def setting_names() -> list[str]:
    """Return the names of the settings that config.toml may hold."""
    return [name for name in Settings._fields if _is_setting(name)]


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not a setting."""
    if not _is_setting(name):
        raise UsageError(f"unknown setting '{printable(name, 40)}'{_suggestion(name)}")


def parse_setting(name: str, text: str) -> Any:
    """Return the value of a setting as typed on the command line. Raises UsageError."""
    kinds = _TYPES[name]
    value: Any = text
    try:
        if kinds is _BOOLEAN:
            value = _BOOLEANS[text.strip().lower()]
        elif kinds is not _TEXT:
            value = int(text) if kinds is _INTEGER or text.strip().isdecimal() else float(text)
    except (ValueError, KeyError):
        raise UsageError(f"{name} must be {_KIND_NAMES[kinds]}, not {printable(text, 40)}") from None
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise UsageError(f"{name} is empty" if not value.strip() else f"{name} holds a NUL")
    if problem := _validation_error(name, value):
        raise UsageError(f"{name}: {problem}")
    return value


def _is_setting(name: str) -> bool:
    """Whether config.toml may set it."""
    return name in _TYPES and name not in _FLAGS_ONLY


def _known(in_file: Mapping[str, Any], path: Path) -> _Layer:
    for name, value in in_file.items():
        kinds = _TYPES.get(name, ())
        right = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
        if _is_setting(name) and not right:
            raise SettingsError(f"{printable(path)}: {name} must be {_KIND_NAMES[kinds]}")
    return {name: (value, str(path)) for name, value in in_file.items() if _is_setting(name)}


def _warn_of_unknown(in_file: Iterable[str]) -> Iterator[str]:
    for name in in_file:
        if not _is_setting(name):
            yield f"config.toml: unknown setting '{printable(name, 40)}'{_suggestion(name)}"


def _suggestion(name: str) -> str:
    from difflib import get_close_matches  # most files have no unknown settings

    if "key" in name.lower() or "token" in name.lower():
        return " (keys are saved by smallest login, or set in SMALLEST_API_KEY)"
    if nearest := get_close_matches(name, filter(_is_setting, _TYPES), 1):
        return f" (did you mean '{nearest[0]}'?)"
    return ""


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    found: _Layer = {name: (text, variable) for name, variable in _ENVIRONMENT.items()
                     if (text := environ.get(variable))}  # fmt: skip
    if "local" in found:
        word, variable = found["local"]
        found["local"] = (_BOOLEANS.get(word.strip().lower(), word), variable)
    return found


def _from_flags(flags: Mapping[str, Any]) -> _Layer:
    given = {
        name: (value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None
    }
    if "local" in given and "base_url" in given:
        raise UsageError("--local and --base-url cannot be combined", hint="drop one")
    return {name: each for name, each in given.items() if name in _TYPES}


def _validation_error(name: str, value: Any) -> str | None:
    """Return what is wrong with a value (ranges from waves/api.md, 2a); None if it is valid."""
    choices: dict[str, tuple[Any, ...]] = {
        "via": ("auto", *VIAS), "api": APIS, "sample_rate": SAMPLE_RATES,
    }  # fmt: skip
    ranges = {
        "speed": (0.5, 2.0),
        "timeout": (0.01, 3600),
        "completion_wait": (0, 10_000),
        "retries": (0, 20),
        "cache_max_mb": (1, 1_000_000),
    }
    if name == "base_url":
        before, at, _ = value.rpartition("@")
        if at and not re.match(_HOST, before):  # an @ before the path: the URL must not be printed
            return "a base URL must not contain a user name or password"
    if name == "local" and not isinstance(value, bool):
        return f"{printable(value, 40)} is not one of {', '.join(_BOOLEANS)}"
    if name in choices and value not in choices[name]:
        return f"{printable(value, 40)} is not one of {', '.join(map(str, choices[name]))}"
    if name in ranges and not ranges[name][0] <= value <= ranges[name][1]:
        return f"{printable(value, 40)} is not from {ranges[name][0]:g} to {ranges[name][1]:g}"
    return None


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of config.toml."""
    return config_folder(environ) / "config.toml"


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for settings and credentials."""
    return user_folder("config", environ.get("SMALLEST_CONFIG_DIR"))


def user_folder(kind: str, named: str | None = None) -> Path:
    """Return the folder `named`, else this user's own of a kind: config, cache or data.

    Without a home directory it is below NO_HOME.
    """
    if named:
        return Path(named)
    if sys.platform == "linux":
        return xdg_folder(kind) / "smallest"
    import platformdirs  # 4 ms of a start

    with suppress(RuntimeError):  # no home; older versions return a relative path, here and for a bad HOME
        folder: Path = getattr(platformdirs, f"user_{kind}_path")("smallest")
        if folder.is_absolute():
            return folder
    return NO_HOME / "smallest"


def xdg_folder(kind: str) -> Path:
    """Return the folder of a kind by XDG's rule: config, cache or data."""
    variable, default = _XDG[kind]
    named = os.environ.get(variable, "")
    return Path(named) if os.path.isabs(named) else home_folder() / default


def home_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the home directory, NO_HOME without one."""
    home = environ["HOME"] if "HOME" in environ else os.path.expanduser("~")
    return Path(home) if os.path.isabs(home) else NO_HOME


def read_config(path: Path) -> str | None:
    """Return the text of config.toml, None if it does not exist. Raises SettingsError."""
    with translate_os_errors(SettingsError, "read", path):
        text = _read_own(path, 0o022)  # may be a symbolic link, e.g. into a dotfiles repository
    if text is None and os.path.islink(path):
        raise SettingsError(f"{printable(path)} is a symbolic link to nothing")
    return text


def _load_file(path: Path) -> dict[str, Any]:
    text = read_config(path)
    if text is None:
        return {}
    hide_typed_keys([text])
    import tomllib

    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # a BOM, written by Notepad
    except tomllib.TOMLDecodeError as error:
        # Only the position is reported: the line itself may contain a secret.
        place = str(error).rpartition("(")[2].rstrip(")")
        raise SettingsError(f"{printable(path)} is not valid TOML ({printable(place, 60)})") from None
    except (ValueError, RecursionError):  # thousands of digits or nested brackets
        raise SettingsError(f"{printable(path)} is not valid TOML") from None


def read_private(path: Path) -> str | None:
    """Read a file that only its owner can access; None if it does not exist.

    Raises SettingsError if other users can access it, or it is a symbolic link.
    """
    if os.path.islink(path):
        raise SettingsError(f"{printable(path)} is a symbolic link")
    with translate_os_errors(SettingsError, "read", path):
        return _read_own(path, 0o077, NO_LINK)


def _read_own(path: Path, forbidden: int, flags: int = 0) -> str | None:
    """Read a file of this user or root; None if it does not exist, or its folder cannot be read.

    Raises OSError, and SettingsError if its mode has a bit of `forbidden`.
    """
    try:
        data, status = read_regular(path, FILE_LIMIT, flags)
    except (FileNotFoundError, NotADirectoryError):  # HOME of a daemon may be /dev/null
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG or os.path.lexists(path):
            raise
        return None  # the home directory cannot be read: it is another user's, or a lost network drive
    if os.name == "posix" and status.st_uid not in (os.getuid(), 0):
        raise SettingsError(f"{printable(path)} is owned by another user")
    if os.name == "posix" and status.st_mode & forbidden:
        access, remedy = ("readable", "600") if forbidden & 0o044 else ("writable", "go-w")
        hint = f"chmod {remedy} {printable(path)}"
        raise SettingsError(f"{printable(path)} is {access} by other users", hint=hint)
    if len(data) > FILE_LIMIT:
        raise SettingsError(f"{printable(path)} is larger than {FILE_LIMIT // 1024} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{printable(path)} is not UTF-8 text") from None


def package_data(path: str) -> str:
    """Return the text of a file of this package, which may be in a zip archive. Raises OSError."""
    loader: Any = __spec__.loader
    return str(loader.get_data(os.path.join(os.path.dirname(__file__), path)), "utf-8")


def read_regular(path: Path, limit: int | None = None, flags: int = 0) -> tuple[bytes, os.stat_result]:
    """Read a file without waiting, up to one byte more than a `limit`; also return its status.

    Raises OSError, also for anything but a regular file: a FIFO may block, and a device has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | flags | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(None if limit is None else limit + 1), status
    finally:
        os.close(descriptor)
