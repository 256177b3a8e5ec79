"""Definitions: all that are shipped load, the user's come first, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcal_root_ad.content import SEARCH_VARIABLE
from hcal_root_ad.detector import HO_MAP, Era
from hcal_root_ad.errors import DefinitionError
from hcal_root_ad.harvest.harvester import ContainerKind, choose_definitions, load_definitions, read_definition

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
    assert definition.subdetectors == ("HB", "HE", "HO", "HF")
    assert definition.map_element(3) == "Hcal/MyTask/depth3"
    assert definition.map_element(HO_MAP) == "Hcal/MyTask/depthHO"
    assert definition.expand(("{subsystem}/x/{subdetector}",)) == tuple(f"Hcal/x/{s}" for s in ("HB", "HE", "HF", "HO"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("quantitty = 'x'", "unknown key quantitty; the nearest known one is quantity"),
        ("name = 'x'", "unknown key name"),
        ("eras = ['2016']", r"eras\[1\] = '2016'; one of 2017, 2018, Run3 was expected"),
        ("subdetectors = ['HB', 'EB']", r"subdetectors = \['HB', 'EB'\]; known are HB, HE, HO, HF"),
        ("subdetectors = []", r"subdetectors = \[\]; leave it out, or name some"),
        ("eras = []", r"eras = \[\]; leave it out, or name some"),
        ("rank = 'first'", "rank = 'first'; a whole number was expected"),
        ("rank = true", "rank = True; a whole number was expected"),
        ("rank = nan", "it says nan where a number was expected"),
        ("own_events = 'x'", "own_events = 'x'; a list was expected"),
        ("strips = '{subsystem}/{depth}'", r"may hold \{half\}, \{subsystem\} only"),
        ("strips = '{subsystem}/strips'", r"which lacks \{half\}"),
        ("mean_digis = '{subsystem}/digis'", r"which lacks \{subdetector\}"),
        ("own_events = ['{subsystem.__class__.__mro__}/x']", "may hold .* only"),
        ("own_events = ['{subsystem[0]}/x']", "may hold .* only"),
        ("own_events = ['{subsystem!r}/x']", "may hold .* only"),
        ("own_events = ['{subsystem:>999999999}/x']", "may hold .* only"),
        ("own_events = ['{0}/x']", "may hold .* only"),
        ("own_events = ['{}/x']", "may hold .* only"),
        ("own_events = ['{subsystem/x']", "may hold .* only"),
        ('own_events = ["{subsystem}/\\u001b[2J"]', "may hold .* only"),
        ("not toml", "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        read_definition(write(tmp_path, GOOD + change))


def test_a_missing_key_and_an_unknown_container_are_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="lacks the key container"):
        read_definition(write(tmp_path, GOOD.replace("container", "#")))
    with pytest.raises(DefinitionError, match="container = 'edm'; one of dqmio, dqm_file, hcalanalyzer, dials"):
        read_definition(write(tmp_path, GOOD.replace('"dqmio"', '"edm"')))


@pytest.mark.parametrize("maps", ["{subsystem}/depth", "{subsystem}/depth{depth.real}", "{depth:f}", "{half}/{depth}"])
def test_maps_take_their_own_placeholders_alone(tmp_path: Path, maps: str) -> None:
    text = GOOD.replace("{subsystem}/MyTask/depth{depth}", maps)
    assert text != GOOD
    with pytest.raises(DefinitionError, match="maps = "):
        read_definition(write(tmp_path, text))


@pytest.mark.parametrize("start", ["\ufeff", "# a comment\r\n"])
def test_marks_and_line_ends_of_other_systems(tmp_path: Path, start: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes((start + GOOD.replace("\n", "\r\n")).encode())
    assert read_definition(path).quantity == "Mine"


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
