"""`smallest login` and `smallest logout`: a key that is kept for you, and forgotten."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from smallest_cli.cli.console import Console
from smallest_cli.client.credentials import forget_keys, origin_of, read_key_file, store_key, vendor_path
from smallest_cli.client.service import warn_of_plain_http
from smallest_cli.errors import UsageError
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import KEY_LENGTH, Secret, printable
from smallest_cli.settings import load_settings


def login(
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="The service that the key is for.")
    ] = None,
    api_key_file: Annotated[
        str | None, typer.Option("--api-key-file", metavar="FILE", help="Read the key from FILE; - is stdin.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Try the key by a call that costs nothing.")
    ] = True,
    ca_file: Annotated[
        str | None, typer.Option("--ca-file", metavar="FILE", help="Trust the authorities in FILE.")
    ] = None,
    plain_http: Annotated[
        bool | None, typer.Option("--plain-http", help="Send the key over plain http to another machine.")
    ] = None,
) -> None:
    """Keep a key for one service.

    It is asked for unseen, or read from stdin, and kept when the service takes it.
    """
    settings = load_settings({"base_url": base_url, "ca_file": ca_file, "plain_http": plain_http})
    console = Console(quiet=False, verbose=True)
    key, warnings = (_ask(), []) if api_key_file is None else read_key_file(api_key_file, "--api-key-file")
    for warning in warnings:
        console.warn(warning)
    if check:
        from smallest_cli.client.api import AccountClient

        warn_of_plain_http(settings, console.warn)
        dialer = Dialer.from_settings(settings)
        with AccountClient(Service(settings.base_url, key), dialer) as account:
            account.check()
    path = store_key(settings.base_url, key)
    console.info(f"the key {key} for {printable(origin_of(settings.base_url))} is kept in {printable(path)}")


def _ask() -> Secret:
    if sys.stdin is None:
        raise UsageError("stdin is closed", hint="use --api-key-file FILE")
    if not sys.stdin.isatty():
        return Secret(sys.stdin.readline(KEY_LENGTH + 2), "stdin")
    from getpass import getpass

    try:
        return Secret(getpass("API key (not shown): ", stream=sys.stderr), "the terminal")
    except EOFError:
        raise UsageError("no key was typed") from None


def logout() -> None:
    """Forget the keys that `login` kept."""
    console = Console(quiet=False, verbose=True)
    path = forget_keys()
    console.info(f"{printable(path)} is removed" if path else "no key was kept")
    for name in ("SMALLEST_API_KEY", "SMALLEST_API_KEY_FILE"):
        if os.environ.get(name):
            console.warn(f"{name} still gives a key")
    if vendor_path().exists():
        console.warn(f"{printable(vendor_path())}, which is the vendor's, may still give a key")
