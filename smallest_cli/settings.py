"""Settings: flag > environment > config.toml > default, and where each came from."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.models import APIS, SAMPLE_RATES, VIAS, Api, Via
from smallest_cli.security import printable, translate_os_errors

DEFAULT_BASE_URL = "https://api.smallest.ai"
FILE_LIMIT = 64 * 1024


class Settings(NamedTuple):
    """The settings of one run; None leaves the choice to the code that needs it.

    `sources` tells where each that is not a default came from, `warnings` what was ignored.
    """

    base_url: str = DEFAULT_BASE_URL
    """Where the service is; may hold a path prefix."""
    voice: str | None = None
    """A voice's id or display name."""
    model: str | None = None
    """The model; the catalogue tells it for a known voice."""
    language: str | None = None
    """A language code, sent only when given."""
    speed: float = 1.0
    """A factor from 0.5 to 2.0."""
    sample_rate: int = 24_000
    """Frames a second: 8000, 16000, 24000 or 44100."""
    via: Via = "sse"
    """The transport; auto is sse, or ws where only ws can do what is wanted."""
    api: Api = "unified"
    """The service's API."""
    local: bool = False
    """Speak through the offline server."""
    ca_file: str | None = None
    """Certificates of the authorities to trust."""
    plain_http: bool = False
    """Let the key go over plain http to another machine; a flag alone sets it."""
    timeout: float = 15.0
    """Seconds for connecting, for first audio and for each stall."""
    completion_wait: int | None = None
    """Milliseconds of quiet before the service says complete; sent only when given."""
    retries: int = 2
    """How often a request is sent again while no audio has come."""
    cache: bool = False
    """Keep what was spoken on this machine, so that the same request is not paid for twice."""
    cache_max_mb: int = 500
    """Most megabytes that are kept so."""
    player: str | None = None
    """The program that plays instead of PortAudio; `--player` stands above it."""
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
_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
_TEXT, _NUMBER, _WHOLE, _SWITCH = (str,), (int, float), (int,), (bool,)
_KINDS: dict[str, tuple[type, ...]] = {
    "base_url": _TEXT, "voice": _TEXT, "model": _TEXT, "language": _TEXT, "speed": _NUMBER,
    "sample_rate": _WHOLE, "via": _TEXT, "api": _TEXT, "local": _SWITCH, "ca_file": _TEXT,
    "plain_http": _SWITCH, "timeout": _NUMBER, "completion_wait": _WHOLE, "retries": _WHOLE,
    "cache": _SWITCH, "cache_max_mb": _WHOLE, "player": _TEXT,
}  # fmt: skip
_KIND_NAMES: dict[tuple[type, ...], str] = {
    _TEXT: "a text in quotes", _NUMBER: "a number", _WHOLE: "a whole number", _SWITCH: "true or false",
}  # fmt: skip
_HOST = re.compile(r"\w+://(\[[^]/]*\]|[^:/?#@]+)(:\d*)?/")
_Layer = dict[str, tuple[Any, str]]
"""What one place sets: each value, and where it stands."""


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Resolve every setting. A flag of None was not given; flags that are no settings are passed over.

    Raises UsageError for a flag's bad value, SettingsError for any other and for a broken file.
    """
    path = config_path(environ)
    in_file = _load_file(path)
    resolved: _Layer = {}
    for layer in (_known(in_file, path), _from_environment(environ), _from_flags(flags)):
        # A service that is named stands above the offline server that a weaker place wants.
        if "base_url" in layer and "local" not in layer and "local" in resolved:
            resolved["local"] = (False, layer["base_url"][1])
        resolved |= layer
    if resolved.get("via", ("", ""))[0] == "auto":
        del resolved["via"]
    for name, (value, source) in resolved.items():
        error = UsageError if source.startswith("--") else SettingsError
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            raise error(f"{source}: {name} {'holds a NUL' if value.strip() else 'is empty'}")
        if problem := _problem(name, value):
            place = f"{source}: {name}" if source == str(path) else source
            raise error(f"{place}: {problem}")
    values = {name: value for name, (value, _) in resolved.items()}
    sources = {name: source for name, (_, source) in resolved.items()}
    return Settings(**values, sources=sources, warnings=tuple(_warn_of_unknown(in_file)))


def _is_setting(name: str) -> bool:
    """Whether a file may set it."""
    return name in _KINDS and name not in _FLAGS_ONLY


def _known(in_file: Mapping[str, Any], path: Path) -> _Layer:
    for name, value in in_file.items():
        kinds = _KINDS.get(name, ())
        right = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
        if _is_setting(name) and not right:
            raise SettingsError(f"{printable(path)}: {name} must be {_KIND_NAMES[kinds]}")
    return {name: (value, str(path)) for name, value in in_file.items() if _is_setting(name)}


def _warn_of_unknown(in_file: Iterable[str]) -> Iterator[str]:
    for name in in_file:
        if _is_setting(name):
            continue
        from difflib import get_close_matches  # most files have no unknown settings

        hint = ""
        if "key" in name.lower() or "token" in name.lower():
            hint = " (keys are saved by smallest login, or set in SMALLEST_API_KEY)"
        elif nearest := get_close_matches(name, filter(_is_setting, _KINDS), 1):
            hint = f" (did you mean '{nearest[0]}'?)"
        yield f"config.toml: unknown setting '{printable(name, 40)}'{hint}"


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    found: _Layer = {name: (text, variable) for name, variable in _ENVIRONMENT.items()
                     if (text := environ.get(variable))}  # fmt: skip
    if "local" in found:
        word, variable = found["local"]
        found["local"] = (_WORDS.get(word.strip().lower(), word), variable)
    return found


def _from_flags(flags: Mapping[str, Any]) -> _Layer:
    given = {
        name: (value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None
    }
    if "local" in given and "base_url" in given:
        raise UsageError("--local and --base-url cannot be combined", hint="drop one")
    return {name: each for name, each in given.items() if name in _KINDS}


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with a value (ranges from waves/api.md, 2a), None where nothing is."""
    choices: dict[str, tuple[Any, ...]] = {"via": VIAS, "api": APIS, "sample_rate": SAMPLE_RATES}
    ranges = {
        "speed": (0.5, 2.0),
        "timeout": (0.01, 3600),
        "completion_wait": (0, 10_000),
        "retries": (0, 20),
        "cache_max_mb": (1, 1_000_000),
    }
    if name == "base_url":
        before, at, _ = value.rpartition("@")
        if at and not _HOST.match(before):  # an @ before the path: the URL must not be printed
            return "a base URL must not contain a user name or password"
    if name == "local" and not isinstance(value, bool):
        return f"{printable(value, 40)} is not one of {', '.join(_WORDS)}"
    if name in choices and value not in choices[name]:
        return f"{printable(value, 40)} is not one of {', '.join(map(str, choices[name]))}"
    if name in ranges and not ranges[name][0] <= value <= ranges[name][1]:
        return f"{printable(value, 40)} is not from {ranges[name][0]:g} to {ranges[name][1]:g}"
    return None


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file of the settings."""
    return config_folder(environ) / "config.toml"


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where our settings and credentials live on this system."""
    if named := environ.get("SMALLEST_CONFIG_DIR"):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("smallest")


