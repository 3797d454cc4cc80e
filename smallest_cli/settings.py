"""What a person has set: flag > environment > config.toml > default, remembering which won."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.safety import reason, safe
from smallest_cli.speech import APIS, SAMPLE_RATES, VIAS, Api, Via

DEFAULT_BASE_URL = "https://api.smallest.ai"
FILE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one run; None where the choice is left to whoever needs it.

    `sources` names where each that is not a default came from, `warnings` what was passed over.
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
    via: Via = "ws"
    """The transport; auto is ws."""
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
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


_ENVIRONMENT = {
    "base_url": "SMALLEST_BASE_URL",
    "voice": "SMALLEST_VOICE",
    "model": "SMALLEST_MODEL",
    "local": "SMALLEST_LOCAL",
    "ca_file": "SMALLEST_CA_FILE",
}
_FLAGS_ONLY = {"plain_http"}
_KINDS: dict[str, tuple[type, ...]] = {
    "base_url": (str,), "voice": (str,), "model": (str,), "language": (str,), "speed": (int, float),
    "sample_rate": (int,), "via": (str,), "api": (str,), "local": (bool,), "ca_file": (str,),
    "plain_http": (bool,), "timeout": (int, float), "completion_wait": (int,), "retries": (int,),
    "cache": (bool,), "cache_max_mb": (int,),
    "player": (str,),
}  # fmt: skip


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settle every setting. A flag of None was not given; flags that are no settings are passed over.

    Raises UsageError for a flag's bad value, SettingsError for any other and for a broken file.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    warnings: list[str] = []
    path = config_path(environ)
    for name, value in _load_file(path).items():
        if name not in _KINDS or name in _FLAGS_ONLY:
            warnings.append(f"config.toml: {safe(name, 40)} is no setting")
        elif not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and bool not in _KINDS[name]):
            raise SettingsError(f"config.toml: {name} has a value of the wrong kind")
        else:
            values[name], sources[name] = value, str(path)
    for name, variable in _ENVIRONMENT.items():
        if text := environ.get(variable):
            values[name] = text.lower() not in ("0", "false", "no", "off") if name == "local" else text
            sources[name] = variable
    for name, value in flags.items():
        if name in _KINDS and value is not None:
            values[name], sources[name] = value, f"--{name.replace('_', '-')}"
    if values.get("via") == "auto":
        del values["via"]
    for name, value in values.items():
        if problem := _problem(name, value):
            error = UsageError if sources[name].startswith("--") else SettingsError
            raise error(f"{sources[name]}: {problem}")
    return Settings(**values, sources=sources, warnings=tuple(warnings))


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
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        return f"{name} {'holds a NUL' if value.strip() else 'is empty'}"
    if name in choices and value not in choices[name]:
        return f"{safe(value, 40)} is not one of {', '.join(map(str, choices[name]))}"
    if name in ranges and not ranges[name][0] <= value <= ranges[name][1]:
        return f"{safe(value, 40)} is not from {ranges[name][0]:g} to {ranges[name][1]:g}"
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
    text = read_private(path)
    if text is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the place is told: the line itself may hold something private.
        place = str(error).rpartition("(")[2].rstrip(")")
        raise SettingsError(f"{safe(path)} is not valid TOML ({safe(place, 60)})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise SettingsError(f"{safe(path)} is not valid TOML") from None


def read_private(path: Path) -> str | None:
    """A file of our own, None where there is none. Refused when others could have read or written it.

    Raises SettingsError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):  # a service's HOME may be /dev/null
        return None
    except OSError as error:
        raise SettingsError(f"cannot read {safe(path)}: {reason(error)}") from None
    try:
        status = os.fstat(descriptor)
        if os.name == "posix" and status.st_uid not in (os.getuid(), 0):
            raise SettingsError(f"{safe(path)} belongs to somebody else")
        if os.name == "posix" and status.st_mode & 0o077:
            raise SettingsError(f"{safe(path)} can be read by others", hint=f"chmod 600 {safe(path)}")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise SettingsError(f"{safe(path)} is larger than {FILE_LIMIT // 1024} KiB")
        return data.decode("utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read {safe(path)}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{safe(path)} is not UTF-8 text") from None
    finally:
        os.close(descriptor)
