"""`python -m smallest_cli` and the `smallest` command."""

import atexit
import gc
import signal
import sys


def main() -> None:
    """Run the command line; `--version` alone is handled before anything is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during imports: no traceback
    if sys.argv[1:] in (["--version"], ["-V"]):
        from smallest_cli import __version__

        try:
            print(f"smallest {__version__}", flush=True)
            return
        except OSError:
            pass  # reported below
    gc.set_threshold(100_000)  # collections during start-up free nothing and take 4 ms
    if not sys.flags.dev_mode:  # dev mode reports unclosed files at exit
        atexit.register(gc.freeze)  # skip the final collection: 16 ms of a short run
    from smallest_cli.cli.app import run

    run()


if __name__ == "__main__":
    main()
