"""`python -m smallest_cli` and the `smallest` command."""

# Not `signal`, which imports enum: milliseconds in which Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until `catch_signals`, there is nothing to clean up

import atexit
import gc
import sys


def main() -> None:
    """Run the command line; `--version` alone is handled before anything is imported."""
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
