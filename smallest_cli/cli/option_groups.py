"""Option groups: one parameter of a command function that adds an option for each of its fields."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.models import OptionInfo

from smallest_cli.errors import UsageError
from smallest_cli.models import Value


class _Declared(NamedTuple):
    default: Any
    info: OptionInfo


ADVANCED = "Advanced"
"""The group in --help of what one user in a hundred needs."""


def option(
    usage: str,
    help: str,
    default: Any = None,
    *,
    group: str | None = None,
    advanced: bool = False,
    **more: Any,
) -> Any:
    """Declare a field of a group. `usage` is as in --help: `-v, --voice NAME`, or `-p, --play` for a flag.

    The default is added to the help. `group` is that of --help, by default that of the class; `more` goes to
    `typer.Option`.
    """
    words = usage.replace(",", " ").split()
    metavar = None if words[-1].startswith("-") else words.pop()
    help += _describe_default(default, words[-1])
    panel = ADVANCED if advanced else group
    info = typer.Option(*words, metavar=metavar, help=help, show_default=False, rich_help_panel=panel, **more)
    return _Declared(default, info)


def _describe_default(default: Any, name: str) -> str:
    if default is ...:
        return " [required]"
    if default is True and "/" in name:
        default = name.partition("/")[0].lstrip("-")
    if default is None or isinstance(default, bool | list):
        return ""
    return f" [default: {default:g}]" if isinstance(default, float) else f" [default: {default}]"


class Options(Value):
    """A group: each field is declared by `option`, or as `Annotated[...] = default`.

    A module with groups or commands has no `from __future__ import annotations`: strings would have to be
    evaluated, which takes milliseconds.
    """

    _declared: ClassVar[dict[str, OptionInfo]] = {}
    _group: ClassVar[str | None] = None

    def __init_subclass__(cls, group: str | None = None) -> None:
        cls._group = group or cls._group
        own = cls.__annotations__
        cls._declared = {name: info for name, info in cls._declared.items() if name not in own}
        for name in own:
            if isinstance(declared := vars(cls).get(name), _Declared):
                declared.info.rich_help_panel = declared.info.rich_help_panel or cls._group
                cls._declared[name] = declared.info
                setattr(cls, name, declared.default)
        super().__init_subclass__()

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """Return the type of each field by name, annotated for Typer."""
        bases = reversed(cls.__mro__[:-1])
        types = {name: kind for each in bases for name, kind in each.__annotations__.items()}
        annotated = {name: Annotated[types[name], info] for name, info in cls._declared.items()}
        return {name: annotated.get(name, types[name]) for name in cls._fields}


def _check_values(values: dict[str, Any], annotations: dict[str, Any]) -> None:
    """Reject empty strings (often an unset shell variable), and nan and inf, which pass range checks.

    Arguments are checked by each command. Raises UsageError.
    """
    for field, value in values.items():
        is_empty = value == "" or (isinstance(value, list) and "" in value)
        if not is_empty and not (isinstance(value, float) and not math.isfinite(value)):
            continue
        (info,) = annotations[field].__metadata__
        if isinstance(info, OptionInfo):
            # With `Annotated`, Typer stores the first option name in `default`.
            names = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
            flag = next((name for name in names if name.startswith("--")), f"--{field.replace('_', '-')}")
            if is_empty:
                raise UsageError(f"{flag} is empty", hint="unset shell variable?")
            raise UsageError(f"{flag}: {value} is not a finite number")


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameters of `command` that are option groups by one option per field.

    The returned function raises UsageError for an option value that is empty or not a finite number.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Options]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if isinstance(hint := parameter.annotation, type) and issubclass(hint, Options):
            groups[name] = hint
            parameters += [
                parameter.replace(name=field, annotation=annotation, default=getattr(hint, field))
                for field, annotation in hint.parameters().items()
            ]
        else:
            parameters.append(parameter)

    @wraps(command)
    def wrapper(**values: Any) -> None:
        _check_values(values, wrapper.__annotations__)
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in group._fields})
        command(**values)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapper
