"""A result as one HTML file that needs no other: no script, nothing from any network, light and dark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.charts import distributions, markup, smoothness, waterfall
from smallest_cli.bench.report.format import (
    GLANCE,
    NOT_STREAMED,
    cells,
    error_words,
    figure,
    interval,
    load_words,
    promise_words,
    provenance,
    remarks,
    verdict_words,
)

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #5c6670; --line: #dde2e7; --panel:
#f6f8fa; --c0: #2563b0; --c1: #6fa3dd; --c2: #b3541e; --c3: #e09a5f; --c4: #2f7d4f; --c5: #83bf94;
  --good: #1a7f43; --warn: #8a5a00; --bad: #b3261e; --wait: #c9d1d9; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e6e9ec; --soft: #9aa4ae; --line:
#30363d;
  --panel: #1c2126; --c0: #6cb0ff; --c1: #3a6ea5; --c2: #f0945a; --c3: #9c5c31; --c4: #6cc58b; --c5: #3c7a52;
  --good: #5fce89; --warn: #e2b04a; --bad: #ff7b72; --wait: #444c56; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 62rem; background: var(--ground); color:
var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 0 0 .2rem; } p { margin: .3rem 0; } .soft { color: var(--soft); font-size:
.9rem; } .lead { font-size: 1.1rem; margin: 1rem 0; } .scroll { overflow-x: auto; }
.badge { font-weight: 600; } .ok, .pass { color: var(--good); } .suspect { color: var(--warn); }
.invalid, .fail { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
} th:first-child, td:first-child, td.words { text-align: left; } td.words { color: var(--soft); white-space:
normal; } thead th { color: var(--soft); font-weight: 600; }
section.arm { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .9rem
1rem; margin: 1rem 0; }
svg { width: 100%; height: auto; display: block; margin: .5rem 0; } svg text { fill: var(--ink); font-size:
12px; } svg .tick { fill: var(--soft); font-size: 11px; } svg .name { font-weight: 600; }
.grid { stroke: var(--line); } .mark { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 3 2; }
.rug { stroke-width: .7; opacity: .6; } .curve { fill: none; stroke-width: 2.2; }
.c0 { fill: var(--c0); stroke: var(--c0); } .c1 { fill: var(--c1); stroke: var(--c1); }
.c2 { fill: var(--c2); stroke: var(--c2); } .c3 { fill: var(--c3); stroke: var(--c3); }
.c4 { fill: var(--c4); stroke: var(--c4); } .c5 { fill: var(--c5); stroke: var(--c5); }
.curve.c0, .curve.c1, .curve.c2, .curve.c3, .curve.c4, .curve.c5 { fill: none; }
.dns { fill: var(--c3); } .tcp { fill: var(--c2); } .tls { fill: var(--c5); } .upgrade { fill: var(--c4); }
.wait { fill: var(--wait); } .audio { fill: var(--c0); } .sound { fill: var(--c1); opacity: .55; }
.key span { display: inline-block; margin-right: 1rem; } .key i { display: inline-block; width: .8em; height:
.8em; margin-right: .3em; border-radius: 2px; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
KEY = {
    "dns": "--c3",
    "tcp": "--c2",
    "tls": "--c5",
    "upgrade": "--c4",
    "wait": "--wait",
    "arrival": "--c0",
    "its sound": "--c1",
}


def to_html(result: Mapping[str, Any]) -> str:
    """The page. Its figures are also in it as JSON, in an element of id `figures`."""
    run, arms = result["run"], result["arms"]
    word, metric = run["calibration"]["verdict"], GLANCE[run["load"]["model"]][0][0]
    since = ", from the scheduled time" if metric == "ttfb_e2e" else ""
    summary = {arm["id"]: {name: found["p50"]["v"] for name, found in arm["metrics"].items()} for arm in arms}
    figures = json.dumps(summary).replace("<", "\\u003c")
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Speech latency, {markup(run['started_utc'])}</title>",
        f"<style>{STYLE}</style>\n</head>\n<body>",
        f"<h1>Speech latency</h1>\n<p class='soft'>{markup(provenance(run))}</p>",
        f"<p class='soft'>{markup(load_words(run))}.</p>",
        f"<p class='lead' id='advice'>{markup(advice(result))}</p>",
        f"<p>Verdict: <span class='badge {word}' id='verdict'>{word}</span>, "
        f"{markup(verdict_words(result))}.</p>",
        *(f"<p class='soft'>{markup(reason)}</p>" for reason in run["calibration"]["reasons"]),
        *_promises(result),
        "<h2>At a glance</h2>",
        _overview(result),
        f"<h2>Time to first audio byte{since}</h2>",
        "<p class='soft'>Every trial is a tick; lines are the median and the 95th percentile. "
        "The axis is logarithmic.</p>",
        distributions(arms, metric),
        *_buffers(result),
        "<h2>Arms</h2>",
        *(_arm(arm, run) for arm in arms),
        f"<script type='application/json' id='figures'>{figures}</script>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _promises(result: Mapping[str, Any]) -> list[str]:
    return [
        f"<p class='{'pass' if each['pass'] else 'fail'}'>{markup(promise_words(each))}</p>"
        for each in result["slo"]
    ]


def _overview(result: Mapping[str, Any]) -> str:
    columns = GLANCE[result["run"]["load"]["model"]]
    rows = []
    for arm in result["arms"]:
        cells = [f"<td>{markup(arm['id'])}</td><td>{arm['ok']} / {arm['n']}</td>"]
        for place, (metric, name, _) in enumerate(columns):
            found = arm["metrics"].get(metric)
            value = figure(found[name]["v"]) if found else "-"
            cells.append(f"<td data-arm='{markup(arm['id'])}' data-figure='{metric}.{name}'>{value}</td>")
            if place == 0:
                cells.append(f"<td>{interval(found[name]) if found else '-'}</td>")
        cells.append(f"<td class='words'>{markup(error_words(arm))}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    first, *others = (title for _, _, title in columns)
    head = ("arm", "ok", first, "95 % of it", *others, "errors")
    titles = "".join(f"<th>{markup(each)}</th>" for each in head)
    note = "<p class='soft'>Milliseconds. A question mark is a bound that these trials do not give.</p>"
    return _table(titles, "".join(rows)) + note


def _table(titles: str, rows: str) -> str:
    head = f"<thead><tr>{titles}</tr></thead>"
    return f"<div class='scroll'><table>{head}<tbody>{rows}</tbody></table></div>"


def _buffers(result: Mapping[str, Any]) -> list[str]:
    curve = smoothness(result["arms"])
    if not curve:
        return []
    return [
        "<h2>How much to buffer</h2>",
        "<p class='soft'>The share of trials that would play without a stall, by how long the player waits "
        "after the first audio.</p>",
        curve,
    ]


def _arm(arm: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    kind = "" if arm["streaming"] else f" ({NOT_STREAMED})"
    parts = [f"<section class='arm'><h3>{markup(arm['id'])}</h3>"]
    parts.append(
        f"<p class='soft'>{arm['ok']} of {arm['n']} ok{kind}; errors: {markup(error_words(arm))}</p>"
    )
    parts += [
        f"<p class='soft'>{markup(name)}: {markup(words)}</p>" for name, words in arm["messages"].items()
    ]
    parts += [f"<p class='soft'>{markup(each)}</p>" for each in remarks(arm)]
    if arm["drawn"]:
        keys = "".join(
            f"<span><i style='background:var({colour})'></i>{name}</span>" for name, colour in KEY.items()
        )
        parts.append(f"{waterfall(arm)}<p class='soft key'>{keys}</p>")
    if arm["metrics"]:
        parts.append(_metrics(arm, run))
    if arm["player"]:
        parts.append(_player(arm))
    return "\n".join([*parts, "</section>"])


def _metrics(arm: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    rows = []
    for name, found in arm["metrics"].items():
        unit, definition = found["unit"], run["defs"]["metrics"][name]
        words = " → ".join(part for part in (definition["starts"], definition["stops"]) if part)
        middle = "".join(f"<td>{markup(cell)}</td>" for cell in [found["n"], *cells(found)])
        rows.append(
            f"<tr><td>{markup(f'{name} ({unit})')}</td>{middle}<td class='words'>{markup(words)}</td></tr>"
        )
    titles = "".join(
        f"<th>{each}</th>" for each in ("metric", "n", "p50", "its 95 % interval", "p95", "p99", "max", "")
    )
    return _table(titles, "".join(rows))


def _player(arm: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{row['buffer_ms']:g} ms</td><td>{row['smooth']:.1%}</td><td>{figure(row['ttfa_p50'])}</td>"
        f"<td>{row['stalls_mean']:.1f}</td><td>{figure(row['stall_total_p95'])}</td></tr>"
        for row in arm["player"]
    )
    titles = "".join(
        f"<th>{each}</th>"
        for each in ("prebuffer", "without a stall", "heard at p50", "stalls", "stalled p95")
    )
    return _table(titles, rows)
