"""What README tells people to type, typed; and the table of exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import environment
from tests.offline import KEY, Offline, start_offline
from tests.programs import need
from tests.pulse import Pulse, need_pulse, start_pulse

README = Path(__file__).parent.parent / "README.md"
RECIPES = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=2) as offline:
        yield offline


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    need_pulse()
    with start_pulse() as server:
        yield server


def test_there_are_at_least_ten() -> None:
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.split("\n")[0][:60] for recipe in RECIPES])
def test_a_recipe_works_as_it_stands(
    recipe: str, tmp_path: Path, server: Offline, request: pytest.FixtureRequest
) -> None:
    for program in ("ffplay", "aplay", "sox"):
        if f"| {program}" in recipe:
            need(program)
    env = environment(tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "SDL_AUDIODRIVER": "dummy"}
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
    assert (done.returncode, done.stderr) == (0, "")
    for named in re.findall(r"(?:-o |\d - )(\w[\w.]*)", recipe):
        assert (tmp_path / named).stat().st_size > 1000, named
    assert done.stdout.strip() in ("", "True")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


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
