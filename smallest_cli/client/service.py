"""The service of one run: remote as given, or the offline server started as a child."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smallest_cli.client.credentials import find_key
from smallest_cli.errors import ServerError, SettingsError
from smallest_cli.models import Api, Service
from smallest_cli.network.origin import is_loopback, parse_base_url
from smallest_cli.security import Secret, printable
from smallest_cli.settings import Settings

START_SECONDS = 20.0


@contextmanager
def open_service(settings: Settings, key_file: str | None, warn: Callable[[str], None]) -> Iterator[Service]:
    """The service that the settings name, with a key for it; `warn` hears of what may give the key away."""
    if settings.local:
        with open_local_service(settings.api) as service:
            yield service
        return
    key, warnings = find_key(key_file, settings.base_url)
    for warning in warnings:
        warn(warning)
    warn_of_plain_http(settings, warn)
    yield Service(settings.base_url, key, settings.api)


def warn_of_plain_http(settings: Settings, warn: Callable[[str], None]) -> None:
    """Say so where --plain-http lets the key go unencrypted to another machine. Raises SettingsError."""
    if not settings.plain_http:
        return
    origin = parse_base_url(settings.base_url)
    if not origin.secure and not is_loopback(origin.host):
        warn(f"the key goes to {printable(origin.netloc)} over plain http, where others can read it")


@contextmanager
def open_local_service(api: Api = "unified", behaviour: Mapping[str, Any] | None = None) -> Iterator[Service]:
    """The offline server as a process of its own, for as long as the context lasts.

    Its own process, because it shares neither our interpreter lock nor our crashes, and because
    its voice is a library under another licence. It ends when its stdin does, so it cannot
    outlive us. Raises SettingsError where its extra is missing, ServerError where it does not start.
    """
    import subprocess

    with subprocess.Popen(
        # -P: nothing is imported from the current folder.
        [sys.executable, "-P", "-m", "smallest_cli.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is ours; the child ends when we do
    ) as child:
        try:
            told = _greet(child, behaviour or {})
            yield Service(told["base_url"], Secret(told["key"], "the offline server"), api)
        finally:
            if child.stdin:
                child.stdin.close()
            child.terminate()


def _greet(child: Any, behaviour: Mapping[str, Any]) -> dict[str, Any]:
    try:
        child.stdin.write(json.dumps(behaviour).encode() + b"\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
        told = json.loads(child.stdout.readline()) if ready else {}
    except (OSError, ValueError):
        told = {}
    if "base_url" in told:
        return dict(told)
    if told.get("exit") == SettingsError.exit_code:
        raise SettingsError(told["error"], hint=told.get("hint", ""))
    raise ServerError(told.get("error", "the offline server did not start"))
