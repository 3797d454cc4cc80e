"""A run put together from what its processes sent, as if one had made it.

Clocks of two machines are never compared: a window is as long as the longest of its parts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from smallest_cli.bench.calibration import evaluate_effect
from smallest_cli.bench.locust.histograms import Histogram, Tally
from smallest_cli.bench.locust.worker_stats import named
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.results import Result, assemble
from smallest_cli.bench.schema import VERDICTS
from smallest_cli.bench.storage import SAME


class _Part:
    """What one process has sent so far."""

    def __init__(self) -> None:
        self.latest: Mapping[str, Any] = {}
        self.lag, self.stamped = Histogram(), Histogram()
        self.trials = Tally([0])
        self.over = self.early = False

    def take(self, packed: Mapping[str, Any], *, stopping: bool) -> None:
        self.latest = packed
        self.lag.merge(packed["lag"])
        self.stamped.merge(packed["stamped"])
        if packed["last"]:
            self.over, self.early = True, not stopping
        for arm in packed["arms"].values():
            self.trials.merge(arm | {"players": [arm["players"][0]]})

    def calibration(self) -> dict[str, Any]:
        """This process's own verdict, by the same rules as any run's."""
        latest = self.latest
        median_ms, stamped = self.trials.median_ms(), self.stamped.as_lag()
        drift_s, floor, reasons, doubts = (latest[name] for name in ("drift_s", "floor", "reasons", "doubts"))
        return evaluate_effect(
            self.lag.as_lag(), drift_s, floor, median_ms, reasons, doubts=doubts, stamped=stamped
        )


class Aggregator:
    """A whole run, put together from what its processes sent."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.users = 0
        self.stopping = False
        self._started, self._id = datetime.now(UTC), f"{time.time_ns():x}"
        self._parts: dict[str, _Part] = {}
        self._arms: dict[str, Tally] = {}
        self._warmups: Counter[str] = Counter()
        self._warmed = 0

    def take(self, name: str, packed: Mapping[str, Any]) -> str | None:
        """Add what the process of that name sent; gives why it cannot go on, if it cannot."""
        self._parts.setdefault(name, _Part()).take(packed, stopping=self.stopping)
        for arm, tally in packed["arms"].items():
            if arm not in self._arms:
                self._arms[arm] = Tally([round(ms * 1e6) for ms in packed["about"]["buffers_ms"]])
            self._arms[arm].merge(tally)
        warmed, errors = packed["warmups"]
        self._warmed += warmed
        self._warmups.update(errors)
        problem: str | None = packed["problem"]
        return problem

    def waits_for(self, present: set[str]) -> bool:
        """Whether one of those processes has begun, and has not yet said its last."""
        return any(name in present and not part.over for name, part in self._parts.items())

    def result(self) -> Result | None:
        """The result as of now; None if nobody has sent anything that a result could be made of."""
        abouts = self._abouts()
        if not abouts:
            return None
        about = abouts[0]
        short = next(filter(None, (part.latest["cut_short"] for part in self._parts.values())), None)
        arms = [tally.as_arm(named(name, self.users)) for name, tally in sorted(self._arms.items())]
        run = {
            "id": self._id,
            "started_utc": self._started.isoformat(timespec="seconds"),
            "interrupted": False,
            "complete": all(part.over and not part.early for part in self._parts.values()) and not short,
            "cut_short": short,
            "origin_ns": 0,
            **about,
            "arms": [arm["id"] for arm in arms],
            "load": about["load"] | {"concurrency": self.users, "engine": self.engine},
            "calibration": self._calibration(),
            "workers": [self._told(name, part) for name, part in self._parts.items()],
        }
        return assemble(run, self._window(), arms, {"n": self._warmed, "errors": dict(self._warmups)})

    def _told(self, name: str, part: _Part) -> dict[str, Any]:
        state = "cut off" if not part.over else "left early" if part.early else "finished"
        return {"id": name, "state": state, "trials": part.trials.n, "ok": part.trials.ok,
                "calibration": part.calibration()}  # fmt: skip

    def _calibration(self) -> dict[str, Any]:
        """The worst process's verdict is the run's, with what every one of them has to say."""
        verdicts = {name: part.calibration() for name, part in self._parts.items()}
        worst = max(verdicts.values(), key=lambda each: VERDICTS.index(each["verdict"]))
        lost = [
            f"worker {name} {'left before the end' if part.over else 'was cut off'}: "
            f"{part.trials.n} trials of it are here"
            for name, part in self._parts.items()
            if part.early or not part.over
        ]
        stopped = [f"worker {name}: {part.latest['problem']}" for name, part in self._parts.items()
                   if part.latest["problem"]]  # fmt: skip
        unlike = self._unlike()
        said = [f"worker {name}: {why}" for name, each in verdicts.items() for why in each["reasons"]]
        least = "invalid" if unlike else "suspect" if lost or stopped else "ok"
        verdict = max(worst["verdict"], least, key=VERDICTS.index)
        return worst | {"verdict": verdict, "reasons": [*unlike, *stopped, *lost, *said]}

    def _abouts(self) -> list[Mapping[str, Any]]:
        """What each process was asked for, but for those that could not even find that out."""
        return [part.latest["about"] for part in self._parts.values() if "load" in part.latest["about"]]

    def _unlike(self) -> list[str]:
        """Why the parts are no one run: each process must have asked for the same."""
        abouts = self._abouts()
        return [
            f"the workers differ in their {name}"
            for name in (*SAME, "target")
            if any(about[name] != abouts[0][name] for about in abouts)
        ]

    def _window(self) -> dict[str, Any]:
        ns = max(1, *(part.latest["window_ns"] for part in self._parts.values()), 1)
        tallies = self._arms.values()
        return {
            "seconds": ns / SECOND,
            "trials": sum(tally.n for tally in tallies),
            "characters": sum(tally.characters for tally in tallies),
            "trials_per_s": sum(tally.ok for tally in tallies) * SECOND / ns,
            "audio_s_per_s": sum(tally.audio_ns for tally in tallies) / ns,
            "characters_per_s": sum(tally.good_characters for tally in tallies) * SECOND / ns,
        }
