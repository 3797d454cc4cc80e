"""What a batch came to: counted while it goes, and told at its end, whichever that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from smallest_cli.cli.console import print_json, say
from smallest_cli.cli.run_config import Run
from smallest_cli.errors import BatchFailed, Interrupted, SmallestError
from smallest_cli.security import safe
from smallest_cli.synthesis.batch.workers import IN_A_ROW, Outcome

SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Tally:
    """Of so many rows some were there; `outcomes` has those that were tried, as they come."""

    rows: int
    skipped: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def done(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is None), key=_row)

    @property
    def failed(self) -> list[Outcome]:
        return sorted((each for each in self.outcomes if each.error is not None), key=_row)

    @property
    def untried(self) -> int:
        return self.rows - self.skipped - len(self.outcomes)

    @property
    def so_far(self) -> str:
        """Words for a run that was cut off."""
        return f"{self.skipped + len(self.done)} of {self.rows} rows done; --resume goes on"

    def summary(self) -> dict[str, Any]:
        """The object of --json."""
        done = self.done
        return {
            "done": len(done),
            "failed": len(self.failed),
            "skipped": self.skipped,
            "untried": self.untried,
            "files": [str(each.item.path) for each in done],
            "characters": sum(each.item.characters for each in done),
            "characters_resent": sum(each.resent for each in done),
            "seconds": round(sum(each.seconds for each in done), 6),
            "cached": sum(each.cached for each in self.outcomes),
        }

    @contextmanager
    def told_when_cut_off(self) -> Iterator[None]:
        """Whatever ends the run within the context, what was done and paid for is said beside it."""
        try:
            yield
        except SmallestError as error:
            _say_failures(self.failed)
            error.summary = self.summary()
            if self.skipped + len(self.done):
                error.hint = "; ".join(filter(None, [error.hint, self.so_far]))
            raise
        except BaseException as end:
            if isinstance(end, Interrupted):
                end.summary, end.hint = self.summary(), self.so_far
            say(f"smallest: {self.so_far}")
            raise


def tell(run: Run, tally: Tally) -> None:
    """How it went, when every row was tried. Raises BatchFailed where some failed."""
    summary = tally.summary()
    resent = f" ({summary['characters_resent']} sent again)" if summary["characters_resent"] else ""
    run.console.tell(
        f"{summary['done']} done  {tally.skipped} were there  {summary['failed']} failed"
        f"  {summary['seconds']:.1f} s  {summary['characters']} characters{resent}"
    )
    if tally.failed:
        _say_failures(tally.failed)
        raise _failure(tally)
    if run.report.json:
        print_json(summary)


def _failure(tally: Tally) -> BatchFailed:
    untried = f", and {tally.untried} were not tried: {IN_A_ROW} failed one after the other"
    error = BatchFailed(
        f"{len(tally.failed)} of {tally.rows} rows failed{untried if tally.untried else ''}",
        hint="the same command with --resume does what is missing, and no other",
    )
    error.summary = tally.summary()
    return error


def _say_failures(failed: list[Outcome]) -> None:
    for each in failed[:SHOWN_FAILURES]:
        id = f" ({safe(each.item.id, 60)})" if each.item.id else ""
        say(f"smallest: row {each.item.row}{id}: {each.error}")
    if len(failed) > SHOWN_FAILURES:
        say(f"smallest: and {len(failed) - SHOWN_FAILURES} more")


def _row(outcome: Outcome) -> int:
    return outcome.item.row
