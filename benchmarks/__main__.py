"""Run all speed and memory benchmarks and print one table: `python -m benchmarks [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from benchmarks import instead, memory, receive, second, slow_writer, speaker, startup, stream, tab
from benchmarks.figures import Figure, report
from tests.support.pulse import missing_packages


def measure() -> Iterator[Figure]:
    """Yield all figures, start-up and wall times first."""
    yield from startup.measure(15)
    yield from instead.measure(7)
    yield from tab.measure(10)
    yield from second.measure()
    yield from receive.measure()
    yield from stream.measure(10)
    yield from slow_writer.measure(1, slow_writer.PAUSES_S)
    yield from memory.measure()
    if missing := missing_packages():
        print(f"the output device is not measured: {missing} is not installed")
    else:
        yield from speaker.measure()


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    return report(measure(), parser.parse_args().json)


if __name__ == "__main__":
    sys.exit(main())
