"""The server as a child process: `python -m smallest_cli.server`.

Reads one line of JSON from stdin (fields of `ServerConfig`, `{}` for the defaults), writes one line of
JSON to stdout (`base_url` and `key`, or `error`, `exit` and `hint`), and serves until stdin closes, which
also happens when the parent is killed. Secrets are not passed in argv, which other users can read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from secrets import token_hex

from smallest_cli.errors import SettingsError, SmallestError, UsageError
from smallest_cli.server.voice.engine import INSTALL, Engine

KEY_BYTES = 24


def main() -> int:
    """Serve until the parent closes stdin. Return 0, or the exit code of the error that prevented it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    engine = Engine()  # started first, so that it loads in parallel
    try:
        _serve(engine)
    except SmallestError as error:
        _write({"error": str(error), "exit": error.exit_code, "hint": error.hint})
        return error.exit_code
    except BrokenPipeError:
        return 0
    finally:
        engine.close()
    return 0


def _serve(engine: Engine) -> None:
    with open(0, "rb", closefd=False) as stdin:
        line = stdin.readline()
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise UsageError("the first line of stdin is not a JSON object")
    if fields.get("token") is None:
        fields["token"] = token_hex(KEY_BYTES)
    try:
        from smallest_cli.server.config import ServerConfig
        from smallest_cli.server.run import run
    except ImportError as error:
        raise SettingsError(f"{error.name} is not installed", hint=INSTALL) from None
    config = ServerConfig.from_fields(fields)
    engine.check()
    run(config, engine, lambda url: _write({"base_url": url, "key": config.token}), _watch)


def _watch(stop: Callable[[], None]) -> None:
    """Call `stop` when stdin closes, or on SIGTERM."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        stop()

    signal.signal(signal.SIGTERM, lambda *_: stop())
    threading.Thread(target=wait, daemon=True).start()


def _write(fields: dict[str, object]) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")  # unbuffered: no flush can fail at exit


if __name__ == "__main__":
    sys.exit(main())
