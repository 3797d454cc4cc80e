"""The package's layers and imports, and their diagram in ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "smallest_cli"
ROOT = Path(__file__).parent.parent / PACKAGE

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "security", "signals", "models", "files", "stdio", "settings", "voices", "data", "extras"}
    ),
    frozenset({"protocol", "network", "text", "audio"}),
    frozenset({"transports", "server"}),
    frozenset({"client"}),
    frozenset({"synthesis"}),
    frozenset({"bench"}),
    frozenset({"cli"}),
    frozenset({"__main__", "__init__"}),
)
"""Layer 0 contains the root modules, which may import each other; the others contain packages."""
ROOT_MODULES = "root modules"
"""Name of layer 0 in the diagram."""
_BLOCK = re.compile(r"(<!-- imports: .*? -->\n).*?(<!-- end of imports -->)", re.DOTALL)


def layer_of(top: str) -> int | None:
    """Return the layer of a package or root module, or None for an unknown name."""
    return next((layer for layer, names in enumerate(LAYERS) if top in names), None)


def modules(root: Path) -> dict[str, ast.Module]:
    """Return the AST of every module under `root`, by dotted name without the package name."""
    trees = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


def imports(name: str, tree: ast.Module, known: frozenset[str]) -> Iterator[str]:
    """Yield the full names imported by a module, including in functions and TYPE_CHECKING blocks.

    `from package import x` yields the module x if it exists, else the package.
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
                full = f"{base}.{alias.name}"
                inside = full.removeprefix(f"{PACKAGE}.")
                is_module = inside in known or any(other.startswith(f"{inside}.") for other in known)
                yield full if base.split(".")[0] == PACKAGE and is_module else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                target = str(node.args[0].value)
                yield target if not target.startswith(".") else ".".join([*package, target.lstrip(".")])


def package_imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the packages imported by each package; all root modules count as one."""
    known = frozenset(trees)
    graph: dict[str, set[str]] = {name: set() for layer in LAYERS[1:-1] for name in layer}
    graph[ROOT_MODULES] = set()
    for name, tree in trees.items():
        for imported in imports(name, tree, known):
            outer, _, inside = imported.partition(".")
            source, target = _node(name), _node(inside)
            if outer == PACKAGE and source in graph and target in graph and source != target:
                graph[source].add(target)
    return graph


def _node(module: str) -> str:
    top = module.split(".")[0]
    return ROOT_MODULES if top in LAYERS[0] else top


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return everything that `start` imports, directly or transitively."""
    found: set[str] = set()
    ahead = set(graph[start])
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= graph[name] - found
    return found


def write_picture(document: str) -> str:
    """Return ARCHITECTURE.md with its import diagram and table generated from the code."""
    graph = package_imports(modules(ROOT))
    lines = ["```mermaid", "flowchart TD"]
    for layer in range(len(LAYERS) - 2, -1, -1):
        names = [ROOT_MODULES] if layer == 0 else sorted(LAYERS[layer])
        nodes = [f'        {name.replace(" ", "_")}["{name}"]' for name in names]
        lines += [f'    subgraph layer{layer}["layer {layer}"]', *nodes, "    end"]
    for name in sorted(graph):
        # Omit arrows that are implied by a longer path.
        implied = {each for other in graph[name] for each in _reachable(graph, other)}
        lines += [
            f"    {name.replace(' ', '_')} --> {target.replace(' ', '_')}"
            for target in sorted(graph[name] - implied)
        ]
    lines += ["```", "", "| package | imports |", "|---|---|"]
    for layer in range(len(LAYERS) - 2, 0, -1):
        lines += [f"| `{name}` | {', '.join(sorted(graph[name]))} |" for name in sorted(LAYERS[layer])]
    block = "\n".join(lines)
    return _BLOCK.sub(lambda match: f"{match[1]}\n{block}\n\n{match[2]}", document)
