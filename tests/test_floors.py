"""Imports point down only. The table stands here; a new room is added to it in the commit that makes it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smallest_cli

PACKAGE = "smallest_cli"
HOUSE = Path(smallest_cli.__file__).parent

# A room is a module of the package, or one of its sub-packages with all its files.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"speech", "errors", "safety", "wav", "graphemes", "stops", "names"}),
    frozenset(
        {
            "wire",
            "connect",
            "text",
            "cutting",
            "markdown",
            "timeline",
            "stats",
            "player",
            "onset",
            "settings",
            "catalogue",
            "subtitles",
            "console",
            "reading",
            "signals",
            "writing",
            "groups",
            "files",
            "shortage",
        }
    ),
    frozenset(
        {
            "transports",
            "sinks",
            "local",
            "credentials",
            "casting",
            "cache",
            "arriving",
            "choosing",
            "sampling",
            "trials",
        }
    ),
    frozenset(
        {
            "options",
            "script",
            "pipeline",
            "retry",
            "service",
            "source",
            "account",
            "shells",
            "captions",
            "following",
        }
    ),
    frozenset({"settling", "telling"}),
    frozenset({"speaking", "listing", "asking", "batch", "measure", "report"}),
    frozenset({"commands", "load", "locustfile"}),
    frozenset({"cli", "__main__", "__init__"}),
)
# The only steps that are allowed between rooms of one floor, from -> to.
STEPS = frozenset(
    {
        ("safety", "errors"),
        ("telling", "settling"),
        ("speech", "safety"),
        ("wav", "speech"),
        ("wav", "errors"),
        ("stops", "graphemes"),
        ("files", "signals"),
        ("batch", "speaking"),
        ("locustfile", "load"),
        ("__main__", "cli"),
    }
)
# What the floors alone would allow: sinks know no network, and the server is a program of its own.
WALLS = frozenset({("sinks", "connect"), ("sinks", "wire")})
DOORS_TO_LOCAL = frozenset({"commands.serve"})
STDLIB_ONLY = FLOORS[0]

WORDS_OF_THE_WIRE = frozenset({"voice_id", "continue"})


def floor_of(room: str) -> int | None:
    return next((floor for floor, rooms in enumerate(FLOORS) if room in rooms), None)


def modules(house: Path) -> dict[str, ast.Module]:
    """Every module under `house`: its name without the package's, dotted -> its tree."""
    trees = {}
    for path in sorted(house.rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


def imports(name: str, tree: ast.Module, known: frozenset[str]) -> Iterator[str]:
    """Full names that a module imports, wherever in the file: in functions and for typing alone, too.

    Of `from package import x` it is the module x where there is one, else the package itself.
    """
    own = [PACKAGE, *name.split(".")] if name != "__init__" else [PACKAGE]
    package = own if name == "__init__" or any(other.startswith(f"{name}.") for other in known) else own[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                inside = whole.removeprefix(f"{PACKAGE}.")
                is_module = inside in known or any(other.startswith(f"{inside}.") for other in known)
                yield whole if base.split(".")[0] == PACKAGE and is_module else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                target = str(node.args[0].value)
                yield target if not target.startswith(".") else ".".join([*package, target.lstrip(".")])


def complaints(trees: dict[str, ast.Module]) -> list[str]:
    """Every import that the table forbids, as a line that says which."""
    found = []
    known = frozenset(trees)
    for name, tree in trees.items():
        room = name.split(".")[0]
        if (floor := floor_of(room)) is None:
            continue  # test_every_room_has_its_floor tells of it
        for imported in imports(name, tree, known):
            top, _, inside = imported.partition(".")
            if top != PACKAGE:
                if room in STDLIB_ONLY and top not in sys.stdlib_module_names:
                    found.append(f"{name} imports {imported}: floor 0 has the standard library only")
                continue
            if not inside:
                continue  # the package itself holds __version__ and nothing else
            other = inside.split(".")[0]
            if other == room:
                continue
            below = floor_of(other)
            if other == "local" and name not in DOORS_TO_LOCAL:
                found.append(f"{name} imports {inside}: nothing imports local but commands/serve")
            elif (room, other) in WALLS:
                found.append(f"{name} imports {inside}: sinks know no network")
            elif below is not None and below > floor:
                found.append(f"{name} (floor {floor}) imports {inside} (floor {below}): imports point down")
            elif below == floor and (room, other) not in STEPS:
                found.append(f"{name} imports {inside}: both are on floor {floor}")
    return found


TREES = modules(HOUSE)


def test_every_room_has_its_floor() -> None:
    homeless = sorted({name.split(".")[0] for name in TREES if floor_of(name.split(".")[0]) is None})
    assert not homeless, (
        f"add {', '.join(homeless)} to FLOORS in {Path(__file__).name}, on the floor it belongs"
    )


def test_no_room_is_on_two_floors() -> None:
    assert sum(map(len, FLOORS)) == len(frozenset().union(*FLOORS))


def test_imports_point_down() -> None:
    assert complaints(TREES) == []


def test_the_steps_within_a_floor_make_no_circle() -> None:
    below = {room: {to for start, to in STEPS if start == room} for room, _ in STEPS}
    for start in below:
        seen, ahead = set(), set(below[start])
        while ahead:
            room = ahead.pop()
            assert room != start
            seen.add(room)
            ahead |= below.get(room, set()) - seen


def test_the_package_itself_imports_nothing() -> None:
    """It is imported whenever anything of it is."""
    assert list(imports("__init__", TREES["__init__"], frozenset(TREES))) == []


def spoken(tree: ast.Module) -> set[str]:
    """The wire's own words that stand in a module as string constants or as parts of an f-string."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)} & WORDS_OF_THE_WIRE


def test_the_words_of_the_wire_stay_in_the_wire() -> None:
    speakers = {name.split(".")[0] for name, tree in TREES.items() if spoken(tree)}
    assert speakers - {"local"} == {"wire"}


# The test of the test: what it must see, in small houses of their own


@pytest.mark.parametrize(
    ("name", "source", "seen"),
    [
        ("wire", "from smallest_cli import speech", None),
        ("wire", "from smallest_cli.models import Voice\nimport json, requests", None),
        ("wire", "from smallest_cli import __version__", None),
        ("transports.sse", "from smallest_cli import connect, wire\nfrom smallest_cli.errors import X", None),
        ("transports.sse", "from smallest_cli.transports.http import x\nfrom . import http", None),
        ("local.server", "from smallest_cli.server import limits\nfrom .limits import x", None),
        ("commands.serve", "from smallest_cli.server import server", None),
        ("__main__", "from smallest_cli.cli import run", None),
        ("safety", "from smallest_cli.errors import UsageError", None),
        ("errors", "from smallest_cli.security import safe", "both are on floor 0"),
        ("speech", "from smallest_cli.errors import UsageError", "both are on floor 0"),
        ("speech", "from smallest_cli.audio.wav import header", "both are on floor 0"),
        ("wav", "import numpy", "standard library only"),
        ("wav", "def read():\n    from soundfile import x", "standard library only"),
        ("wav", "from smallest_cli.protocol import x", "imports point down"),
        ("wire", "from smallest_cli import text", "both are on floor 1"),
        ("wire", "from . import text", "both are on floor 1"),
        ("wire", "from .text import x", "both are on floor 1"),
        ("wire", "import smallest_cli.text.normalize", "both are on floor 1"),
        ("wire", "def late():\n    from smallest_cli.text.normalize import x", "both are on floor 1"),
        ("wire", "if TYPE_CHECKING:\n    from smallest_cli.text.normalize import x", "both are on floor 1"),
        ("wire", "import_module('smallest_cli.text.normalize')", "both are on floor 1"),
        ("wire", "importlib.import_module('smallest_cli.cli')", "imports point down"),
        ("wire", "from smallest_cli import cli", "imports point down"),
        ("transports.sse", "from smallest_cli.audio.destinations.file import x", "both are on floor 2"),
        ("transports.sse", "from ..sinks import file", "both are on floor 2"),
        ("transports", "from ..sinks import file", "both are on floor 2"),
        ("transports", "from .. import sinks", "both are on floor 2"),
        ("sinks.file", "from smallest_cli import connect", "sinks know no network"),
        ("sinks.file", "from smallest_cli import wire", "sinks know no network"),
        ("sinks.file", "from smallest_cli.synthesis.pipeline import x", "imports point down"),
        ("transports.sse", "from smallest_cli.server.auth import x", "nothing imports local"),
        ("service", "from smallest_cli import local", "nothing imports local"),
        ("commands.speak", "from smallest_cli.server.app import x", "nothing imports local"),
        ("cli", "import smallest_cli.server.app", "nothing imports local"),
        ("options", "from smallest_cli.commands.speak import x", "imports point down"),
    ],
)
def test_the_walk_sees(name: str, source: str, seen: str | None) -> None:
    house = ["__init__", "cli", "__main__", "connect", "errors", "options", "pipeline", "safety", "service"]
    house += ["speech", "text", "wav", "wire", "commands", "commands.serve", "commands.speak", "local"]
    house += ["local.limits", "local.server", "sinks", "sinks.file", "transports", "transports.http"]
    trees = dict.fromkeys([*house, "transports.sse"], ast.parse("")) | {name: ast.parse(source)}
    told = complaints(trees)
    assert len(told) == (seen is not None), told
    assert all(seen in line for line in told if seen is not None)


def test_a_room_that_is_not_in_the_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "attic").mkdir()
    for path in ("__init__.py", "cellar.py", "attic/__init__.py", "attic/box.py"):
        (tmp_path / path).write_text("", encoding="utf-8")
    trees = modules(tmp_path)
    assert set(trees) == {"__init__", "cellar", "attic", "attic.box"}
    assert [name for name in trees if floor_of(name) is None] == ["attic", "attic.box", "cellar"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x['voice_id']", {"voice_id"}),
        ("{'continue': True}", {"continue"}),
        ("def f(n):\n    return f'{n}voice_id'", {"voice_id"}),
        ('"""A voice_id is told of."""', set()),
        ("voice_id = 1\nwhile True:\n    continue", set()),
    ],
)
def test_the_walk_hears(source: str, words: set[str]) -> None:
    assert spoken(ast.parse(source)) == words
