"""What of Locust is replaced, because measuring would suffer."""

from __future__ import annotations

from functools import cache

import locust.argument_parser
import locust.stats


def mend() -> None:
    """Replace it in this process, before any run."""
    locust.stats.bucket_response_time = to_the_millisecond
    # A worker asks it once for each option of every message to spawn users, and it builds the whole parser:
    # a third of a second, every second of the ramp, in which no stream is read.
    locust.argument_parser.default_args_dict = cache(locust.argument_parser.default_args_dict)


def to_the_millisecond(response_time: float) -> int:
    """What Locust's own table counts by. It rounds to two digits, so that 147 ms are shown as 150."""
    return round(response_time)
