"""`python -m smallest_cli` and the `smallest` command: one door."""

import sys


def main() -> None:
    """Run the command line; `--version` alone is answered before anything is imported."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from smallest_cli import __version__

        print(f"smallest {__version__}")
        return
    from smallest_cli.cli import run

    run()


if __name__ == "__main__":
    main()
