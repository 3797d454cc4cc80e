"""The workflow of docs/recipes.md: its steps run in order, as the runner of GitHub Actions runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

from smallest_cli.bench.storage import read_result
from tests.support import ROOT
from tests.support.command import environment

WORKFLOW = re.search(
    r"```yaml\n(# \.github/workflows/.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL
)
STEP = re.compile(
    r"^ {6}- name: (?P<name>.+)\n(?:^ {8}(?!run:).*\n)*^ {8}run: (?:\|\n(?P<lines>(?:^ {10}.*\n)+)|.+)", re.M
)


def steps() -> dict[str, str]:
    """The script of each step with more than one command, by name."""
    assert WORKFLOW
    return {
        match["name"]: textwrap.dedent(match["lines"])
        for match in STEP.finditer(WORKFLOW[1])
        if match["lines"]
    }


def test_every_step_of_the_workflow_is_found() -> None:
    assert WORKFLOW
    assert list(steps()) == [
        "Measure", "Report", "Compare with the main branch", "Keep the result for the next comparison",
    ]  # fmt: skip
    assert 'SMALLEST_LOCAL: "1"' in WORKFLOW[1]


def test_steps_run_in_order_and_write_what_later_steps_use(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    env = environment(tmp_path, SMALLEST_LOCAL="1", GITHUB_STEP_SUMMARY=str(summary))
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    scripts = steps()
    codes, printed = {}, {}
    # Without a result of the main branch, GitHub skips the comparison, which runs last here.
    for name in sorted(scripts, key=lambda name: name.startswith("Compare")):
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", scripts[name]],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50,
        )  # fmt: skip
        codes[name], printed[name] = done.returncode, done.stdout
        if name != "Compare with the main branch" and name != "Measure":
            assert done.returncode == 0, done.stderr
    result = read_result(tmp_path / "bench.json")
    # On a busy machine the run may be invalid or slow: the exit code is that of the result.
    assert codes["Measure"] == (0 if result.exit == 23 else result.exit)
    assert result.exit in (0, 20, 22, 23)
    assert codes["Compare with the main branch"] in (0, 22)  # with itself
    assert printed["Report"].splitlines()[-1].startswith("::notice title=smallest bench::")
    assert summary.read_text().startswith("# Speech latency")
    suite = ElementTree.parse(tmp_path / "bench.xml").getroot()[0]
    assert suite.attrib["tests"] == "3"
    assert suite.attrib["failures"] == str(
        0 if result.exit == 22 else sum(not each.passed for each in result.slo)
    )
    names = [entry["name"] for entry in json.loads((tmp_path / "bench-action.json").read_text())]
    assert "sse/warm/c1 ttfb p95" in names
    assert "Speech latency" in (tmp_path / "bench.html").read_text()
