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

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AS_DISPUTED, _TIME, _FAILURE = "What the sources dispute", "Time", "Failure"


@grouped
def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; another than loopback needs a --token of 16 characters.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="SMALLEST_SERVE_TOKEN",
            help="The only key to accept (without it, any). Other users of this machine can read options: "
            "prefer the variable.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate chain (PEM), to serve https and wss.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Private key (PEM) of the certificate.")
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(
            metavar="N", help="Syntheses at a time for each key; 5 times as many sockets may be open."
        ),
    ] = 1,
    extra_voices: Annotated[
        list[str] | None,
        typer.Option("--extra-voice", metavar="ID", help="A further voice id to accept (repeatable)."),
    ] = None,
    max_text: Annotated[
        int | None, typer.Option(metavar="N", help="Refuse a longer text, in characters.")
    ] = None,
    idle_timeout_s: Annotated[
        float,
        typer.Option(
            "--idle-timeout", metavar="SECONDS", help="Seconds without a message before a socket is closed."
        ),
    ] = 60.0,
    log: Annotated[
        str | None, typer.Option(metavar="FILE", help="File to append a line of JSON to for each request.")
    ] = None,
    close_after_complete: Annotated[
        bool,
        typer.Option(
            "--close-after-complete",
            help="Close the socket after `complete`, as the vendor's pages tell.",
            rich_help_panel=_AS_DISPUTED,
        ),
    ] = False,
    complete_per: Annotated[
        Literal["request", "quiet"],
        typer.Option(
            help="One `complete` for each request, or for each quiet period.", rich_help_panel=_AS_DISPUTED
        ),
    ] = "request",
    complete_wait_ms: Annotated[
        float,
        typer.Option(
            "--complete-wait",
            metavar="MS",
            help="Milliseconds of quiet before `complete` of a plain request.",
            rich_help_panel=_AS_DISPUTED,
        ),
    ] = 0,
    buffered_complete_wait_ms: Annotated[
        float,
        typer.Option(
            "--buffered-complete-wait",
            metavar="MS",
            help="Milliseconds of quiet before `complete` of a buffered one.",
            rich_help_panel=_AS_DISPUTED,
        ),
    ] = 4000,
    complete_form: Annotated[
        Literal["live", "older"],
        typer.Option(help="How `complete` looks on the WebSocket.", rich_help_panel=_AS_DISPUTED),
    ] = "live",
    answer_empty_close: Annotated[
        bool,
        typer.Option(
            help="Answer a closing message that leaves nothing to say by `complete`.",
            rich_help_panel=_AS_DISPUTED,
        ),
    ] = True,
    sse_shape: Annotated[
        Literal["live", "older", "seed"] | None,
        typer.Option(help="One SSE envelope for every route, not its own.", rich_help_panel=_AS_DISPUTED),
    ] = None,
    error_form: Annotated[
        Literal["message", "nested", "list"],
        typer.Option(help="How errors look on the WebSocket.", rich_help_panel=_AS_DISPUTED),
    ] = "message",
    chunked: Annotated[
        bool,
        typer.Option(
            "--chunked", help="Send one-shot replies without their length.", rich_help_panel=_AS_DISPUTED
        ),
    ] = False,
    legacy: Annotated[
        Literal["on", "404", "410"],
        typer.Option(help="What the v3.1 and v2 routes do.", rich_help_panel=_AS_DISPUTED),
    ] = "on",
    first_byte_ms: Annotated[
        float,
        typer.Option(metavar="MS", help="Median milliseconds to the first audio.", rich_help_panel=_TIME),
    ] = 0,
    first_byte_sigma: Annotated[
        float,
        typer.Option(
            metavar="SIGMA", help="Spread of that time (sigma of a lognormal).", rich_help_panel=_TIME
        ),
    ] = 0,
    realtime_factor: Annotated[
        float,
        typer.Option(
            metavar="FACTOR",
            help="Send audio this much faster than it plays; 0 at once.",
            rich_help_panel=_TIME,
        ),
    ] = 0,
    jitter_ms: Annotated[
        float,
        typer.Option(
            metavar="MS", help="Up to so many milliseconds more before each block.", rich_help_panel=_TIME
        ),
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Makes the random times repeatable.", rich_help_panel=_TIME),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAILURE",
            help="A failure: status:503, status:429:2 (Retry-After 2), error:3 (an error after 3 blocks), "
            "close:1011:2, stall:2. Several take turns.",
            rich_help_panel=_FAILURE,
        ),
    ] = None,
    fail_times: Annotated[
        int,
        typer.Option(
            metavar="N", help="How many requests fail; 0 for all of them.", rich_help_panel=_FAILURE
        ),
    ] = 0,
) -> None:
    """Serve the Waves API from this machine, offline.

    Prints the base URL on stdout once it listens, and serves until Ctrl-C.
    """
    given = dict(locals())
    from smallest_cli.server.config import BadField, ServerConfig
    from smallest_cli.server.voice.engine import INSTALL, Engine

    try:
        behaviour = ServerConfig.from_fields(
            {**given, "extra_voices": extra_voices or [], "fail": fail or []}
        )
    except BadField as error:
        raise UsageError(f"{_flag(error.name)} {error.problem}") from None
    engine = Engine()  # first: it loads while the web server does
    try:
        try:
            from smallest_cli.server.run import run
        except ImportError as error:
            raise SettingsError(f"{error.name} is not installed", hint=INSTALL) from None
        engine.check()
        ending = _Ending()
        run(behaviour, engine, _announcement(behaviour.host, behaviour.token), ending.watch)
    finally:
        engine.close()
    raise Interrupted(ending.signal_number)


def _flag(field: str) -> str:
    name = {"extra_voices": "extra_voice"}.get(field, field)
    if name in ("idle_timeout_s", "complete_wait_ms", "buffered_complete_wait_ms"):
        name = name.rpartition("_")[0]
    return f"--{name.replace('_', '-')}"


def _announcement(host: str, token: str | None) -> Callable[[str], None]:
    def announce(base_url: str) -> None:
        print(base_url, flush=True)
        key = "the given token" if token else "any key"
        if host in ("0.0.0.0", "::"):  # noqa: S104
            print_line("It listens on every address of this machine.")
        print_line(f"The offline server takes {key}. Ctrl-C ends it.")

    return announce


class _Ending:
    """The signal that ends the server; the next one ends the process at once."""

    signal_number: int = signal.SIGTERM

    def watch(self, end: Callable[[], None]) -> None:
        """Call `end` at a signal that is not ignored (a script's `serve &` has INT ignored)."""
        watched = [each for each in ENDS if signal.getsignal(each) is not signal.SIG_IGN]

        def note(number: int, _: FrameType | None) -> None:
            self.signal_number = number
            for each in watched:
                signal.signal(each, signal.SIG_DFL)
            end()

        for each in watched:
            signal.signal(each, note)
