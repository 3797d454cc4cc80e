"""`python -m smallest_cli` and the `smallest` command: one door."""

import atexit
import gc
import sys


def main() -> None:
    """Run the command line; `--version` alone is answered before anything is imported."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from smallest_cli import __version__

        print(f"smallest {__version__}")
        return
    gc.set_threshold(100_000)  # what start-up allocates stays: to walk it again and again takes 4 ms of it
    if not sys.flags.dev_mode:  # which looks for what was left open
        atexit.register(gc.freeze)  # what ends anyway is not searched for cycles: 16 ms of a short run
    from smallest_cli.cli import run

    run()


if __name__ == "__main__":
    main()
