"""``reference add`` and ``reference verify``: what is entered, what is refused, and what is found wrong later."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad import content
from hcal_root_ad.errors import InputError, OutputError, UsageError
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.rates import Rates, fit_rates
from hcal_root_ad.references import (
    CATALOGUE,
    Description,
    add_reference,
    complaints,
    entry_of,
    load_reference,
    own_catalogue,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, not there yet."""
    monkeypatch.setenv(content.SEARCH_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home" / "reference_runs"


@pytest.fixture(scope="module")
def run(clean_runs: list[LumiMaps]) -> LumiMaps:
    first = clean_runs[0]
    return replace(first, definition="dqmio-occupancy", present=np.arange(len(first)) < 20)


@pytest.fixture(scope="module")
def rates(run: LumiMaps) -> dict[str, Rates]:
    return fit_rates([run])


@pytest.fixture(autouse=True)
def _learned_once(rates: dict[str, Rates], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rates are the same in every test."""
    monkeypatch.setattr("hcal_root_ad.model.rates.fit_rates", lambda *_: rates)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "DQM_V0001_R000370001__ZeroBias__Run2023C-v1__DQMIO.root"
    path.write_bytes(b"root: a clean run")
    return path


def test_an_entry_says_what_it_was_made_of(home: Path, run: LumiMaps, file: Path) -> None:
    added = add_reference("june-1", [run], [file], Description(state="after the stop", first_run=370000))
    entry = entry_of("june-1")
    assert entry == added
    assert (entry.runs, entry.quantity, entry.trigger, entry.state) == (
        (370001,),
        "Occupancy",
        "ZeroBias",
        "after the stop",
    )
    assert (entry.first_run, entry.last_run, entry.lumisections) == (370000, 0, 20)
    assert entry.events == int(run.events[:20][run.events[:20] >= 100].sum())
    assert entry.inputs == (file,)
    assert entry.sha256[str(file)] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert list(load_reference("june-1").rates) == ["HB", "HE", "HO"]
    assert list(complaints(entry)) == []
    assert sorted(path.name for path in home.iterdir()) == [CATALOGUE, "june-1"]


def test_a_further_entry_leaves_what_was_written_by_hand(home: Path, run: LumiMaps, file: Path) -> None:
    home.mkdir(parents=True)
    by_hand = '# my own words\n[old]\nruns = [1]\nera = "Run3"\nquantity = "Occupancy"\nfiles = ["x.root"]\n'
    (home / CATALOGUE).write_text(by_hand)
    add_reference("new", [run], [file], Description(trigger=""))
    assert (home / CATALOGUE).read_text().startswith(by_hand)
    assert entry_of("new").trigger == ""
    assert entry_of("old").runs == (1,)


def test_files_inside_the_folder_are_named_relative_to_it_and_others_elsewhere_by_address(
    home: Path, run: LumiMaps
) -> None:
    (home / "files").mkdir(parents=True)
    (home / "files" / "a.root").write_bytes(b"root")
    add_reference("mine", [run], [home / "files" / "a.root"], Description())
    assert entry_of("mine").files == ("files/a.root",)


def test_without_a_folder_of_ones_own_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="HCAL_ROOT_AD_PATH names no folder of yours"):
        own_catalogue("mine")
    monkeypatch.setenv(content.SEARCH_VARIABLE, str(content.search_path("reference_runs")[0].parent))
    with pytest.raises(UsageError, match="HCAL_ROOT_AD_PATH names no folder of yours"):
        own_catalogue("mine")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words"])
def test_a_name_is_a_name(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a reference"):
        own_catalogue(name)
    assert not home.exists()


@pytest.mark.usefixtures("home")
def test_a_name_is_given_once(run: LumiMaps, file: Path) -> None:
    add_reference("mine", [run], [file], Description())
    with pytest.raises(UsageError, match="has a reference 'mine' already"):
        own_catalogue("mine")


def test_runs_of_an_unknown_quantity_are_refused(home: Path, run: LumiMaps, file: Path) -> None:
    other = replace(run, definition="dqmio-occupancycut")
    for runs in ([run, other], [replace(run, definition="simulation")]):
        with pytest.raises(InputError, match="a reference is of one known quantity"):
            add_reference("mine", runs, [file], Description())
    assert not home.exists()


@pytest.mark.parametrize("step", ["hcal_root_ad.model.rates.save_rates", "pathlib.Path.replace"])
def test_a_failure_leaves_nothing_behind(
    home: Path, run: LumiMaps, file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(OutputError, match="No space left on device"):
        add_reference("mine", [run], [file], Description())
    assert list(home.iterdir()) == []


def test_what_is_wrong_later_is_one_sentence_each(home: Path, run: LumiMaps, file: Path) -> None:
    entry = add_reference("mine", [run], [file], Description())
    file.write_bytes(b"root: another run")
    assert [sentence.partition(" of mine ")[2] for sentence in complaints(entry)] == [
        "is not the one that was added: its digest is another."
    ]
    file.unlink()
    assert ["is not there; its rates are still good" in sentence for sentence in complaints(entry)] == [True]
    (home / "mine" / "rates.safetensors").unlink()
    stray = replace(entry, sha256=dict(entry.sha256) | {"b.root": "00"})
    found = list(complaints(stray))
    assert len(found) == 3
    assert "are not there; make them again" in found[0]
    assert found[2] == "The entry mine has a digest of b.root, which is none of its files."


@pytest.mark.usefixtures("home")
def test_files_elsewhere_are_not_fetched_to_be_verified(run: LumiMaps, file: Path) -> None:
    entry = add_reference("mine", [run], [file], Description())
    remote = replace(entry, files=("root://host//a.root",), sha256={entry.rates: entry.sha256[entry.rates]})
    assert remote.inputs == (RemoteFile("root://host//a.root"),)
    assert list(complaints(remote)) == []
