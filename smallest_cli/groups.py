"""Options in groups: one value for the command, an option for each of its fields on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Self, dataclass_transform, get_type_hints


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Options:
    """A group: each annotated name is a field, its default the class's.

    What `dataclass` would generate takes half a millisecond of every start for each group.
    """

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def names(cls) -> list[str]:
        """The names of the fields, those of a group that this one adds to first."""
        return [name for each in reversed(cls.__mro__) for name in getattr(each, "__annotations__", ())]

    def as_dict(self) -> dict[str, Any]:
        """Every field by its name."""
        return {name: getattr(self, name) for name in self.names()}

    def but(self, **changed: Any) -> Self:
        """The same, with other values."""
        return type(self)(**self.as_dict() | changed)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, its parameters that are groups spread into one option for each field.

    So a command's signature stays as short as its body.
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
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group.names()})
        command(**given)

    gathered.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    gathered.__annotations__ = {each.name: each.annotation for each in spread}
    return gathered
