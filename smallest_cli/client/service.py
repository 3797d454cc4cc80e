"""Open the service of a run: the remote one, or the offline server as a child process."""

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
from smallest_cli.security import Secret, child_environment, printable, translate_os_errors
from smallest_cli.settings import Settings
from smallest_cli.signals import wait_running

START_TIMEOUT_S = 20.0


@contextmanager
def open_service(settings: Settings, key_file: str | None, warn: Callable[[str], None]) -> Iterator[Service]:
    """Yield the service of the settings with its key. `key_file` is the value of --api-key-file.

    `warn` takes warnings about how the key is stored or sent. Raises SettingsError, ServerError, UsageError.
    """
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
    """Warn where --plain-http sends the key unencrypted to another machine. Raises SettingsError."""
    if not settings.plain_http:
        return
    origin = parse_base_url(settings.base_url)
    if not origin.secure and not is_loopback(origin.host):
        warn(f"the key is sent to {printable(origin.netloc)} over plain http, unencrypted")


@contextmanager
def open_local_service(api: Api = "unified", behaviour: Mapping[str, Any] | None = None) -> Iterator[Service]:
    """Run the offline server as a child process for as long as the context lasts.

    `behaviour` holds fields of the server's configuration. A process of its own keeps the server from
    competing for the interpreter lock and its crashes from ending this one. It exits at the end of its stdin,
    so it cannot outlive this process. Raises SettingsError where its extra is missing, ServerError where it
    does not start.
    """
    import subprocess

    with translate_os_errors(SettingsError, "start", "the offline server"):  # e.g. no more processes
        started = subprocess.Popen(
            # -P: import nothing from the current directory.
            [sys.executable, "-P", "-m", "smallest_cli.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,  # keeps Ctrl-C from the child; it ends with its stdin
        )
    with started as child:
        try:
            reply = _start(child, behaviour or {})
            yield Service(reply["base_url"], Secret(reply["key"], "the offline server"), api)
        finally:
            if child.stdin:
                child.stdin.close()
            child.terminate()


def _start(child: Any, behaviour: Mapping[str, Any]) -> dict[str, Any]:
    """Send the configuration and return the server's reply: its base URL and key."""
    try:
        child.stdin.write(json.dumps(behaviour).encode() + b"\n")
        child.stdin.flush()
        ready = wait_running(lambda left_s: select.select([child.stdout], [], [], left_s)[0], START_TIMEOUT_S)
        reply = json.loads(child.stdout.readline()) if ready else {}
    except (OSError, ValueError):
        reply = {}
    if "base_url" in reply:
        return dict(reply)
    if reply.get("exit") == SettingsError.exit_code:
        raise SettingsError(reply["error"], hint=reply.get("hint", ""))
    raise ServerError(reply.get("error", "the offline server did not start"))
