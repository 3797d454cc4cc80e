"""Imports between the layers of ARCHITECTURE.md point down only, without cycles."""

from __future__ import annotations

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.support import ROOT as REPOSITORY
from tools.architecture import LAYERS, PACKAGE, ROOT, imports, layer_of, modules, write_picture

TESTS = REPOSITORY / "tests"

IMPORTS_SERVER = frozenset({"cli.commands.serve"})
"""The offline server is a program of its own; other code starts it as a child process."""
FORBIDDEN = {
    ("protocol", "requests"): "the codec does no I/O",
    ("protocol", "socket"): "the codec does no I/O",
    ("protocol", "time"): "the codec has no clock",
}
OUTSIDE_CLI = ("typer", "rich")
"""Only `cli` parses the command line and renders output."""
ALLOWED = frozenset({("text.markdown_words", "rich.emoji")})
"""A table of names, which renders nothing."""
ROOT_MODULES = 12
PACKAGE_FILES = 18
WIRE_WORDS = frozenset({"voice_id", "continue"})
"""Field names of the protocol: only its codec and the server's configuration spell them."""


def violations(trees: dict[str, ast.Module]) -> list[str]:
    """Every import that the table forbids, one line each."""
    found = []
    known = frozenset(trees)
    for name, tree in trees.items():
        top = name.split(".")[0]
        if (layer := layer_of(top)) is None:
            continue  # test_every_module_has_a_layer reports it
        for imported in imports(name, tree, known):
            outer, _, inside = imported.partition(".")
            if outer != PACKAGE:
                if reason := FORBIDDEN.get((top, outer)):
                    found.append(f"{name} imports {imported}: {reason}")
                if (
                    outer in OUTSIDE_CLI
                    and top not in ("cli", "__main__")
                    and (name, imported) not in ALLOWED
                ):
                    found.append(f"{name} imports {imported}: only cli may")
                continue
            other = inside.split(".")[0]
            if not inside or other == top:
                continue
            below = layer_of(other)
            if other == "server" and name not in IMPORTS_SERVER:
                found.append(f"{name} imports {inside}: only cli/commands/serve may import the server")
            elif below is not None and below > layer:
                found.append(f"{name} (layer {layer}) imports {inside} (layer {below}): upwards")
            elif below == layer and layer > 0:
                found.append(f"{name} imports {inside}: sideways, both are on layer {layer}")
    return found


