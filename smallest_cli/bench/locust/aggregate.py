"""Aggregate what the processes of a load run sent into one result.

Clocks of two machines are never compared: the window is the longest of its parts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import convert
from msgspec.structs import asdict, replace

from smallest_cli.bench.calibration import evaluate_delays
from smallest_cli.bench.locust.histograms import Histogram, Tally
from smallest_cli.bench.merge import SAME_CONDITIONS
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.results import assemble
from smallest_cli.bench.schema import (
    VERDICTS,
    ArmId,
    Calibration,
    Conditions,
    Delays,
    Result,
    Run,
    Verdict,
    Warmups,
    Window,
    WorkerSummary,
    conditions_from,
)


class _Part:
    """What one process has sent so far."""

    def __init__(self) -> None:
        self.latest: Mapping[str, Any] = {}
        self.conditions: Conditions | None = None
        """None for a process that could not even resolve its options."""
        self.lag, self.stamped = Histogram(), Histogram()
        self.trials = Tally([0])
        self.over = self.early = False

    def add(self, packed: Mapping[str, Any], *, stopping: bool) -> None:
        self.latest = packed
        self.conditions = conditions_from(packed["conditions"]) if packed["conditions"] else None
        self.lag.merge(packed["lag"])
        self.stamped.merge(packed["stamped"])
        if packed["last"]:
            self.over, self.early = True, not stopping
        for arm in packed["arms"].values():
            self.trials.merge(arm | {"players": [arm["players"][0]]})

    def calibration(self) -> Calibration:
        """Return this process's own verdict, by the same rules as for any run."""
        latest = self.latest
        return evaluate_delays(
            self.lag.as_delays(),
            latest["drift_s"],
            convert(latest["floor"], Delays | None),
            self.trials.median_ms(),
            latest["reasons"],
            doubts=latest["doubts"],
            stamped=self.stamped.as_delays(),
        )


class Aggregator:
    """A load run, aggregated from the messages of its processes."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.users = 0
        self.stopping = False
        self._started, self._id = datetime.now(UTC), f"{time.time_ns():x}"
        self._parts: dict[str, _Part] = {}
        self._arms: dict[str, Tally] = {}
        self._warmup_errors: Counter[str] = Counter()
        self._warmups = 0

    def add(self, name: str, packed: Mapping[str, Any]) -> str | None:
        """Add a message of the process of that name. Return why it cannot continue, if it cannot."""
        part = self._parts.setdefault(name, _Part())
        part.add(packed, stopping=self.stopping)
        for arm, tally in packed["arms"].items():
            if arm not in self._arms and part.conditions:
                self._arms[arm] = Tally([round(ms * 1e6) for ms in part.conditions.buffers_ms])
            self._arms[arm].merge(tally)
        count, errors = packed["warmups"]
        self._warmups += count
        self._warmup_errors.update(errors)
        problem: str | None = packed["problem"]
        return problem

    def is_waiting(self, present: set[str]) -> bool:
        """Whether one of those processes has sent something, but not its last message."""
        return any(name in present and not part.over for name, part in self._parts.items())

    def result(self) -> Result | None:
        """Return the result so far, None without any message to make one of."""
        known = [part.conditions for part in self._parts.values() if part.conditions]
        if not known:
            return None
        cut_short = next(filter(None, (part.latest["cut_short"] for part in self._parts.values())), None)
        arms = [
            tally.as_result(ArmId.decode(arm).with_concurrency(self.users))
            for arm, tally in sorted(self._arms.items())
        ]
        load = replace(known[0].load, concurrency=self.users, engine=self.engine)
        parts = self._parts.items()
        run = Run(
            **asdict(replace(known[0], arms=[arm.id for arm in arms], load=load)),
            id=self._id,
            started_utc=self._started.isoformat(timespec="seconds"),
            interrupted=False,
            complete=all(part.over and not part.early for _, part in parts) and not cut_short,
            cut_short=cut_short,
            calibration=self._calibration(known),
            workers=[self._worker(name, part) for name, part in parts],
        )
        return assemble(run, self._window(), arms, Warmups(self._warmups, dict(self._warmup_errors)))

    def _worker(self, name: str, part: _Part) -> WorkerSummary:
        state = "cut off" if not part.over else "left early" if part.early else "finished"
        return WorkerSummary(name, state, part.trials.n, part.trials.ok, part.calibration())

    def _calibration(self, known: list[Conditions]) -> Calibration:
        """Return the verdict of the worst process, with the reasons of all."""
        verdicts = {name: part.calibration() for name, part in self._parts.items()}
        worst = max(verdicts.values(), key=lambda each: VERDICTS.index(each.verdict))
        lost = [
            f"worker {name} {'left' if part.over else 'was cut off'}, {part.trials.n} trials of it count"
            for name, part in self._parts.items()
            if part.early or not part.over
        ]
        problems = {name: part.latest["problem"] for name, part in self._parts.items()}
        stopped = [f"worker {name}: {problem}" for name, problem in problems.items() if problem]
        # The parts are one run only if all processes had the same conditions.
        different = [
            f"the workers differ in {name}"
            for name in (*SAME_CONDITIONS, "target")
            if any(getattr(each, name) != getattr(known[0], name) for each in known)
        ]
        reasons = [f"worker {name}: {why}" for name, each in verdicts.items() for why in each.reasons]
        floor: Verdict = "invalid" if different else "suspect" if lost or stopped else "ok"
        verdict = max(worst.verdict, floor, key=VERDICTS.index)
        return replace(worst, verdict=verdict, reasons=[*different, *stopped, *lost, *reasons])

    def _window(self) -> Window:
        ns = max(1, *(part.latest["window_ns"] for part in self._parts.values()), 1)
        tallies = self._arms.values()
        return Window(
            seconds=ns / SECOND,
            trials=sum(tally.n for tally in tallies),
            characters=sum(tally.characters for tally in tallies),
            trials_per_s=sum(tally.ok for tally in tallies) * SECOND / ns,
            audio_s_per_s=sum(tally.audio_ns for tally in tallies) / ns,
            characters_per_s=sum(tally.good_characters for tally in tallies) * SECOND / ns,
        )
