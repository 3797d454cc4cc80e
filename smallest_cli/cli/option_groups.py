"""Options in groups: one value for the command, an option for each of its fields on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Self, dataclass_transform, get_type_hints

from typer.models import OptionInfo

from smallest_cli.errors import UsageError


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Options:
    """A group: each annotated name is a field, its default the class's; a group of it may word some anew.

    What `dataclass` would generate takes half a millisecond of every start for each group.
    """

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def as_dict(self) -> dict[str, Any]:
        """Every field by its name."""
        return {name: getattr(self, name) for name in _fields(type(self))}

    def but(self, **changed: Any) -> Self:
        """The same, with other values."""
        return type(self)(**self.as_dict() | changed)


def _refuse_empty(given: dict[str, Any], annotations: dict[str, Any]) -> None:
    """What is empty is a variable that was not set, and never what was meant. Raises UsageError.

    Of an argument each command judges by itself.
    """
    for field, value in given.items():
        if value == "" or (isinstance(value, list) and "" in value):
            (option,) = annotations[field].__metadata__
            if isinstance(option, OptionInfo):
                raise UsageError(f"{_flag(field, option)} is empty", hint="is a variable not set?")


def _flag(field: str, option: Any) -> str:
    """An option's long name: the one that it was given, or else that of its field."""
    # Typer has the first where a default might stand.
    names = (option.default, *option.param_decls)
    given = (name for name in names if isinstance(name, str) and name.startswith("--"))
    return next(given, f"--{field.replace('_', '-')}")


def _fields(group: type[Options]) -> dict[str, None]:
    """Its names, in order, those of the group that it is made from first."""
    return {name: None for each in reversed(group.__mro__) for name in inspect.get_annotations(each)}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, its parameters that are groups spread into one option for each field.

    So a command's signature stays as short as its body. The command raises UsageError where the text of an
    option is empty.
    """
    hints = get_type_hints(command, include_extras=True)
    spread: list[inspect.Parameter] = []
    groups: dict[str, type[Options]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if isinstance(hint := hints[name], type) and issubclass(hint, Options):
            groups[name] = hint
            spread += [
                parameter.replace(name=field, annotation=annotation, default=getattr(hint, field))
                for field, annotation in get_type_hints(hint, include_extras=True).items()
            ]
        else:
            spread.append(parameter.replace(annotation=hint))

    @wraps(command)
    def gathered(**given: Any) -> None:
        _refuse_empty(given, gathered.__annotations__)
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in _fields(group)})
        command(**given)

    gathered.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    gathered.__annotations__ = {each.name: each.annotation for each in spread}
    return gathered
