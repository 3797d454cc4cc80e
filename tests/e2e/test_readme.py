"""The commands in README and docs work; README documents every exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import wave
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.command import environment
from tests.support.offline import KEY, Offline, start_offline
from tests.support.programs import need
from tests.support.pulse import Pulse, need_pulse, start_pulse

README = ROOT / "README.md"
MAN = README.parent / "man"
CI = README.parent / ".ci"
PAGES = (README, *(README.parent / "docs" / name for name in ("guide.md", "recipes.md", "text.md")))


def find_examples(language: str) -> list[Any]:
    """The examples in a language; those outside of README run with the long tests."""
    return [
        pytest.param(each, id=each.split("\n")[0][:60], marks=[pytest.mark.long] if page != README else [])
        for page in PAGES
        for each in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    ]


RECIPES, PRINTED = find_examples("sh"), find_examples("bash")
RUN_BY_CI = ("make demo", "make test", "pipx install")
INVALID_RUN = "smallest: invalid run: "  # on a busy machine
LLM = """#!/bin/sh
printf 'The **moon** pulls the sea. '; printf 'The sea follows, '; printf 'twice a day.\\n'
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=2) as offline:
        yield offline


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    need_pulse()
    with start_pulse() as server:
        yield server


def test_examples_are_found() -> None:
    assert len(RECIPES) >= 18
    assert len(PRINTED) >= 5
    assert not re.findall(r"^    (?:\$ )?(?:smallest|make|pip|locust) .*", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_runs_unchanged(
    recipe: str, tmp_path: Path, server: Offline, request: pytest.FixtureRequest
) -> None:
    for program in ("ffplay", "ffmpeg", "aplay", "sox"):
        if re.search(rf"(?:^|\| |--player \"?){program} ?", recipe, re.MULTILINE):
            need(program)
    env = environment(tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    model = tmp_path / "bin" / "llm"  # the real one needs a network and a key
    model.parent.mkdir()
    model.write_text(LLM)
    model.chmod(0o755)
    (tmp_path / "Makefile").write_text("all:\n\t@true\n")
    path = f"{model.parent}:{Path(sys.executable).parent}:{env['PATH']}"
    env |= {"PATH": path, "SDL_AUDIODRIVER": "dummy", "GIT_CONFIG_GLOBAL": os.devnull}
    if "--play" in recipe or "aplay" in recipe:
        pulse_env = request.getfixturevalue("pulse").env
        env |= {name: value for name, value in pulse_env.items() if name != "PATH"}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", recipe],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    messages = [line for line in done.stderr.splitlines() if not line.startswith(INVALID_RUN)]
    assert (done.returncode, messages) == (0, [])
    for name in re.findall(r"(?:-o |\d - )(\w[\w.-]*)", recipe):
        found = [*tmp_path.rglob(name)]
        assert found, name
        assert found[0].stat().st_size > 1000
    assert done.stdout.strip() in ("", "True")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_ci_runs_the_slow_commands() -> None:
    scripts = (CI / "run").read_text() + (CI / "install").read_text()
    assert [
        command for command in RUN_BY_CI if f"{command} " not in scripts and f'{command}"' not in scripts
    ] == []


@pytest.mark.parametrize("block", PRINTED)
def test_block_with_output_runs_unchanged(block: str, tmp_path: Path, server: Offline, pulse: Pulse) -> None:
    """All lines in one shell. A run of a few trials may be reported as too short or invalid."""
    lines = [line for line in block.splitlines() if not line.startswith((*RUN_BY_CI, ". .venv"))]
    if "man " in block:
        need("man")
    script = (
        "\n".join(lines)
        .replace("-n 50", "-n 2")
        .replace("smallest bench --local", "smallest bench --local -n 2 --yes")
    )
    with wave.open(str(tmp_path / "me.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(os.urandom(6 * 16_000 * 2))
    (tmp_path / "man1").symlink_to(MAN)
    if "yesterday.json" in script:
        script = "smallest bench -n 2 --yes --save yesterday.json\n" + script
    env = environment(
        tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url, MANPATH=str(tmp_path)
    )
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    env |= {name: value for name, value in pulse.env.items() if name != "PATH"}
    trap = "trap 'echo \"$? $BASH_COMMAND\" >> failed' ERR\n"
    done = subprocess.run(
        ["bash", "-c", trap + script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50
    )
    failed = (tmp_path / "failed").read_text().splitlines() if (tmp_path / "failed").exists() else []
    assert [line for line in failed if not re.match("2[0-3] smallest bench", line)] == [], done.stderr


def test_every_exit_code_is_in_the_tables() -> None:
    from smallest_cli import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SmallestError)
    }
    documented = {
        int(code) for row in re.findall(r"^\| ([\d ]+) \|", README.read_text(), re.M) for code in row.split()
    }
    assert codes <= documented


RELIABILITY = ROOT / "docs" / "reliability.md"
CITATION = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
CITED = [
    (page.name, *citation)
    for page in (ROOT / "SECURITY.md", RELIABILITY)
    for citation in sorted(set(CITATION.findall(page.read_text())))
]


def test_promises_and_faults_cite_tests() -> None:
    assert {page for page, _, _ in CITED} == {"SECURITY.md", "reliability.md"}
    assert len(CITED) > 100


@pytest.mark.parametrize(("page", "file", "test"), CITED)
def test_cited_test_exists(page: str, file: str, test: str) -> None:
    assert (ROOT / file).is_file()
    assert not test or f"def {test}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("page", ["SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs"])
def test_relative_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    for each in sorted(path.glob("*.md")) if path.is_dir() else [path]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", each.read_text()):
            assert "://" in link or (each.parent / link).exists(), f"{each.name}: {link}"


def test_readme_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 160
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda path: path.name)
def test_picture_is_well_formed_and_loads_nothing(path: Path) -> None:
    """A browser runs and loads nothing in an SVG that is an image; the picture shows no failure."""
    text = path.read_text()
    ElementTree.fromstring(text)
    tags = re.sub(">[^<]*<", "><", text)  # an address that is shown is not loaded
    assert re.findall('https?://[^"]*', tags) == ["http://www.w3.org/2000/svg"]
    shown = "".join(ElementTree.fromstring(text).itertext())
    assert not re.search("suspect|invalid|error|Traceback", shown.replace("measurement\u00a0error", ""))
    assert "prefers-" in text or "<style>" not in text


def test_first_picture_moves_and_others_do_not() -> None:
    moving = [path.name for path in (ROOT / "docs").rglob("*.svg") if "@keyframes" in path.read_text()]
    assert moving == ["speak.svg"]
    assert README.read_text().index("speak.svg") < README.read_text().index("## Install")


def test_sdist_has_every_document() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = set(settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    assert {f"/{path.name}" for path in ROOT.glob("*.md")} <= included


def test_matrix_has_every_row_once() -> None:
    """All 124 rows, by number or as part of a range."""
    matrix = RELIABILITY.read_text().partition("## Fault matrix")[2]
    numbers: list[int] = []
    for cell in re.findall(r"^\| ([\d, to]+) \|", matrix.partition("\n## ")[0], re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", cell):
            numbers += range(int(first), int(last or first) + 1)
    assert sorted(numbers) == list(range(1, 125))
