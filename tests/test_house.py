"""Data flows one way: who may import whom, and no circles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.modules import PACKAGE, Module, Structure, circles, levels, picture
from benchmarks.structure import page

ROOT = Path(__file__).parents[1]
FLOOR = {
    "conditions",
    "content",
    "detector",
    "errors",
    "files",
    "histograms",
    "lumi_maps",
    "machine",
    "oms",
    "style",
    "tables",
    "unit_names",
}
"""Modules at the top that every package may import."""
MAY_IMPORT = {
    "root_io": set[str](),
    "stats": set[str](),
    "harvest": {"root_io"},
    "model": {"stats"},
    "simulate": set[str](),
    "export": {"stats", "harvest", "model"},
    "references": {"stats", "harvest", "model"},
    "judge": {"stats", "model"},
    "provenance": {"judge", "model", "references"},
    "compare": {"stats", "model", "judge", "references", "provenance", "publish", "mask"},
    "mask": {"judge"},
    "publish": {"root_io", "harvest", "model", "judge", "references", "provenance"},
    "state": {"stats", "model", "judge"},
    "pipeline": {"state", "model", "judge", "references", "mask", "provenance", "publish"},
    "report": {"judge", "publish"},
    "api": {"harvest", "model", "judge", "references", "compare", "mask", "publish", "pipeline", "certify"},
    "certify": {
        "state",
        "provenance",
        "stats",
        "harvest",
        "model",
        "judge",
        "references",
        "mask",
        "publish",
        "pipeline",
    },
    "watch": {"state", "root_io", "provenance", "harvest", "judge", "publish", "pipeline"},
    "reproduce": {"root_io", "state", "provenance", "harvest", "model", "export", "references", "publish", "watch"},
}
"""The arrows, beside those to the floor; ``cli`` stands on top and may import all."""


@pytest.fixture(scope="module")
def structure() -> Structure:
    return Structure.read(ROOT / PACKAGE)


def test_packages_import_along_the_arrows_only(structure: Structure) -> None:
    arrows = structure.package_imports
    against = {
        name: sorted(targets - MAY_IMPORT.get(name, set()) - FLOOR)
        for name, targets in arrows.items()
        if name != "cli" and targets - MAY_IMPORT.get(name, set()) - FLOOR
    }
    assert against == {}
    assert {target for name in FLOOR for target in arrows.get(name, ())} <= FLOOR


def test_no_package_is_in_a_circle(structure: Structure) -> None:
    assert circles(structure.package_imports) == []


def test_no_module_or_class_has_the_name_of_another(structure: Structure) -> None:
    assert structure.names_twice == []


def test_a_circle_is_met_and_an_arrow_is_drawn(tmp_path: Path) -> None:
    package = tmp_path / "house"
    for name, text in {
        "__init__": "",
        "roof": "from house.wall import Wall\n",
        "wall": "def f(found):\n    from house import floor\n",
        "floor.tile": "import house.wall\nclass Tile: ...\n",
        "floor.__init__": "",
        "floor.stone": "class Tile: ...\n",
    }.items():
        path = package / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    structure = Structure.read(package)
    assert (structure.lines, len(structure.modules)) == (6, 6)
    assert structure.import_share == 3 / 6
    assert structure.place_holder_share == 1 / 4  # f, found, Tile, Tile
    assert structure.names_twice == ["Tile"]
    (circle,) = circles(structure.package_imports)
    assert set(circle) == {"wall", "floor"}
    assert "| modules in the wheel | 6 |" in page(structure, ["house"], (3, 2), "Of a drawing.", structure)
    assert structure.would_fit == []  # each is a room of its own


def test_each_line_is_of_one_kind_and_a_module_that_one_other_needs_would_fit() -> None:
    head = '"""What."""\n\nfrom a import (\n    b,\n)\n\n\n@b\nclass C:\n    x: int\n\n'
    text = f"{head}    def f(self) -> None:\n        # why\n"
    module = Module("house.wall.stone", f"{text}        b()\n")
    assert module.line_kinds == {
        "docstrings": 1, "blank": 4, "imports": 3, "signatures": 3, "fields of classes": 1, "comments": 1,
        "statements": 1,
    }  # fmt: skip
    assert (module.import_statements, module.statements) == (1, 6)
    user = Module("house.wall.plaster", "from house.wall import stone\n" + "x = 1\n" * 385)
    assert Structure({each.name: each for each in (module, user)}).would_fit == [(module.name, user.name)]
    longer = Module(user.name, f"{user.text}x = 1\n")
    assert Structure({each.name: each for each in (module, longer)}).would_fit == []


def test_the_picture_puts_each_room_above_what_it_imports() -> None:
    arrows = {"roof": {"wall", "floor"}, "wall": {"floor"}, "floor": set[str]()}
    assert levels(arrows) == [["roof"], ["wall"], ["floor"]]
    assert picture(arrows).splitlines()[-2:] == ["roof   ← floor, wall", "wall   ← floor"]


def test_the_picture_in_contributing_is_that_of_the_imports(structure: Structure) -> None:
    """A room may stand higher than it must, never beside or below one that it imports."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert drawn, "python -m benchmarks.structure --picture draws it"
    row_of = {name: row for row, line in enumerate(drawn[1].splitlines()) for name in line.split()}
    arrows = structure.package_imports
    assert set(row_of) == set(arrows)
    assert [(name, target) for name in arrows for target in arrows[name] if row_of[name] >= row_of[target]] == []