def module_imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Each module -> the modules of the package that it imports, in functions and for types, too."""
    known = frozenset(trees)
    return {
        name: {
            inside
            for imported in imports(name, tree, known)
            if (inside := imported.removeprefix(f"{PACKAGE}.")) in known and inside != name
        }
        for name, tree in trees.items()
    }


def import_cycles(trees: dict[str, ast.Module]) -> list[str]:
    """Modules that import themselves through others, imports in functions and for types included."""
    graph = module_imports(trees)
    found = []
    for start in graph:
        seen: set[str] = set()
        ahead = set(graph[start])
        while ahead:
            name = ahead.pop()
            if name == start:
                found.append(start)
                break
            seen.add(name)
            ahead |= graph.get(name, set()) - seen
    return found


TREES = modules(ROOT)


def test_every_module_has_a_layer() -> None:
    missing = sorted({name.split(".")[0] for name in TREES if layer_of(name.split(".")[0]) is None})
    assert not missing, f"add {', '.join(missing)} to LAYERS in tools/architecture.py"


def test_no_module_is_on_two_layers() -> None:
    assert sum(map(len, LAYERS)) == len(frozenset().union(*LAYERS))


def test_imports_point_down() -> None:
    assert violations(TREES) == []


def test_no_import_cycles() -> None:
    assert import_cycles(TREES) == []


def test_diagram_in_architecture_is_up_to_date() -> None:
    document = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert "```mermaid" in document
    assert document == write_picture(document), "run make architecture"


def test_layer_table_in_architecture_names_every_package() -> None:
    document = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = document.partition("## Layers")[2].partition("<!--")[0]
    table = {
        int(layer): set(re.findall(r"`([a-z_]+)/?`", names))
        for layer, names in re.findall(r"^\| (\d) \| ([^|]*) \|", section, re.MULTILINE)
    }
    assert table == {layer: set(names) for layer, names in enumerate(LAYERS[:-1])}


def test_files_under_following_a_text_are_in_import_order() -> None:
    """At most 8 files, all used by the first, none of which imports one that comes before it."""
    document = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = document.partition("## Following a text")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \d \| `([a-z_/]+)\.py` \|", section, re.MULTILINE)
    files = [row.replace("/", ".") for row in rows]
    graph = module_imports(TREES)
    used, ahead = {files[0]}, {files[0]}
    while ahead:
        ahead = set().union(*(graph[name] for name in ahead)) - used
        used |= ahead
    assert 5 < len(files) <= 8
    assert set(files) <= used
    back = [(name, each) for index, name in enumerate(files) for each in files[:index] if each in graph[name]]
    assert back == []


def test_every_package_has_a_section_in_architecture() -> None:
    document = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### `([a-z]+)/`", document, re.MULTILINE))
    assert sections == set().union(*LAYERS[1:-1])


def test_files_named_in_architecture_exist() -> None:
    document = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", document))
    assert len(named) > 20
    sources = [path for folder in (ROOT, TESTS, REPOSITORY / "tools") for path in folder.rglob("*.py")]
    existing = [f"/{path.relative_to(REPOSITORY)}" for path in sources]
    missing = [name for name in named if not any(path.endswith(f"/{name}") for path in existing)]
    assert missing == []


def test_few_modules_at_the_root() -> None:
    at_root = [path.name for path in ROOT.glob("*.py")]
    assert len(at_root) <= ROOT_MODULES, sorted(at_root)


def test_packages_stay_small() -> None:
    sizes = {
        str(folder.relative_to(ROOT)): len(list(folder.glob("*.py")))
        for folder in ROOT.rglob("*/")
        if folder.is_dir() and folder.relative_to(ROOT).parts[0] != "bench"
    }
    assert {name: size for name, size in sizes.items() if size > PACKAGE_FILES} == {}


def test_package_init_imports_nothing() -> None:
    """It runs on the import of any submodule."""
    assert list(imports("__init__", TREES["__init__"], frozenset(TREES))) == []


def wire_words(tree: ast.Module) -> set[str]:
    """Protocol field names that occur as string constants or in f-strings."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)} & WIRE_WORDS


def test_only_the_codec_spells_protocol_fields() -> None:
    users = {name.split(".")[0] for name, tree in TREES.items() if wire_words(tree)}
    assert users - {"server"} == {"protocol"}


