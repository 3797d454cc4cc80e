"""Where two runs differ in what they asked for: what is unlike is neither compared nor merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smallest_cli.security import safe

SHOWN = 40


def differences(first: Mapping[str, Any], second: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """Every difference, as `request.voice (meher, magnus)`.

    A path is names with dots; of a mapping every name of either run counts. What is absent, null or empty
    was not given: a newer file may name what an older one does not know.
    """
    return [each for path in paths for each in _differences(path, _at(first, path), _at(second, path))]


def _at(run: Any, path: str) -> Any:
    for name in path.split("."):
        run = run.get(name) if isinstance(run, Mapping) else None
    return run


def _differences(path: str, first: Any, second: Any) -> Iterator[str]:
    if _given(first) == _given(second):
        return
    if path != "texts" and isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(f"{path}.{name}", first.get(name), second.get(name))
    elif isinstance(first, Mapping) or isinstance(second, Mapping):
        yield safe(path, SHOWN)
    else:
        yield f"{safe(path, SHOWN)} ({_shown(first)}, {_shown(second)})"


def _given(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: given for name, each in value.items() if (given := _given(each)) is not None}
    return None if value in ("", [], ()) else value


def _shown(value: Any) -> str:
    return "none" if _given(value) is None else safe(value, SHOWN)
