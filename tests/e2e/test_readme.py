"""What README and the recipes tell people to type, typed; and the table of exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.command import environment
from tests.support.offline import KEY, Offline, start_offline
from tests.support.programs import need
from tests.support.pulse import Pulse, need_pulse, start_pulse

README = ROOT / "README.md"
MAN = README.parent / "man"
GATE = README.parent / ".ci"
PAGES = (README, README.parent / "docs" / "recipes.md")
RECIPES = [each for page in PAGES for each in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]
PRINTED = re.findall(r"```bash\n(.*?)```", README.read_text(), re.DOTALL)
BY_THE_GATE = ("make demo", "make test", "pipx install")
NOISY = "smallest: the run is not valid: "  # which is the machine's doing
MODEL = """#!/bin/sh
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


def test_they_are_found() -> None:
    assert len(RECIPES) >= 18
    assert len(PRINTED) >= 5
    assert not re.findall(r"^    (?:\$ )?(?:smallest|make|pip|locust) .*", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.split("\n")[0][:60] for recipe in RECIPES])
def test_a_recipe_works_as_it_stands(
    recipe: str, tmp_path: Path, server: Offline, request: pytest.FixtureRequest
) -> None:
    for program in ("ffplay", "ffmpeg", "aplay", "sox"):
        if re.search(rf"(?:^|\| |--player \"?){program} ?", recipe, re.MULTILINE):
            need(program)
    env = environment(tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    model = tmp_path / "bin" / "llm"  # whose command this is has a network and a key
    model.parent.mkdir()
    model.write_text(MODEL)
    model.chmod(0o755)
    (tmp_path / "Makefile").write_text("all:\n\t@true\n")
    path = f"{model.parent}:{Path(sys.executable).parent}:{env['PATH']}"
    env |= {"PATH": path, "SDL_AUDIODRIVER": "dummy", "GIT_CONFIG_GLOBAL": os.devnull}
    if "--play" in recipe or "aplay" in recipe:
        sound = request.getfixturevalue("pulse").env
        env |= {name: value for name, value in sound.items() if name != "PATH"}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", recipe],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith(NOISY)]
    assert (done.returncode, said) == (0, [])
    for named in re.findall(r"(?:-o |\d - )(\w[\w.-]*)", recipe):
        found = [*tmp_path.rglob(named)]
        assert found, named
        assert found[0].stat().st_size > 1000
    assert done.stdout.strip() in ("", "True")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_the_gate_does_what_is_too_long_for_here() -> None:
    scripts = (GATE / "run").read_text() + (GATE / "install").read_text()
    assert [
        command for command in BY_THE_GATE if f"{command} " not in scripts and f'{command}"' not in scripts
    ] == []


@pytest.mark.parametrize("block", PRINTED, ids=[block.split("\n")[0][:60] for block in PRINTED])
def test_what_prints_works_as_it_stands(block: str, tmp_path: Path, server: Offline, pulse: Pulse) -> None:
    """Its lines in turn, in one shell. A run of a few trials may be told to have been too short, or noisy."""
    lines = [line for line in block.splitlines() if not line.startswith((*BY_THE_GATE, ". .venv"))]
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


def test_every_exit_code_is_in_the_table() -> None:
    from smallest_cli import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SmallestError)
    }
    told = {
        int(code) for row in re.findall(r"^\| ([\d ]+) \|", README.read_text(), re.M) for code in row.split()
    }
    assert codes <= told


CITED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (README.parent / "SECURITY.md").read_text())


@pytest.mark.parametrize(("file", "test"), sorted(set(CITED)))
def test_a_test_that_a_promise_rests_on_is_there(file: str, test: str) -> None:
    assert not test or f"def {test}(" in (ROOT / file).read_text()
    assert (ROOT / file).is_file()


def test_every_row_of_the_matrix_is_told() -> None:
    """All 120, each once, by a number or as one of a range."""
    matrix = (README.parent / "SECURITY.md").read_text().partition("## The matrix")[2]
    told: list[int] = []
    for cell in re.findall(r"^\| ([\d, to]+) \|", matrix.partition("\n## ")[0], re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", cell):
            told += range(int(first), int(last or first) + 1)
    assert sorted(told) == list(range(1, 121))
