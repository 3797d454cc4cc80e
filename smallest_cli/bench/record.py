"""One trial as it was stamped: integers and words, so that whatever is reckoned from it is the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from smallest_cli.bench.playback import Chunk
from smallest_cli.models import Phases

ERROR_CLASSES = (
    "dns", "connect", "tls", "http_4xx", "http_429", "http_5xx", "ws_close", "app_error", "timeout_first",
    "timeout_stall", "truncated", "inaudible", "empty", "protocol", "reset", "refused",
)  # fmt: skip
"""Every name that a failed trial can have. http_429 is the account's limit, by whatever transport it is
told."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured run, or a warm-up. Times are nanoseconds.

    Those of chunks and `completed_ns` count from the moment at which the request was sent, all others from
    the run's beginning.
    """

    index: int
    arm: str
    phase: Literal["warmup", "measure"]
    block: int
    text: str
    """The text's name in the run, never the text itself."""
    characters: int
    rate: int
    started_ns: int
    scheduled_ns: int | None = None
    opened_ns: int | None = None
    phases: Phases | None = None
    reused: bool | None = None
    sent_ns: int | None = None
    chunks: tuple[Chunk, ...] = ()
    onset: int | None = None
    """Number of the first audible frame."""
    completed_ns: int | None = None
    ended_ns: int = 0
    error: str | None = None
    message: str | None = None
    request_id: str | None = field(default=None)

    @property
    def frames(self) -> int:
        """Frames of sound that came."""
        return sum(frames for _, frames in self.chunks)

    def as_json(self) -> dict[str, Any]:
        """The trial as an object for JSON."""
        return asdict(self) | {"chunks": [list(chunk) for chunk in self.chunks]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Trial:
        """The trial that `as_json` made, or that `expected.check_raw` has seen."""
        known = {each.name for each in fields(cls)}
        phases = values.get("phases")
        return cls(
            **{name: value for name, value in values.items() if name in known}
            | {
                "chunks": tuple((at, frames) for at, frames in values["chunks"]),
                "phases": None
                if phases is None
                else Phases(*(phases.get(name, 0) for name in ("dns", "tcp", "tls", "upgrade"))),
            }
        )
