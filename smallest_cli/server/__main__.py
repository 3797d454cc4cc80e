"""The server as somebody's child: `python -m smallest_cli.server`.

Reads one line of JSON from stdin (fields of `ServerConfig`, `{}` for none), writes one line of JSON to
stdout (`base_url` and `key`, or `error`, `exit` and `hint`), and serves until its stdin ends: that
is how it dies with its parent, however the parent dies. Secrets pass here and never in argv.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable

from smallest_cli.errors import SettingsError, SmallestError, UsageError
from smallest_cli.server.voice.engine import INSTALL, Engine

KEY_BYTES = 24


def main() -> int:
    """The exit code: 0 when the parent has ended, that of the error when it could not serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on
    engine = Engine()  # first of all: it loads while this process does
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
    from smallest_cli.server.config import ServerConfig

    given = _read_fields()
    if given.get("token") is None:
        given["token"] = os.urandom(KEY_BYTES).hex()
    behaviour = ServerConfig.from_fields(given)
    try:
        from smallest_cli.server.run import run
    except ImportError as error:
        raise SettingsError(f"{error.name} is not installed", hint=INSTALL) from None
    engine.check()
    run(behaviour, engine, lambda url: _write({"base_url": url, "key": behaviour.token}), _watch)


def _read_fields() -> dict[str, object]:
    line = bytearray()
    while (byte := os.read(0, 65_536)) and b"\n" not in byte:
        line += byte
    try:
        fields = json.loads(line + byte)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise UsageError("the first line of stdin is no JSON object")
    return fields


def _watch(end: Callable[[], None]) -> None:
    """Call `end` when stdin ends, or on SIGTERM."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, lambda *_: end())
    threading.Thread(target=wait, daemon=True).start()


def _write(fields: dict[str, object]) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")  # unbuffered: nothing is left over if nobody reads


if __name__ == "__main__":
    sys.exit(main())
