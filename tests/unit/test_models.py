"""`Value`, the base of small immutable objects."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest

from smallest_cli.models import AudioChunk, Completed, Opened, Phases, Sent, Value, WordTiming


class Point(Value):
    """A point."""

    count: ClassVar[int] = 0

    x: int
    y: int = 0


class Place(Point):
    """A point with a name."""

    name: str = ""

    @property
    def label(self) -> str:
        return f"{self.name}: {self.x}"


def test_fields_are_given_by_position_or_by_name() -> None:
    points = [Point(1, 2), Point(1, y=2), Point(x=1, y=2), Point(y=2, x=1)]
    assert {(each.x, each.y) for each in points} == {(1, 2)}
    assert len({*points}) == 1


def test_missing_field_has_its_default() -> None:
    assert Point(1).as_dict() == {"x": 1, "y": 0}
    assert Point(1) == Point(1, 0)
    assert hash(Point(1)) == hash(Point(1, 0))


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"y": 1}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((1,), {"count": 1})],
)
def test_missing_unknown_or_repeated_field_is_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"Point\(x, y\)"):
        Point(*values, **named)


def test_fields_of_base_classes_come_first() -> None:
    assert Place(1, 2, "Home") == Place(name="Home", x=1, y=2)
    assert Place(1, 2, "Home").label == "Home: 1"


def test_values_of_different_classes_differ() -> None:
    assert Point(1, 2) != Place(1, 2)
    assert Point(1, 2) != (1, 2)
    assert Point(1, 2) != Point(1, 3)


def test_values_cannot_be_changed() -> None:
    point = Point(1)
    for name in ("x", "y", "z"):
        with pytest.raises(AttributeError, match=f"Point.{name} cannot be changed"):
            setattr(point, name, 5)
    with pytest.raises(AttributeError, match="cannot be changed"):
        del point.x
    assert point == Point(1, 0)


def test_but_returns_a_changed_copy() -> None:
    place = Place(1, 2, "Home")
    assert place.but(x=5) == Place(5, 2, "Home")
    assert place.but() == place == Place(1, 2, "Home")
    with pytest.raises(TypeError):
        place.but(z=1)


def test_repr_has_class_and_fields() -> None:
    assert repr(Place(1)) == "Place(x=1, y=0, name='')"


def test_values_with_lists_are_not_hashable() -> None:
    assert Point([1]) == Point([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(Point([1]))  # type: ignore[arg-type]


def test_copies_are_equal() -> None:
    phases = Phases(1, tls=2)
    assert copy.deepcopy(phases) == copy.copy(phases) == pickle.loads(pickle.dumps(phases)) == phases


def test_events_are_equal_without_timestamp_and_segment() -> None:
    assert AudioChunk(b"x", at_ns=1, segment=1) == AudioChunk(b"x")
    assert len({AudioChunk(b"x", at_ns=1), AudioChunk(b"x", segment=2)}) == 1
    assert AudioChunk(b"x") != AudioChunk(b"y")
    assert AudioChunk(b"x") != AudioChunk(b"x", cached=True)
    assert Opened(Phases(1)) != Opened(Phases(2))
    assert WordTiming("a", 0, 1) != WordTiming("a", 0, 2)
    assert Sent() != Completed()
    assert Sent() != (0, 0)
