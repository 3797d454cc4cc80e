"""A moving picture shows each screen at its time, and the last one where nothing moves."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tools.pictures import HOLD_S, Screens, draw

SCREENS: Screens = [
    (0.0, "\x1b[1;32m$\x1b[0m speak\n"),
    (2.0, "\x1b[1;32m$\x1b[0m speak\n 10 %\n"),
    (5.0, "\x1b[1;32m$\x1b[0m speak\n done  <&>\n"),
]


def texts(svg: str, name: str = "") -> list[str]:
    """The lines of a picture, or those of a class."""
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return ["".join(each.itertext()) for each in groups if not name or each.get("class") == name]


def test_still_picture_has_one_screen_and_no_style() -> None:
    svg = draw(SCREENS[-1:])
    assert texts(svg) == ["$\u00a0speak", "\u00a0done\u00a0\u00a0<&>"]
    assert "<style>" not in svg
    assert 'font-weight="bold"' in svg


def test_line_that_changes_is_shown_from_its_start_to_its_end() -> None:
    svg = draw(SCREENS)
    total_s = 5.0 + HOLD_S
    (name,) = (each for each in ("t0", "t1", "t2") if texts(svg, each) == ["\u00a010\u00a0%"])
    (frames,) = re.findall(rf"@keyframes {name}\{{(.*?\}})\}}", svg)
    shown = re.findall(r"([\d.]+)%\{visibility:(\w+)\}", frames)
    expected = [(0, "hidden"), (200 / total_s, "visible"), (500 / total_s, "hidden"), (100, "hidden")]
    assert [(float(at), how) for at, how in shown] == expected


def test_only_the_last_screen_is_visible_where_nothing_moves() -> None:
    svg = draw(SCREENS)
    still = svg.partition("@media (prefers-reduced-motion:no-preference)")[0]
    hidden = re.findall(r"\.(t\d+)\{visibility:hidden\}", still)
    assert [text for name in hidden for text in texts(svg, name)] == ["\u00a010\u00a0%"]


def test_unchanged_line_is_drawn_once() -> None:
    assert texts(draw(SCREENS)).count("$\u00a0speak") == 1
