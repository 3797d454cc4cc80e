"""Convert files of schema 1, whose arms are ids such as `ws/warm/c1` and nothing else."""

from __future__ import annotations

import re
from typing import Any

from msgspec import ValidationError

OLD_SCHEMA, OLD_RAW_SCHEMA = "smallest.bench/1", "smallest.bench.raw/1"
_ID = re.compile(r"(ws|sse|http)/(warm|cold)/(?:c(\d{1,9})|r(\d[\d.e+-]{0,20}))")


def upgrade(document: Any, schema: str) -> Any:
    """Convert a result, or the header or a trial of a raw file, to `schema`. Raises ValidationError."""
    if not isinstance(document, dict):
        return document
    run, trial, arms = (document.get(name) for name in ("run", "trial", "arms"))
    if isinstance(run, dict) and isinstance(run.get("arms"), list):
        load = run.get("load")
        in_flight = load.get("concurrency") if isinstance(load, dict) else None
        run["arms"] = [_parts(each, in_flight) for each in run["arms"]]
        for arm in arms if isinstance(arms, list) else ():
            if isinstance(arm, dict):
                arm |= _parts(arm.get("id"), in_flight)
    if isinstance(trial, dict):
        trial["via"] = _parts(trial.get("arm"), 0)["via"]
    return document | ({"schema": schema} if "schema" in document else {})


def _parts(arm: Any, in_flight: Any) -> dict[str, Any]:
    match = _ID.fullmatch(arm) if isinstance(arm, str) else None
    if match is None:
        raise ValidationError("Expected an arm id such as `ws/warm/c1`")
    via, conn, concurrency, rate = match.groups()
    try:
        load = {"concurrency": int(concurrency)} if concurrency else {"rate": float(rate)}
    except ValueError:
        raise ValidationError("Expected an arm id such as `ws/warm/r2.5`") from None
    return {"id": arm, "via": via, "conn": conn, "concurrency": in_flight, **load}
