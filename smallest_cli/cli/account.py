"""Open the account API with the service, key and limits from the options and settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.cli.console import Console
from smallest_cli.cli.options import AccountOptions
from smallest_cli.client.api import AccountClient
from smallest_cli.client.service import open_service
from smallest_cli.network.dialer import Dialer
from smallest_cli.settings import load_settings


@contextmanager
def open_account(options: AccountOptions, max_time: float | None = None) -> Iterator[AccountClient]:
    """Open the account API; `max_time` limits all calls together, in seconds.

    Raises RemoteError, SettingsError, UsageError.
    """
    settings = load_settings(options.as_dict())
    dialer = Dialer.from_settings(settings, max_time=max_time)
    with open_service(settings, options.api_key_file, Console().warn) as service:
        yield AccountClient(service, dialer)
