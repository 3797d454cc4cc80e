"""`smallest login` and `smallest logout`: save and remove API keys."""

import os
import sys
from typing import Annotated

import typer

from smallest_cli.cli.console import Console, print_json
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.options import JsonOption, RemoteOptions
from smallest_cli.client.credentials import forget_keys, origin_of, read_key_file, store_key, vendor_path
from smallest_cli.client.service import warn_of_plain_http
from smallest_cli.errors import UsageError
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret, printable
from smallest_cli.settings import load_settings


@grouped
def login(
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Verify the key with a free request.")
    ] = True,
    as_json: JsonOption = False,
    *,
    service_options: RemoteOptions,
) -> None:
    """Save an API key.

    Get one at https://console.smallest.ai. The key is prompted for without echo, or read from stdin, and
    saved for the origin of the base URL once the service has accepted it.
    """
    settings = load_settings(service_options.as_dict())
    key_file = service_options.api_key_file
    console = Console(verbose=not as_json)
    key, warnings = (_read_key(), []) if key_file is None else read_key_file(key_file, "--api-key-file")
    for warning in warnings:
        console.warn(warning)
    if check:
        from smallest_cli.client.api import AccountClient

        warn_of_plain_http(settings, console.warn)
        AccountClient(Service(settings.base_url, key), Dialer.from_settings(settings)).check()
    path, origin = store_key(settings.base_url, key), printable(origin_of(settings.base_url))
    if as_json:
        print_json({"origin": origin, "file": str(path)})
    console.info(f"saved the key {key} for {origin} in {printable(path)}")


def _read_key() -> Secret:
    if sys.stdin is None:
        raise UsageError("stdin is closed", hint="use --api-key-file FILE")
    if not sys.stdin.isatty():
        return read_key_file("-", "stdin")[0]
    from getpass import getpass

    try:
        return Secret(getpass("API key (not shown): ", stream=sys.stderr), "the terminal")
    except EOFError:
        raise UsageError("no key entered") from None


def logout() -> None:
    """Remove saved API keys."""
    console = Console(verbose=True)
    path = forget_keys()
    console.info(f"removed {printable(path)}" if path else "no saved key")
    for name in ("SMALLEST_API_KEY", "SMALLEST_API_KEY_FILE"):
        if os.environ.get(name):
            console.warn(f"{name} still provides a key")
    if os.path.exists(vendor_path()):
        console.warn(f"the vendor's file {printable(vendor_path())} may still provide a key")
