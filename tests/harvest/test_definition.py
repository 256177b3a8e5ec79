"""Definitions: all that are shipped load, the user's come first, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcal_root_ad.content import SEARCH_VARIABLE
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import DefinitionError
from hcal_root_ad.harvest.definition import ContainerKind, choose_definitions, load_definitions, read_definition

GOOD = """
description = "mine"
container = "dqmio"
quantity = "Mine"
maps = "{subsystem}/MyTask/depth{depth}"
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_both_quantities_are_shipped_for_every_container_that_can_hold_them() -> None:
    pairs = {(d.container, d.quantity) for d in load_definitions()}
    for kind in (ContainerKind.DQMIO, ContainerKind.DQM_FILE, ContainerKind.DIALS):
        assert {(kind, "Occupancy"), (kind, "OccupancyCut")} <= pairs
    assert ContainerKind.HCALANALYZER in {kind for kind, _ in pairs}


def test_occupancy_comes_before_the_cut_one() -> None:
    assert [d.quantity for d in load_definitions() if d.container is ContainerKind.DQMIO] == [
        "Occupancy",
        "OccupancyCut",
    ]


def test_hf_counts_events_only_without_a_charge_cut() -> None:
    assert {d.quantity for d in load_definitions() if d.hf_holds_events} == {"Occupancy"}


def test_defaults_and_patterns(tmp_path: Path) -> None:
    definition = read_definition(write(tmp_path, GOOD))
    assert definition.name == "mine"
    assert definition.eras == tuple(Era)
    assert definition.map_element("Hcal2", 3) == "Hcal2/MyTask/depth3"
    assert definition.expand(("{subsystem}/x/{subdetector}",), "Hcal") == tuple(
        f"Hcal/x/{s}" for s in ("HB", "HE", "HF", "HO")
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("quantitty = 'x'", "unknown key 'quantitty'; the nearest known one is 'quantity'"),
        ("eras = ['2016']", r"eras = \['2016'\]; known are 2017, 2018, Run3"),
        ("rank = 'first'", "rank = 'first', which is not of the type"),
        ("own_events = 'x'", "own_events = 'x', which is not of the type"),
        ("strips = '{subsystem}/{depth}'", r"may hold \{half\}, \{subsystem\} only"),
        ("not toml", "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        read_definition(write(tmp_path, GOOD + change))


def test_a_missing_key_and_an_unknown_container_are_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="lacks the key 'container'"):
        read_definition(write(tmp_path, GOOD.replace("container", "#")))
    with pytest.raises(DefinitionError, match="known are dqmio, dqm_file, hcalanalyzer, dials"):
        read_definition(write(tmp_path, GOOD.replace('"dqmio"', '"edm"')))


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="the nearest known one is 'dqmio-occupancy'"):
        choose_definitions("dqmio-ocupancy")


def test_a_quantity_stands_for_its_definitions() -> None:
    assert {d.quantity for d in choose_definitions("OccupancyCut")} == {"OccupancyCut"}
    assert len(choose_definitions("OccupancyCut")) > 1


def test_the_users_definition_hides_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "harvesters"
    folder.mkdir()
    write(folder, GOOD, "dqmio-occupancy")
    monkeypatch.setenv(SEARCH_VARIABLE, str(tmp_path))
    (mine,) = choose_definitions("dqmio-occupancy")
    assert mine.quantity == "Mine"
