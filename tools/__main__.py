"""`python -m tools completions|docs|pictures [--into FOLDER]`: write what is made from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.completions import write_completions
from tools.manual import write_manual
from tools.pictures import draw_pictures
from tools.reference import write_reference
from tools.tree import read_tree

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Write the files, each whole."""
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__)
    parser.add_argument("what", nargs="+", choices=("completions", "docs", "pictures"))
    parser.add_argument("--into", type=Path, default=ROOT, help="the repository, or another folder")
    given = parser.parse_args()
    tree = read_tree()
    written: dict[str, str] = {}
    if "completions" in given.what:
        written |= {f"completions/{name}": text for name, text in write_completions(tree).items()}
    if "docs" in given.what:
        written |= {f"man/{name}": text for name, text in write_manual(tree).items()}
        written["docs/cli.md"] = write_reference(tree)
    if "pictures" in given.what:
        written |= {f"docs/pictures/{name}": text for name, text in draw_pictures().items()}
    for name, text in written.items():
        path = given.into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


main()
