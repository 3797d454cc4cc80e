"""The account API, with the service, key and limits that a command's options and the settings name."""

from __future__ import annotations

from contextlib import AbstractContextManager

from smallest_cli.cli.console import Console
from smallest_cli.cli.options import AccountOptions
from smallest_cli.client import api
from smallest_cli.settings import load_settings


def warn(line: str) -> None:
    """Print a warning on stderr: these commands have no --quiet."""
    Console().warn(line)


def open_account(
    options: AccountOptions, max_time: float | None = None
) -> AbstractContextManager[api.AccountClient]:
    """The account for as long as the context lasts; `max_time` limits all calls together, in seconds.

    Raises RemoteError, SettingsError, UsageError.
    """
    settings = load_settings(options.as_dict())
    return api.open_account(settings, options.api_key_file, max_time=max_time, warn=warn)
