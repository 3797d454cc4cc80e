"""A run that several processes share: what each of them gathers and sends, and how it is put together.

Each sends what is new since it last did, so a process that is cut off takes only its last seconds along.
Clocks of two machines are never compared: a window is as long as the longest of its parts.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from smallest_cli.measure.attempt import Attempt
from smallest_cli.measure.lanes import Progress
from smallest_cli.measure.probe import Probe
from smallest_cli.measure.trust import weigh
from smallest_cli.player import SECOND
from smallest_cli.stats.quantiles import quantile
from smallest_cli.trials.files import SAME
from smallest_cli.trials.record import Trial
from smallest_cli.trials.summary import Result, assemble
from smallest_cli.trials.tally import Histogram, Tally

VERDICTS = ("ok", "suspect", "invalid")
REMEMBERED_NS = 600 * SECOND
"""A trial that lasts longer has nobody to say how late its stamps may be."""


class Passing(Progress):
    """A progress that counts what is under way and keeps no trial."""

    def end(self, trial: Trial) -> None:
        """A trial is over."""
        with self._lock:
            self.in_flight -= 1


@dataclass
class Share:
    """What one process has gathered since it last sent. `about` is what was asked, of `measure.run`."""

    about: Mapping[str, Any]
    floor: Mapping[str, Any] | None = None
    reasons: Sequence[str] = ()
    problem: str | None = None
    """Why this process cannot make any trial."""
    probe: Probe = field(default_factory=Probe)
    kept: list[Trial] | None = None
    """Every trial, where the raw ones are wanted."""

    origin_ns: int = 0
    """From when, by the probe's clock, the trials' times count."""

    def __post_init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._begun_ns: int | None = None
        self._ended_ns = 0
        self._told_until = 0
        self._lag, self._stamped = Histogram(), Histogram()
        self._new = New()

    def add(self, made: Attempt) -> None:
        """Count a trial that is over."""
        trial = made.trial
        if self.kept is not None:
            self.kept.append(trial)
        if trial.phase == "warmup":
            self._new.warmed += 1
            self._new.warmups.update([trial.error] if trial.error else [])
            return
        if trial.arm not in self._new.tallies:
            self._new.tallies[trial.arm] = Tally([round(ms * 1e6) for ms in self.about["buffers_ms"]])
        self._new.tallies[trial.arm].add(trial)
        begun = self._begun_ns
        self._begun_ns = trial.started_ns if begun is None else min(begun, trial.started_ns)
        self._ended_ns = max(self._ended_ns, trial.ended_ns)
        if trial.error is None and trial.sent_ns is not None:
            late = self.probe.late_at(self.origin_ns + trial.sent_ns + trial.chunks[0][0])
            self._new.stamped_ns += [] if late is None else [late]

    def calibration(self) -> dict[str, Any]:
        """This process's own verdict on all that it has packed; of the median where raw trials are kept."""
        good = sorted(
            trial.chunks[0][0] / 1e6
            for trial in self.kept or ()
            if trial.phase == "measure" and not trial.error
        )
        median_ms = quantile(good, 0.5) if good else None
        lags = self._lag.as_lag(), self._stamped.as_lag()
        return weigh(lags[0], self.drift(), self.floor, median_ms, self.reasons, stamped=lags[1])

    def drift(self) -> float:
        """Seconds by which the wall clock has parted from the monotonic one."""
        return (time.time() - self._wall) - (time.monotonic() - self._monotonic)

    def take(self, *, last: bool = False) -> New:
        """What is new; it then counts as sent. `last` says that no more will come."""
        new, self._new = self._new, New()
        new.said = {
            "about": dict(self.about),
            "floor": dict(self.floor) if self.floor else None,
            "reasons": list(self.reasons),
            "problem": self.problem,
            "drift_s": self.drift(),
            "window_ns": self._ended_ns - (self._begun_ns or 0),
            "last": last,
        }
        untold = bisect_right(self.probe.woken_ns, self._told_until)
        new.late_ns = self.probe.late_ns[untold : len(self.probe.woken_ns)]
        self._told_until = self.probe.woken_ns[-1] if self.probe.woken_ns else 0
        self.probe.forget(self._told_until - REMEMBERED_NS)
        for values, whole in ((new.late_ns, self._lag), (new.stamped_ns, self._stamped)):
            for ns in values:
                whole.add(max(ns, 0))
        return new


@dataclass
class New:
    """What a process has gathered since it last sent."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    warmups: Counter[str] = field(default_factory=Counter)
    warmed: int = 0
    stamped_ns: list[int] = field(default_factory=list)
    """Of each good trial: how late the probe was woken around its first audio."""
    late_ns: list[int] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """What travels. Nobody may add to it meanwhile."""
        return self.said | {
            "arms": {name: tally.pack() for name, tally in self.tallies.items()},
            "warmups": [self.warmed, dict(self.warmups)],
            "lag": _histogram(self.late_ns).pack(),
            "stamped": _histogram(self.stamped_ns).pack(),
        }


def _histogram(values_ns: Sequence[int]) -> Histogram:
    found = Histogram()
    for ns in values_ns:
        found.add(max(ns, 0))
    return found


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
        drift_s, floor, reasons = latest["drift_s"], latest["floor"], latest["reasons"]
        return weigh(self.lag.as_lag(), drift_s, floor, median_ms, reasons, stamped=stamped)


class Pool:
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
        arms = [tally.as_arm(named(name, self.users)) for name, tally in sorted(self._arms.items())]
        run = {
            "id": self._id,
            "started_utc": self._started.isoformat(timespec="seconds"),
            "interrupted": False,
            "complete": all(part.over and not part.early for part in self._parts.values()),
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
        characters = sum(tally.characters for tally in tallies)
        return {
            "seconds": ns / SECOND,
            "trials": sum(tally.n for tally in tallies),
            "characters": characters,
            "trials_per_s": sum(tally.ok for tally in tallies) * SECOND / ns,
            "audio_s_per_s": sum(tally.audio_ns for tally in tallies) / ns,
            "characters_per_s": characters * SECOND / ns,
        }


def named(arm: str, users: int) -> str:
    """An arm's id with how many were at once, which one process alone does not know."""
    return f"{arm.rpartition('/')[0]}/c{users}"