# The checks themselves, on small made-up packages


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("protocol.json", "from smallest_cli import models", None),
        ("protocol.json", "from smallest_cli.models import Voice\nimport json", None),
        ("protocol.json", "from smallest_cli import __version__", None),
        (
            "transports.sse",
            "from smallest_cli import network, protocol\nfrom smallest_cli.errors import X",
            None,
        ),
        ("transports.sse", "from smallest_cli.transports.http import x\nfrom . import http", None),
        ("transports.http", "from smallest_cli.audio.wav import x", None),
        ("server.app", "from smallest_cli.server import auth\nfrom .auth import x", None),
        ("cli.commands.serve", "from smallest_cli.server import app", None),
        ("cli.app", "import typer, rich", None),
        ("__main__", "from smallest_cli.cli.app import run", None),
        ("security", "from smallest_cli.errors import UsageError", None),
        ("errors", "from smallest_cli.protocol import json", "upwards"),
        ("protocol.json", "import requests", "does no I/O"),
        ("protocol.json", "def read():\n    from time import sleep", "no clock"),
        ("protocol.json", "from smallest_cli import text", "sideways"),
        ("protocol.json", "from ..text import x", "sideways"),
        ("protocol.json", "import smallest_cli.text.normalize", "sideways"),
        ("protocol.json", "def late():\n    from smallest_cli.text.normalize import x", "sideways"),
        ("protocol.json", "if TYPE_CHECKING:\n    from smallest_cli.text.normalize import x", "sideways"),
        ("protocol.json", "import_module('smallest_cli.text.normalize')", "sideways"),
        ("protocol.json", "importlib.import_module('smallest_cli.cli.app')", "upwards"),
        ("protocol.json", "from smallest_cli import cli", "upwards"),
        ("audio.tee", "from smallest_cli import network", "sideways"),
        ("audio.tee", "from .. import network", "sideways"),
        ("audio.tee", "from smallest_cli.synthesis.pipeline import x", "upwards"),
        ("transports.sse", "from smallest_cli.server.auth import x", "only cli/commands/serve"),
        ("client.service", "from smallest_cli import server", "only cli/commands/serve"),
        ("cli.commands.speak", "from smallest_cli.server.app import x", "only cli/commands/serve"),
        ("synthesis.session", "from smallest_cli.cli.options import x", "upwards"),
        ("synthesis.session", "import typer", "only cli may"),
        ("bench.report.terminal", "from rich.text import Text", "only cli may"),
    ],
)
def test_import_check_on_example(name: str, source: str, expected: str | None) -> None:
    package = ["__init__", "__main__", "errors", "models", "security", "protocol", "protocol.json", "network"]
    package += [
        "text",
        "audio",
        "audio.tee",
        "audio.wav",
        "transports",
        "transports.http",
        "server",
        "server.app",
    ]
    package += [
        "server.auth",
        "client",
        "client.service",
        "synthesis",
        "synthesis.pipeline",
        "synthesis.session",
    ]
    package += [
        "bench",
        "bench.report",
        "bench.report.terminal",
        "cli",
        "cli.app",
        "cli.options",
        "cli.commands",
    ]
    trees = dict.fromkeys([*package, "transports.sse"], ast.parse("")) | {name: ast.parse(source)}
    found = violations(trees)
    assert len(found) == (expected is not None), found
    assert all(expected in line for line in found if expected is not None)


def test_import_cycle_is_found() -> None:
    sources = {
        "errors": "from smallest_cli import models",
        "models": "from smallest_cli.files import x",
        "files": "def f():\n    from smallest_cli.errors import x",
        "voices": "from smallest_cli import files",
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    assert import_cycles(trees) == ["errors", "models", "files"]


def test_module_without_a_layer_is_found(tmp_path: Path) -> None:
    (tmp_path / "attic").mkdir()
    for path in ("__init__.py", "cellar.py", "attic/__init__.py", "attic/box.py"):
        (tmp_path / path).write_text("", encoding="utf-8")
    trees = modules(tmp_path)
    assert set(trees) == {"__init__", "cellar", "attic", "attic.box"}
    assert [name for name in trees if layer_of(name) is None] == ["attic", "attic.box", "cellar"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x['voice_id']", {"voice_id"}),
        ("{'continue': True}", {"continue"}),
        ("def f(n):\n    return f'{n}voice_id'", {"voice_id"}),
        ('"""A voice_id in a docstring."""', set()),
        ("voice_id = 1\nwhile True:\n    continue", set()),
    ],
)
def test_protocol_words_are_found(source: str, words: set[str]) -> None:
    assert wire_words(ast.parse(source)) == words


def test_layer_0_uses_few_packages() -> None:
    """It is imported by every command: the standard library, and platformdirs where settings are read."""
    allowed = sys.stdlib_module_names | {PACKAGE, "platformdirs", "wcwidth"}
    for name, tree in TREES.items():
        if name.split(".")[0] in LAYERS[0]:
            others = {each.split(".")[0] for each in imports(name, tree, frozenset(TREES))}
            assert others <= allowed, name


# Durations are measured with the monotonic clock

WALL_CLOCK_USERS = {
    ("voices", "cached_voices"),  # file age: file times are wall-clock times
    ("voices", "describe_list"),  # likewise
    ("client.cache", "_shrink"),  # likewise
    ("transports.channel", "error_from_response"),  # Retry-After may be a date, of a reply without one
    ("bench.probe", "probing"),  # detects a clock change during a run
    ("bench.locust.worker_stats", "__post_init__"),  # likewise, in each worker of a distributed run
    ("bench.locust.worker_stats", "drift"),
    ("bench.runner", "measure"),  # start of a run, as written to its file
    ("bench.locust.aggregate", "__init__"),
    ("bench.locust.worker", "write_raw"),
}
"""Functions that may read the wall clock: they measure no durations with it."""


