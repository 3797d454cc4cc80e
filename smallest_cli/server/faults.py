"""Fault injection: failures of a real service, each given as a short spec."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import cycle

from smallest_cli.errors import UsageError

_SPEC = re.compile(
    r"status:[45]\d\d(:\d{1,6})?"
    r"|close:(10(0[0-36-9]|1[0-4])|[34]\d{3})(:\d{1,6})?"
    r"|(error|stall|short)(:\d{1,6})?"
)
ABNORMAL = 1006  # never sent: the connection is dropped without a close frame (RFC 6455, 7.4.1)


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One fault. `after` is the number of blocks sent before it, `code` an HTTP status or close code.

    `short` ends the audio early, as if it were complete.
    """

    kind: str  # status, error, close, stall or short
    code: int = 0
    after: int = 0
    retry_after: int | None = None

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """Parse e.g. `status:503`, `status:429:2` (Retry-After 2), `error:3`, `close:1011:2` or `short:2`.

        Raises UsageError.
        """
        if not _SPEC.fullmatch(text):
            hint = "e.g. status:503, status:429:2, error:3, close:1011:2, stall:2 or short:2"
            raise UsageError(f"unknown fault '{text}'", hint=hint)
        kind, *numbers = text.split(":")
        code = int(numbers.pop(0)) if kind in ("status", "close") else 0
        last = int(numbers[0]) if numbers else None
        return cls(kind, code, retry_after=last) if kind == "status" else cls(kind, code, last or 0)


class Fault(Exception):
    """An injected fault, which each transport turns into its own kind of failure."""

    def __init__(self, spec: FaultSpec) -> None:
        super().__init__(f"fault {spec.kind}")
        self.spec = spec


class Faults:
    """Return faults in turn, `times` in total; 0 = unlimited."""

    def __init__(self, specs: tuple[str, ...], times: int) -> None:
        self._specs = cycle([FaultSpec.parse(spec) for spec in specs])
        self._next = next(self._specs, None)
        self._remaining = times or math.inf

    def take(self, *, status_only: bool = False) -> FaultSpec | None:
        """Return the fault for the next request, None if it succeeds.

        With `status_only`, other kinds stay queued: an upgrade can only fail with a status.
        """
        spec = self._next
        if spec is None or self._remaining == 0 or (status_only and spec.kind != "status"):
            return None
        self._remaining -= 1
        self._next = next(self._specs)
        return spec
