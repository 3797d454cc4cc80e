"""`python -m smallest_cli` and the `smallest` command."""

import atexit
import gc
import signal
import sys


def main() -> None:
    """Run the command line; `--version` alone is answered before anything is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import cut short
    if sys.argv[1:] in (["--version"], ["-V"]):
        from smallest_cli import __version__

        try:
            print(f"smallest {__version__}", flush=True)
            return
        except OSError:
            pass  # reported below
    gc.set_threshold(100_000)  # what start-up allocates stays: to walk it again and again takes 4 ms of it
    if not sys.flags.dev_mode:  # which looks for what was left open
        atexit.register(gc.freeze)  # what ends anyway is not searched for cycles: 16 ms of a short run
    from smallest_cli.cli.app import run

    run()


if __name__ == "__main__":
    main()
