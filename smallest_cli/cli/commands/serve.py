"""`smallest serve`: the offline server in the foreground."""

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Literal

from smallest_cli.cli.console import print_line
from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.errors import Interrupted, SettingsError, UsageError

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WILDCARD_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104
_timing = partial(option, group="Timing")
_fault = partial(option, group="Fault injection")


class ServeOptions(Options, group="Server"):
    """Server options. Fields have the names of those of `ServerConfig`; `profile` is added."""

    host: str = option(
        "--host ADDRESS",
        "Address to listen on; any but loopback needs a --token of 16 characters.",
        "127.0.0.1",
    )
    port: int = option("--port PORT", "Port to listen on; 0 picks a free one.", 0)
    profile: Literal["live", "documented", "instant"] = option(
        "--profile",
        "Behaviour: live (as observed today: `complete` after 4 s), documented (also closes the socket), "
        "instant (`complete` at once; for tests and demos).",
        "live",
    )
    token: str | None = option(
        "--token KEY",
        "The only key accepted; without it any key is. Other users can read options: prefer the "
        "variable. [env: SMALLEST_SERVE_TOKEN]",
        envvar="SMALLEST_SERVE_TOKEN",
    )
    openai: bool = option("--openai", "Also serve POST /v1/audio/speech, as OpenAI's API.", False)
    tls_cert: str | None = option("--tls-cert FILE", "Certificate chain (PEM) for https and wss.")
    tls_key: str | None = option("--tls-key FILE", "Private key (PEM) of the certificate.")
    concurrency: int = option(
        "--concurrency N", "Concurrent syntheses per key; 5 times as many sockets may be open.", 1
    )
    extra_voices: list[str] | None = option("--extra-voice ID", "Additional voice id to accept (repeatable).")
    max_text: int | None = option(
        "--max-text N", "Maximum text length, in characters (default: 8000, instant: none)."
    )
    idle_timeout_s: float = option(
        "--idle-timeout SECONDS", "Close a socket after this time without a message.", 60.0
    )
    log: str | None = option("--log FILE", "Append a JSON line to FILE for each request.")
    first_byte_ms: float = _timing("--first-byte-ms MS", "Median time to the first audio.", 0)
    first_byte_sigma: float = _timing(
        "--first-byte-sigma SIGMA", "Spread of that time (sigma of a lognormal).", 0
    )
    realtime_factor: float = _timing(
        "--realtime-factor FACTOR", "Send audio at this multiple of real time; 0 = unpaced.", 0
    )
    jitter_ms: float = _timing("--jitter-ms MS", "Maximum random delay added to each block.", 0)
    seed: int | None = _timing("--seed N", "Seed of the random delays.")
    fail: list[str] | None = _fault(
        "--fail FAULT",
        "Fault to inject: status:503, status:429:2 (Retry-After 2), error:3 (an error after 3 blocks), "
        "close:1011:2, stall:2, short:2. Several alternate.",
    )
    fail_times: int = _fault("--fail-times N", "Number of requests that fail; 0 = all.", 0)


@grouped
def serve(*, server_options: ServeOptions) -> None:
    """Run the offline Waves-compatible server.

    Prints the base URL on stdout once it listens, and serves until Ctrl-C.
    """
    from smallest_cli.server.config import InvalidField, ServerConfig
    from smallest_cli.server.voice.engine import INSTALL, Engine

    try:
        given = server_options.as_dict().items()
        config = ServerConfig.from_fields({name: value for name, value in given if value is not None})
    except InvalidField as error:
        name = {"extra_voices": "extra_voice", "idle_timeout_s": "idle_timeout"}.get(error.name, error.name)
        raise UsageError(f"--{name.replace('_', '-')} {error.problem}") from None
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
            if config.host in WILDCARD_ADDRESSES:
                print_line("Listening on all addresses of this machine.")
            key = "the given token" if config.token else "any key"
            print_line(f"The server accepts {key}. Press Ctrl-C to stop.")

        run(config, engine, announce, handler.install)
    finally:
        engine.close()
    raise Interrupted(handler.signal_number)


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
