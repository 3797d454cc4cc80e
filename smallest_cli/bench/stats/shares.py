"""Two shares compared: whether more of the second sample failed than chance would have it."""

from __future__ import annotations

import math


def rise(failed: int, n: int, failed_after: int, n_after: int) -> float:
    """The probability of so many failures in the second sample, or more, were both alike.

    Fisher's exact test, one-sided: of all failures together, the second sample's are a hypergeometric draw.
    """
    whole, bad = n + n_after, failed + failed_after
    most = min(bad, n_after)
    return min(1.0, math.fsum(_ways(whole, bad, n_after, k) for k in range(failed_after, most + 1)))


def _ways(whole: int, bad: int, drawn: int, k: int) -> float:
    if drawn - k > whole - bad:
        return 0.0
    return math.exp(_log_choose(bad, k) + _log_choose(whole - bad, drawn - k) - _log_choose(whole, drawn))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
