"""`smallest serve`: the offline server in the foreground."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Literal

import typer

from smallest_cli.cli.console import print_line
from smallest_cli.cli.option_groups import grouped
from smallest_cli.errors import Interrupted, SettingsError, UsageError

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WILDCARD_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104
_TIMING, _FAULTS = "Timing", "Fault injection"


@grouped
def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; any but loopback needs a --token of 16 characters."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen on; 0 picks a free one.")] = 0,
    profile: Annotated[
        Literal["live", "documented", "instant"],
        typer.Option(
            help="Behaviour: live as observed today (`complete` after 4 s), documented (also closes the "
            "socket), instant (`complete` at once; for tests and demos)."
        ),
    ] = "live",
    token: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="SMALLEST_SERVE_TOKEN",
            help="The only key accepted; without it any key is. Other users can read options: prefer the "
            "environment variable.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate chain (PEM) for https and wss.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Private key (PEM) of the certificate.")
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(metavar="N", help="Concurrent syntheses per key; 5 times as many sockets may be open."),
    ] = 1,
    extra_voices: Annotated[
        list[str] | None,
        typer.Option("--extra-voice", metavar="ID", help="Additional voice id to accept (repeatable)."),
    ] = None,
    max_text: Annotated[
        int | None,
        typer.Option(metavar="N", help="Maximum text length, in characters (default: 8000, instant: none)."),
    ] = None,
    idle_timeout_s: Annotated[
        float,
        typer.Option(
            "--idle-timeout", metavar="SECONDS", help="Close a socket after this time without a message."
        ),
    ] = 60.0,
    log: Annotated[
        str | None, typer.Option(metavar="FILE", help="Append a JSON line to FILE for each request.")
    ] = None,
    first_byte_ms: Annotated[
        float, typer.Option(metavar="MS", help="Median time to the first audio.", rich_help_panel=_TIMING)
    ] = 0,
    first_byte_sigma: Annotated[
        float,
        typer.Option(
            metavar="SIGMA", help="Spread of that time (sigma of a lognormal).", rich_help_panel=_TIMING
        ),
    ] = 0,
    realtime_factor: Annotated[
        float,
        typer.Option(
            metavar="FACTOR",
            help="Send audio at this multiple of real time; 0 = unpaced.",
            rich_help_panel=_TIMING,
        ),
    ] = 0,
    jitter_ms: Annotated[
        float,
        typer.Option(metavar="MS", help="Maximum random delay added to each block.", rich_help_panel=_TIMING),
    ] = 0,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the random delays.", rich_help_panel=_TIMING)
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT",
            help="Fault to inject: status:503, status:429:2 (Retry-After 2), error:3 (an error after 3 "
            "blocks), close:1011:2, stall:2. Several alternate.",
            rich_help_panel=_FAULTS,
        ),
    ] = None,
    fail_times: Annotated[
        int,
        typer.Option(metavar="N", help="Number of requests that fail; 0 = all.", rich_help_panel=_FAULTS),
    ] = 0,
) -> None:
    """Run the offline Waves-compatible server.

    Prints the base URL on stdout once it listens, and serves until Ctrl-C.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from smallest_cli.server.config import InvalidField, ServerConfig
    from smallest_cli.server.voice.engine import INSTALL, Engine

    try:
        config = ServerConfig.from_fields(given)
    except InvalidField as error:
        raise UsageError(f"{_option_name(error.name)} {error.problem}") from None
    engine = Engine()  # started first: it loads while the web server does
    try:
        try:
            from smallest_cli.server.run import run
        except ImportError as error:
            raise SettingsError(f"{error.name} is not installed", hint=INSTALL) from None
        engine.check()
        handler = _SignalHandler()

        def announce(base_url: str) -> None:
            print(base_url, flush=True)
            if host in WILDCARD_ADDRESSES:
                print_line("Listening on all addresses of this machine.")
            key = "the given token" if token else "any key"
            print_line(f"The server accepts {key}. Press Ctrl-C to stop.")

        run(config, engine, announce, handler.install)
    finally:
        engine.close()
    raise Interrupted(handler.signal_number)


def _option_name(field: str) -> str:
    name = {"extra_voices": "extra_voice", "idle_timeout_s": "idle_timeout"}.get(field, field)
    return f"--{name.replace('_', '-')}"


class _SignalHandler:
    """Stop the server at the first signal; the next one ends the process at once."""

    signal_number: int = signal.SIGTERM

    def install(self, stop: Callable[[], None]) -> None:
        """Call `stop` at any signal that is not ignored (`serve &` in a script has SIGINT ignored)."""
        handled = [number for number in END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

        def on_signal(number: int, _: FrameType | None) -> None:
            self.signal_number = number
            for each in handled:
                signal.signal(each, signal.SIG_DFL)
            stop()

        for number in handled:
            signal.signal(number, on_signal)
