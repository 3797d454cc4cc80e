"""What a value out of a file must look like, in words that a person can act on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from smallest_cli.security import safe

MOST = 10**18
"""Greater than any number of ours: as nanoseconds it is 31 years."""

Check = Callable[[Any, str], None]
"""Looks at a value; the words say where it stands. Raises Misshapen."""


class Misshapen(Exception):
    """A value is not what it must be; the message says which, and what it must be."""


def _refuse(where: str, what: str) -> None:
    raise Misshapen(f"{safe(where, 80)} is not {what}")


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        _refuse(where, "true or false")


def text(value: Any, where: str) -> None:
    """Any text."""
    if not isinstance(value, str):
        _refuse(where, "a text")


def named(pattern: str) -> Check:
    """A text that is whole of that form."""
    form = re.compile(pattern)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not form.fullmatch(value):
            _refuse(where, "a name of ours")

    return check


def one_of(*known: str) -> Check:
    """One of those texts."""

    def check(value: Any, where: str) -> None:
        if value not in known:
            _refuse(where, f"one of {', '.join(known)}")

    return check


def whole(least: int = -MOST, most: int = MOST) -> Check:
    """A whole number in that range."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            _refuse(where, "a whole number" + (f" from {least} on" if least > -MOST else ""))

    return check


def number(least: float = -MOST) -> Check:
    """A finite number, not below `least`."""

    def check(value: Any, where: str) -> None:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not math.isfinite(value) or not least <= value <= MOST:
            _refuse(where, "a number" + (f" from {least:g} on" if least > -MOST else ""))

    return check


def optional(check: Check) -> Check:
    """That, or null."""
    return lambda value, where: None if value is None else check(value, where)


def each(check: Check, least: int = 0) -> Check:
    """A list of at least so many of those."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            _refuse(where, f"a list of {least or 'any number'} or more" if least else "a list")
        for place, item in enumerate(value):
            check(item, f"{where}.{place}")

    return check_all


def tuple_of(*checks: Check) -> Check:
    """A list of exactly those."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(checks):
            _refuse(where, f"a list of {len(checks)}")
        for place, (item, own) in enumerate(zip(value, checks, strict=True)):
            own(item, f"{where}.{place}")

    return check


def mapping(check: Check, name: Check = text) -> Check:
    """An object of any such names, each with one of those."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(where, "an object")
        for key, item in value.items():
            name(key, f"a name in {where}")
            check(item, f"{where}.{key}")

    return check_all


def fields(known: Mapping[str, Check], perhaps: Mapping[str, Check] | None = None) -> Check:
    """An object that has all of those, and some of the others perhaps; what else it has is not looked at."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(where, "an object")
        for name, own in (*known.items(), *(perhaps or {}).items()):
            path = f"{where}.{name}" if where else name
            if name in value:
                own(value[name], path)
            elif name in known:
                raise Misshapen(f"{safe(path, 80)} is missing")

    return check


def anything(value: Any, where: str) -> None:
    """Whatever it is, nobody looks at it."""