def _load_file(path: Path) -> dict[str, Any]:
    with translate_os_errors(SettingsError, "read", path):
        text = _read_own(path)  # which may be a link: many users keep their settings in another place
    if text is None and os.path.islink(path):
        raise SettingsError(f"{printable(path)} is a symbolic link to nothing")
    if text is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # which Notepad writes
    except tomllib.TOMLDecodeError as error:
        # Only the position is reported: the line itself may contain a secret.
        place = str(error).rpartition("(")[2].rstrip(")")
        raise SettingsError(f"{printable(path)} is not valid TOML ({printable(place, 60)})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise SettingsError(f"{printable(path)} is not valid TOML") from None


def read_private(path: Path) -> str | None:
    """A file that we wrote, None where there is none. Refused when others could have read or written it.

    A link is refused, for we make none. Raises SettingsError.
    """
    if os.path.islink(path):
        raise SettingsError(f"{printable(path)} is a symbolic link")
    with translate_os_errors(SettingsError, "read", path):
        return _read_own(path, getattr(os, "O_NOFOLLOW", 0))


def _read_own(path: Path, flags: int = 0) -> str | None:
    """Raises OSError, and SettingsError where it is not ours alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | flags | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):  # a service's HOME may be /dev/null
        return None
    try:
        status = os.fstat(descriptor)
        if os.name == "posix" and status.st_uid not in (os.getuid(), 0):
            raise SettingsError(f"{printable(path)} is owned by another user")
        if os.name == "posix" and status.st_mode & 0o077:
            remedy = f"chmod 600 {printable(path)}" if stat.S_ISREG(status.st_mode) else ""
            raise SettingsError(f"{printable(path)} is readable by other users", hint=remedy)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise SettingsError(f"{printable(path)} is larger than {FILE_LIMIT // 1024} KiB")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{printable(path)} is not UTF-8 text") from None
    finally:
        os.close(descriptor)
