"""The catalogue: what it may say, what is found by name, and which reference fits a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from hcal_root_ad import content
from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.lumi_maps import LumiMaps, Source
from hcal_root_ad.references import (
    CATALOGUE,
    catalogue_digest,
    complaints,
    entries,
    entry_of,
    fitting_entries,
    fitting_reference,
    load_reference,
    none_fits,
    primary_dataset,
    quantity_of,
    read_catalogue,
    trigger_of,
)

LEAST = {"runs": [370100], "era": "Run3", "quantity": "Occupancy", "files": ["a.root"]}

Own = Callable[..., Path]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Writes the user's own catalogue; the shipped one comes after it."""
    monkeypatch.setenv(content.SEARCH_VARIABLE, str(tmp_path))

    def write(**tables: object) -> Path:
        folder = tmp_path / "reference_runs"
        folder.mkdir(exist_ok=True)
        (folder / CATALOGUE).write_text(tomli_w.dumps(tables))
        return folder

    return write


@pytest.fixture
def run() -> LumiMaps:
    """A run of ZeroBias without lumisections."""
    nothing = np.zeros(0, dtype=np.int64)
    channels = channel_table().select("HB", "HE")
    return LumiMaps(
        run=370500,
        channels=channels,
        lumisections=nothing.astype(np.int32),
        events=nothing,
        event_source=nothing.astype(np.uint8),
        counts=np.zeros((0, len(channels)), dtype=np.int32),
        present=nothing.astype(bool),
        definition="dqmio-occupancy",
        sources=(Source("DQM_V0001_R000370500__ZeroBias__Run2023C-v1__DQMIO.root", 1, "0"),),
    )


def test_a_table_becomes_an_entry(own: Own) -> None:
    folder = own(mine=LEAST | {"files": ["in/a.root", "/far/b.root", "root://host//c.root"], "first_run": 370000})
    entry = read_catalogue(folder)["mine"]
    assert (entry.runs, entry.era, entry.trigger, entry.rates) == ((370100,), Era.RUN3, "", "")
    assert [str(path) for path in entry.inputs] == [str(folder / "in/a.root"), "/far/b.root", "root://host//c.root"]
    assert [entry.holds(number) for number in (369999, 370000, 10**8)] == [False, True, True]
    assert str(entry) == "mine (run 370100)"
    assert str(replace(entry, runs=(1, 2), trigger="ZeroBias")) == "mine (runs 1, 2, ZeroBias)"


def test_a_folder_without_a_catalogue_has_no_entries(tmp_path: Path) -> None:
    assert read_catalogue(tmp_path) == {}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (LEAST | {"triger": "ZeroBias"}, r"unknown key mine\.triger; the nearest known one is mine\.trigger"),
        ({"runs": [1], "era": "Run3", "files": ["a.root"]}, r"lacks the key mine\.quantity"),
        (LEAST | {"era": "Run4"}, r"mine\.era = 'Run4'; one of 2017, 2018, Run3 was expected"),
        (LEAST | {"runs": 370100}, r"mine\.runs = 370100; a list was expected"),
        (LEAST | {"runs": []}, r"mine\.runs = \[\]; a list of run numbers was expected"),
        (LEAST | {"runs": ["370100"]}, r"mine\.runs\[1\] = '370100'; a whole number was expected"),
        (LEAST | {"runs": [-5]}, r"mine\.runs = \[-5\]; a list of run numbers was expected"),
        (LEAST | {"files": [1]}, r"mine\.files\[1\] = 1; a text was expected"),
        (LEAST | {"lumisections": "60"}, "lumisections = '60'; a whole number was expected"),
        (LEAST | {"lumisections": True}, "a whole number was expected"),
        (LEAST | {"what": 7}, "a text was expected"),
        (LEAST | {"sha256": {"a.root": 7}}, "a text was expected"),
        (7, "has 'mine' outside of a table"),
    ],
)
def test_what_a_catalogue_must_not_say(own: Own, table: object, says: str) -> None:
    folder = own(mine=table)
    with pytest.raises(CatalogueError, match=says):
        read_catalogue(folder)


def test_what_is_not_toml_is_said_with_its_place(own: Own) -> None:
    folder = own()
    (folder / CATALOGUE).write_text("[mine\n")
    with pytest.raises(CatalogueError, match=r"catalogue\.toml cannot be read"):
        entries()


def test_the_users_entries_come_first_and_hide_shipped_ones(own: Own) -> None:
    own(zero=LEAST, clean=LEAST | {"what": "mine"})
    found = entries()
    assert list(found) == ["zero", "clean", "demonstration"]
    assert found["clean"].what == "mine"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(CatalogueError, match="no reference run 'cleam'; the nearest known one is 'clean'"):
        entry_of("cleam")


def test_the_shipped_catalogue_is_good_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE, raising=False)
    known = entries()
    assert set(known) == {"demonstration", "clean"}
    assert [sentence for entry in known.values() for sentence in complaints(entry)] == []
    clean = load_reference("clean")
    assert list(clean.rates) == ["HB", "HE"]
    assert all(rates.reference.live.mean() > 0.97 for rates in clean.rates.values())
    assert (clean.entry.folder / clean.entry.rates).stat().st_size < 1_000_000


