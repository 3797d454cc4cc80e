"""Aggregate the messages of the processes of a load run into one result.

Clocks of two machines are never compared: the window is the longest of any process.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from msgspec.structs import asdict, replace

from smallest_cli.bench import schema
from smallest_cli.bench.calibration import check_warmups
from smallest_cli.bench.distribution import add_counts
from smallest_cli.bench.locust.messages import Message, Totals, with_users
from smallest_cli.bench.merge import SAME_CONDITIONS
from smallest_cli.bench.results import assemble, window
from smallest_cli.bench.tally import Tally
from smallest_cli.errors import plural


class Aggregator:
    """A load run, aggregated from the messages of its processes."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.users = 0
        self.stopping = False
        self._started, self._id = datetime.now(UTC), f"{time.time_ns():x}"
        self._parts: dict[str, Totals] = {}
        self._left_early: set[str] = set()
        self._arms: dict[str, Tally] = {}
        self._warmups = schema.Warmups(0, {})

    def add(self, name: str, message: Message) -> str | None:
        """Add a message of the process `name`. Return its problem if it cannot run trials."""
        self._parts.setdefault(name, Totals()).add(message)
        if message.last and not self.stopping:
            self._left_early.add(name)
        for arm, tally in message.arms.items():
            self._arms.setdefault(arm, Tally(tally.prebuffers_ns)).merge(tally)
        self._warmups.n += message.warmups.n
        add_counts(self._warmups.errors, message.warmups.errors)
        return message.problem

    def is_waiting(self, present: set[str]) -> bool:
        """Whether one of those processes has sent a message, but not its last."""
        return any(name in present and not part.latest.last for name, part in self._parts.items())

    def result(self) -> schema.Result | None:
        """Return the result so far, None if there is no usable message yet."""
        parts = self._parts.values()
        known = [part.latest.conditions for part in parts if part.latest.conditions]
        if not known:
            return None
        cut_short = next((part.latest.cut_short for part in parts if part.latest.cut_short), None)
        named = with_users((arm for each in known for arm in each.arms), self.users)
        arms = [tally.as_result(named[arm]) for arm, tally in sorted(self._arms.items())]
        load = replace(known[0].load, concurrency=self.users, engine=self.engine)
        run = schema.Run(
            **asdict(replace(known[0], arms=[named[arm] for arm in sorted(self._arms)], load=load)),
            id=self._id,
            started_utc=self._started.isoformat(timespec="seconds"),
            interrupted=False,
            complete=all(part.latest.last for part in parts) and not self._left_early and not cut_short,
            cut_short=cut_short,
            calibration=self._calibration(known),
            workers=[self._worker(name, part) for name, part in self._parts.items()],
        )
        ns = max(part.latest.window_ns for part in parts)
        return assemble(run, window(self._arms.values(), ns), arms, self._warmups)

    def _worker(self, name: str, part: Totals) -> schema.WorkerSummary:
        ended = "left early" if name in self._left_early else "finished"
        state = ended if part.latest.last else "cut off"
        return schema.WorkerSummary(name, state, part.trials, part.ok, part.calibration())

    def _calibration(self, known: list[schema.Conditions]) -> schema.Calibration:
        """Return the worst verdict of all processes, with the reasons of all."""
        verdicts = {name: part.calibration() for name, part in self._parts.items()}
        worst = max(verdicts.values(), key=lambda each: schema.VERDICTS.index(each.verdict))
        lost = [
            f"worker {name} {'left' if part.latest.last else 'was cut off'},"
            f" {plural(part.trials, 'trial')} counted"
            for name, part in self._parts.items()
            if name in self._left_early or not part.latest.last
        ]
        problems = ((name, part.latest.problem) for name, part in self._parts.items())
        stopped = [f"worker {name}: {problem}" for name, problem in problems if problem]
        # One run only if all processes had the same conditions.
        different = [
            f"the workers differ in {name}"
            for name in (*SAME_CONDITIONS, "target")
            if any(getattr(each, name) != getattr(known[0], name) for each in known)
        ]
        reasons = [f"worker {name}: {why}" for name, each in verdicts.items() for why in each.reasons]
        cold = check_warmups(self._warmups.n, sum(self._warmups.errors.values()))
        floor: schema.Verdict = "invalid" if different else "suspect" if lost or stopped or cold else "ok"
        verdict = max(worst.verdict, floor, key=schema.VERDICTS.index)
        return replace(worst, verdict=verdict, reasons=[*different, *stopped, *lost, *cold, *reasons])
