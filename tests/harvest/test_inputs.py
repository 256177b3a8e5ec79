"""From what the user typed to files, and broken files to sentences."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hcal_root_ad.errors import HcalRootAdError, InputError, NoHcalError
from hcal_root_ad.harvest.inputs import expand_paths, source_of
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = (
        "b.root",
        "a.root",
        "c.parquet",
        "DQM.root.ls00000005_hostx_pid00000001",
        "DQM.root.ls00000006_hosta-b-01.cms_pid00000001",
        "DQM.root.ls00000007_hostx_pid00000001.tmp",
        "DQM.root.origin",
        "DQM.root.origin.ls00000005_hostx_pid00000001",
        ".hidden.root",
        "n.txt",
    )
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_means_its_data_files(folder: Path) -> None:
    found = [path.name for path in expand_paths(folder)]
    snapshots = ["DQM.root.ls00000005_hostx_pid00000001", "DQM.root.ls00000006_hosta-b-01.cms_pid00000001"]
    assert found == [*snapshots, "a.root", "b.root", "c.parquet"]


def test_a_pattern_and_repeated_paths(folder: Path) -> None:
    assert [p.name for p in expand_paths([f"{folder}/?.root", folder / "a.root"])] == ["a.root", "b.root"]


def test_missing_paths_and_empty_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*none.root"):
        expand_paths(tmp_path / "none.root")
    with pytest.raises(InputError, match=r"holds no \.root or \.parquet file"):
        expand_paths(tmp_path)
    with pytest.raises(InputError, match="No input was given"):
        expand_paths([])


def test_source_is_name_size_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    source = source_of(path)
    assert (source.name, source.size, source.sha256[:16]) == ("a", 3, "ba7816bf8f01cfea")


def test_a_digest_is_of_the_file_that_was_read_or_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    kept, changed, gone = source_of(path), source_of(path), source_of(path)
    assert kept == Source("a", 3, kept.sha256)
    assert Source("a", 3, kept.sha256) == kept
    assert hash(kept) == hash(Source("a", 3, kept.sha256))
    path.write_bytes(b"abd")
    os.utime(path, ns=(0, 0))
    assert (changed.name, changed.size, changed.sha256) == ("a", 3, "")
    path.unlink()
    assert gone.sha256 == ""
    assert kept.sha256[:16] == "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04zip", "neither a ROOT nor a parquet file"),
        (b"root", "damaged"),
        (b"PAR1xx", "damaged"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "DQM_V0001_R000370000__a__b__c.root"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_lumi_maps(path)


def test_a_root_file_without_dqm(tmp_path: Path) -> None:
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(tmp_path / "other.root") as file:
        file["ntuple"] = {"x": [1.0, 2.0]}
    with pytest.raises(NoHcalError, match=r"no DQM file: .* ntuple was found"):
        read_lumi_maps(tmp_path / "other.root")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_said_to_be_cut(samples: Path, tmp_path: Path, share: float) -> None:
    whole = next((samples / "run306138_real").glob("*.root"))
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(InputError, match=r"cut short|damaged"):
        read_lumi_maps(path)


@pytest.mark.parametrize("seed", range(30))
def test_overwritten_bytes_never_end_in_a_traceback(samples: Path, tmp_path: Path, seed: int) -> None:
    import numpy as np

    whole = next((samples / "run306138_real").glob("*.root"))
    content = np.frombuffer(whole.read_bytes(), dtype=np.uint8).copy()
    random = np.random.default_rng(seed)
    content[random.integers(4, len(content), 200)] = random.integers(0, 256, 200)
    path = tmp_path / whole.name
    path.write_bytes(content.tobytes())
    try:
        read_lumi_maps(path)
    except HcalRootAdError as error:
        assert str(path) in str(error)  # noqa: PT017