def test_a_run_with_faults_is_no_reference() -> None:
    with pytest.raises(CatalogueError, match="demonstration is a run of the catalogue, but no reference"):
        load_reference("demonstration")


def test_rates_that_are_missing_changed_or_damaged_are_refused(own: Own) -> None:
    shipped = entry_of("clean")
    good = (shipped.folder / shipped.rates).read_bytes()
    digest = {"mine.safetensors": shipped.sha256[shipped.rates]}
    folder = own(mine=LEAST | {"rates": "mine.safetensors", "sha256": digest})
    with pytest.raises(CatalogueError, match=r"mine\.safetensors of the reference mine are not there"):
        load_reference("mine")
    (folder / "mine.safetensors").write_bytes(good)
    assert list(load_reference("mine").rates) == ["HB", "HE"]
    (folder / "mine.safetensors").write_bytes(good[:-1] + b"?")
    with pytest.raises(CatalogueError, match="do not match the digest"):
        load_reference("mine")
    (folder / "mine.safetensors").write_bytes(b"no tensors")
    own(
        mine=LEAST
        | {"rates": "mine.safetensors", "sha256": {"mine.safetensors": hashlib.sha256(b"no tensors").hexdigest()}}
    )
    with pytest.raises(CatalogueError, match="are damaged"):
        load_reference("mine")


@pytest.mark.parametrize(
    ("names", "trigger"),
    [
        (["DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root"], "ZeroBias"),
        (["DQM_V0001_R000370101__HLT_Mix__Run2023C__DQMIO_L000000001.root"] * 2, "HLT_Mix"),
        (["DQM_V0001_R000370101__ZeroBias__A__DQMIO.root", "DQM_V0001_R000370101__JetHT__A__DQMIO.root"], ""),
        (["DQM_V0001_R000370101__ZeroBias__A__DQMIO.root", "nanodqmio.root"], ""),
        (["DQM_V0001_Hcal_R000370101.root"], ""),
        ([], ""),
    ],
)
def test_the_trigger_stands_in_the_file_names(names: list[str], trigger: str) -> None:
    assert primary_dataset(names) == trigger


def test_the_trigger_of_a_run(run: LumiMaps) -> None:
    assert trigger_of(run) == "ZeroBias"
    assert trigger_of(replace(run, sources=())) == ""


def test_the_quantity_of_a_definition() -> None:
    assert quantity_of("dqm_file-occupancycut") == "OccupancyCut"
    assert quantity_of("simulation") == ""


REFERENCE = LEAST | {"rates": "r.safetensors"}


def names(**asked: object) -> list[str]:
    wanted = {"era": Era.RUN3, "quantity": "Occupancy", "trigger": "ZeroBias", "run": 370500} | asked
    return [entry.name for entry in fitting_entries(**wanted)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"era": "2018"},
        {"quantity": "OccupancyCut"},
        {"trigger": "JetHT"},
        {"last_run": 370499},
        {"first_run": 370501},
        {"rates": ""},
    ],
)
def test_a_reference_of_something_else_does_not_fit(own: Own, other: dict[str, object]) -> None:
    own(mine=REFERENCE | {"first_run": 370000, "last_run": 370500})
    assert names() == ["mine"]
    own(mine=REFERENCE | other)
    assert names() == []


def test_the_trigger_comes_before_the_nearest_run(own: Own) -> None:
    own(
        far=REFERENCE | {"trigger": "ZeroBias", "runs": [369000]},
        near=REFERENCE | {"trigger": "ZeroBias", "runs": [370000, 370499]},
        every=REFERENCE | {"runs": [370500]},
    )
    assert names() == ["near", "far", "every"]
    assert names(trigger="") == ["every"]


def test_without_a_run_any_trigger_will_do_and_the_latest_is_best(own: Own) -> None:
    own(old=REFERENCE | {"trigger": "JetHT"}, new=REFERENCE | {"trigger": "ZeroBias", "runs": [370600]})
    assert names(trigger=None, run=None) == ["new", "old", "clean"]


def test_a_simulated_reference_is_never_taken_for_a_real_run(run: LumiMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE, raising=False)
    assert fitting_reference(run) is None
    assert fitting_reference(replace(run, sources=(Source("nanodqmio.root", 1, "0"),))) is None
    assert "run 370500 (Run3, Occupancy, trigger ZeroBias)" in none_fits(run)
    simulated = replace(run, sources=(Source("DQM_V0001_R000370500__SimulatedZeroBias__A__DQMIO.root", 1, "0"),))
    found = fitting_reference(simulated)
    assert found is not None
    assert found.name == "clean"


def test_the_digest_tells_whether_references_are_the_same(own: Own) -> None:
    shipped = catalogue_digest()
    own(mine=LEAST)
    assert catalogue_digest() == shipped  # a run without rates is no reference
    own(mine=REFERENCE | {"trigger": "ZeroBias"})
    zero_bias = catalogue_digest()
    own(mine=REFERENCE | {"trigger": "JetHT"})
    assert len({shipped, zero_bias, catalogue_digest()}) == 3
