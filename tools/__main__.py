"""`python -m tools architecture|completions|docs|pictures [--into FOLDER]`: write the generated files."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.architecture import write_picture
from tools.completions import write_completions
from tools.manual import write_manual
from tools.pictures import draw_pictures
from tools.reference import write_help, write_reference
from tools.tree import read_tree

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Parse the arguments and write the files."""
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__)
    parser.add_argument("kinds", nargs="+", choices=("architecture", "completions", "docs", "pictures"))
    parser.add_argument("--into", type=Path, default=ROOT, help="target folder [default: the repository]")
    arguments = parser.parse_args()
    tree = read_tree()
    files: dict[str, str] = {}
    if "architecture" in arguments.kinds:
        files["ARCHITECTURE.md"] = write_picture((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    if "completions" in arguments.kinds:
        files |= {f"completions/{name}": text for name, text in write_completions(tree).items()}
    if "docs" in arguments.kinds:
        files |= {f"man/{name}": text for name, text in write_manual(tree).items()}
        files["docs/cli.md"] = write_reference(tree)
        files |= {f"tests/data/golden/help/{name}": text for name, text in write_help(tree).items()}
    if "pictures" in arguments.kinds:
        files |= {f"docs/pictures/{name}": text for name, text in draw_pictures().items()}
    for name, text in files.items():
        path = arguments.into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


main()
