"""The layouts run as the GUIs run them, and show what a published file has."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import uproot

LAYOUTS = Path(__file__).parents[2] / "docs" / "layouts"
NAME = "shift_hcal_ad_layout.py"
TWO_LEVELS = re.compile(r"([0-9a-zA-Z ]+)/([0-9a-zA-Z ]+)/.*")
"""What the classic GUI's own check of layouts (``dmwm/deployment`` ``dqmgui/layout-test``) asks of an entry."""


@dataclass
class DQMItem:
    """Stand-in for the classic GUI's class."""

    layout: tuple[list[dict[str, Any]], ...]


@pytest.fixture(scope="module")
def classic() -> dict[str, DQMItem]:
    """The classic GUI runs the file with separate global and local names (``execfile(l, GUI.__dict__, locls)``)."""
    names: dict[str, Any] = {"dqmitems": {}}
    path = LAYOUTS / "classic" / NAME
    exec(compile(path.read_text(encoding="ascii"), str(path), "exec"), {"DQMItem": DQMItem}, names)
    items: dict[str, DQMItem] = names["dqmitems"]
    return items


@dataclass
class LayoutManager:
    """Stand-in for ``layouts.layout_manager`` of the newer GUI: signature and refusals as there."""

    layouts: list[SimpleNamespace] = field(default_factory=list)

    def register_layout(
        self,
        source: str,
        destination: str,
        name: str = "default",
        draw: object = None,
        overlays: tuple[str, ...] = (),
        description: str = "",
        scope: int = 4,
    ) -> None:
        assert source
        assert destination
        assert name
        layout = {"source": source, "destination": destination, "name": name, "description": description}
        self.layouts.append(SimpleNamespace(**layout, draw=draw, overlays=overlays, scope=scope))


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    manager, module = LayoutManager(), ModuleType("layouts.layout_manager")
    scopes = SimpleNamespace(ONLINE=1, OFFLINE=2, RELVAL=3, ALL=4)
    vars(module).update(register_layout=manager.register_layout, LayoutScope=scopes)
    monkeypatch.setitem(sys.modules, "layouts", ModuleType("layouts"))
    monkeypatch.setitem(sys.modules, "layouts.layout_manager", module)
    path = LAYOUTS / "newer" / NAME
    exec(compile(path.read_text(encoding="ascii"), str(path), "exec"), {"__name__": "layouts.layouts.ml"})
    return manager.layouts


def pictures(classic: dict[str, DQMItem]) -> list[tuple[str, str, str]]:
    """(layout, path, description) of every picture, in order."""
    return [
        (key.rsplit("/", 1)[1], picture["path"], picture["description"])
        for key, item in classic.items()
        for row in item.layout
        for picture in row
    ]


def test_classic_entries_are_in_the_shift_workspace(classic: dict[str, DQMItem]) -> None:
    assert len(classic) == 6
    for key, item in classic.items():
        assert TWO_LEVELS.fullmatch(key)
        assert key.startswith("00 Shift/Hcal/1")
        for row in item.layout:
            assert 1 <= len(row) <= 3
            assert all(picture.keys() == {"path", "description", "draw"} for picture in row)


def test_both_guis_show_the_same_pictures_and_words(classic: dict[str, DQMItem], newer: list[SimpleNamespace]) -> None:
    assert pictures(classic) == [(one.name, one.source, one.description) for one in newer]


def test_no_two_pictures_of_the_newer_gui_share_a_place(newer: list[SimpleNamespace]) -> None:
    places = [one.destination for one in newer]
    assert len(places) == len(set(places))
    assert all(place.startswith(f"00 Shift/Hcal/{one.name}/") for place, one in zip(places, newer, strict=True))


def test_descriptions_tell_what_to_do(classic: dict[str, DQMItem]) -> None:
    for _, path, description in pictures(classic):
        assert re.search(r"call|write|tell|nothing to do|to be read as|look for", description), path
        assert description.count("<b>") == description.count("</b>")
        assert description.count("<i>") == description.count("</i>")
        assert description.count("<font") == description.count("</font>")
    layouts = {key.rsplit("/", 1)[1] for key in classic}
    named = {name for _, _, text in pictures(classic) for name in re.findall(r"<i>(.*?)</i>", text)}
    assert named
    assert named <= layouts


def test_every_picture_is_in_the_published_file(classic: dict[str, DQMItem], tutorial: SimpleNamespace) -> None:
    (path,) = (tutorial.folder / "out").glob("*.root")
    with uproot.open(path) as file:
        there = {key.split(";")[0] for key in file.keys(recursive=True)}
    shown = [picture.replace("Hcal/", "DQMData/Run 403000/Hcal/Run summary/", 1) for _, picture, _ in pictures(classic)]
    assert len(shown) == 25
    assert [picture for picture in shown if picture not in there] == []