def wall_clock_users(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Module and name of each function that reads the wall clock."""
    found = set()
    for module, tree in trees.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                name = getattr(function, "name", "")
                found |= {(module, name) for node in ast.walk(function) if _is_wall_clock(node)}
    return {(module, name) for module, name in found if name}


def _is_wall_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(each.name in ("time", "time_ns") for each in node.names)
    return (
        isinstance(node, ast.Attribute)
        and node.attr in ("time", "time_ns")
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    )


def test_only_listed_functions_read_the_wall_clock() -> None:
    assert wall_clock_users(TREES) <= WALL_CLOCK_USERS


def test_wall_clock_use_is_found() -> None:
    source = "import time\ndef late():\n    return time.time() - began"
    assert wall_clock_users({"a": ast.parse(source)}) == {("a", "late")}


# One base for small immutable objects: a frozen dataclass adds 0.5 to 1 ms to the start of its users


def frozen_dataclasses(tree: ast.Module) -> list[str]:
    """Classes with `@dataclass(frozen=True)`, however it is imported."""
    return [
        each.name
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef)
        for decorator in map(ast.unparse, each.decorator_list)
        if "dataclass(" in decorator and "frozen=True" in decorator
    ]


def test_small_immutable_objects_are_values() -> None:
    fast = {name: tree for name, tree in TREES.items() if name.split(".")[0] not in ("bench", "server")}
    found = {name: classes for name, tree in fast.items() if (classes := frozen_dataclasses(tree))}
    assert found == {}, "use models.Value"


def test_frozen_dataclass_is_found() -> None:
    source = "@dataclasses.dataclass(slots=True, frozen=True)\nclass A: ...\n@dataclass\nclass B: ..."
    assert frozen_dataclasses(ast.parse(source)) == ["A"]


# Programs that are started do not inherit the key

STARTERS = frozenset({"Popen", "run", "call", "check_call", "check_output", "create_subprocess_exec"})


def starts_with_key(tree: ast.Module) -> list[int]:
    """Lines that start a program with an environment other than `child_environment()`."""
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    names = {id(each): getattr(each.func, "attr", getattr(each.func, "id", "")) for each in calls}
    given = "child_environment" in {*names.values()}
    return [
        call.lineno
        for call in calls
        if names[id(call)] in STARTERS
        and "subprocess" in ast.unparse(call.func)
        and not (given and any(each.arg == "env" for each in call.keywords))
    ]


def test_every_program_is_started_without_the_key() -> None:
    assert {name: lines for name, tree in TREES.items() if (lines := starts_with_key(tree))} == {}
    others = {"multiprocessing", "pty", "posix"}
    for name, tree in TREES.items():
        assert not others & {each.split(".")[0] for each in imports(name, tree, frozenset(TREES))}, name


def test_program_started_with_the_key_is_found() -> None:
    assert starts_with_key(ast.parse("import subprocess\nsubprocess.run(['x'])")) == [2]
    assert starts_with_key(ast.parse("subprocess.run(['x'], env=os.environ)")) == [1]


# Test modules share code through tests/support and fixtures, never by importing each other


def test_no_test_module_imports_another() -> None:
    found = []
    for path in TESTS.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for imported in re.findall(r"^\s*(?:from|import) (tests[\w.]*|\.[\w.]*)", source, re.MULTILINE):
            if not imported.startswith("tests.support"):
                found.append(f"{path.relative_to(TESTS)} imports {imported}")
    assert found == []


def test_every_test_is_in_a_folder_with_a_mark() -> None:
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    assert folders == {"unit", "integration", "e2e", "faults", "property"}


# Python before 3.11.5 matches groups with possessive quantifiers wrongly (Debian 12 has 3.11.2)


def test_no_pattern_has_a_possessive_quantifier() -> None:
    for name in TREES:
        if name.split(".")[0] in ("text", "protocol", "network", "security", "settings", "synthesis"):
            module = import_module(f"smallest_cli.{name}")
            for constant, value in vars(module).items():
                if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                    parsed = re._parser.parse(value.pattern, value.flags)  # type: ignore[attr-defined]
                    assert "POSSESSIVE" not in str(parsed), f"{name}.{constant}"
