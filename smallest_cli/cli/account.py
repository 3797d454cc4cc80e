"""The account API as the options of a command and the settings name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.cli.console import Console
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.client import api
from smallest_cli.settings import load_settings


@contextmanager
def open_account(options: ServiceOptions) -> Iterator[api.AccountClient]:
    """The account for as long as the context lasts. Raises RemoteError, SettingsError, UsageError."""
    settings = load_settings(options.as_dict())
    warn = Console(quiet=False, verbose=False).warn
    with api.open_account(settings, options.api_key_file, max_time=options.max_time, warn=warn) as account:
        yield account
