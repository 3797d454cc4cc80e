"""One run of asking a service for something other than speech."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.cli.console import Console
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.client.api import Account
from smallest_cli.client.service import open_service
from smallest_cli.network import Dialer
from smallest_cli.settings import load_settings


@contextmanager
def open_account(where: ServiceOptions) -> Iterator[Account]:
    """The account that options and settings name."""
    settings = load_settings(where.as_dict())
    dialer = Dialer(
        timeout=settings.timeout,
        max_time=where.max_time,
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
    )
    console = Console(quiet=False, verbose=False)
    with (
        open_service(settings, where.api_key_file, console.warn) as service,
        Account(service, dialer) as account,
    ):
        yield account
