"""Fault injection: failures that a real service has, each written as a short spec."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

from smallest_cli.errors import UsageError

_SPEC = re.compile(
    r"(?P<status>status):(?P<code>[45]\d\d)(:(?P<wait>\d{1,6}))?"
    r"|(?P<close>close):(?P<close_code>10(?:0[0-36-9]|1[0-4])|[34]\d{3})(:(?P<close_after>\d{1,6}))?"
    r"|(?P<kind>error|stall)(:(?P<after>\d{1,6}))?"
)
ABNORMAL = 1006  # never sent: the connection is dropped without a close frame (RFC 6455, 7.4.1)


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One fault. `after` is the number of blocks sent before it; `code` an HTTP status or close code."""

    kind: Literal["status", "error", "close", "stall"]
    code: int = 0
    after: int = 0
    retry_after: int | None = None

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """Parse `status:503`, `status:429:2` (Retry-After 2), `error:3`, `close:1011:2` or `stall:2`.

        Raises UsageError.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            raise UsageError(
                f"unknown fault '{text}'",
                hint="e.g. status:503, status:429:2, error:3, close:1011:2 or stall:2",
            )
        if match["status"]:
            return cls("status", int(match["code"]), 0, int(match["wait"]) if match["wait"] else None)
        if match["close"]:
            return cls("close", int(match["close_code"]), int(match["close_after"] or 0))
        return cls("stall" if match["kind"] == "stall" else "error", 0, int(match["after"] or 0))


class Fault(Exception):
    """An injected fault is due; each transport fails in its own way."""

    def __init__(self, spec: FaultSpec) -> None:
        super().__init__(f"fault {spec.kind}")
        self.spec = spec


class Faults:
    """Hand out faults in turn, `times` in all; 0 = unlimited."""

    def __init__(self, specs: tuple[str, ...], times: int) -> None:
        self._specs = cycle([FaultSpec.parse(spec) for spec in specs])
        self._next = next(self._specs, None)
        self._remaining = times or math.inf

    def take(self, *, status_only: bool = False) -> FaultSpec | None:
        """Take the fault of the next request, None when it is to succeed.

        With `status_only` faults of other kinds are left: an upgrade can only fail with a status.
        """
        spec = self._next
        if spec is None or self._remaining == 0 or (status_only and spec.kind != "status"):
            return None
        self._remaining -= 1
        self._next = next(self._specs)
        return spec
