"""What lies in a folder, and what of it cannot be whole."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from hcal_root_ad.watch.intake import lying_in, unfinished
from hcal_root_ad.watch.received import Stamp


@pytest.fixture
def root_file(tmp_path: Path) -> Path:
    path = tmp_path / "DQM_V0001_Hcal_R000370101.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram(np.arange(5))
    return path


def test_data_files_with_their_stamps(tmp_path: Path) -> None:
    names = ("b.root", "sub/a.root", "DQM.root.ls00000012_hosta-1.cms_pid00000001")
    others = (".hidden.root", ".partial-1/c.root", "DQM.root.ls00000013_hosta_pid00000001.tmp", "DQM.root.origin")
    for name in (*names, *others):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    lying = lying_in(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in lying] == sorted(names)
    assert lying[tmp_path / "b.root"] == Stamp(5, (tmp_path / "b.root").stat().st_mtime_ns)
    with pytest.raises(FileNotFoundError):
        lying_in(tmp_path / "gone")


def test_a_root_file_is_whole_at_the_length_that_its_header_says(root_file: Path) -> None:
    assert unfinished(root_file) == ""
    whole = root_file.read_bytes()
    for length in (1, 30, 200, len(whole) - 1):
        root_file.write_bytes(whole[:length])
        assert unfinished(root_file) != "", length
    assert unfinished(root_file) == f"it has {len(whole) - 1} of {len(whole)} bytes"
    root_file.write_bytes(b"")
    assert unfinished(root_file) == "it is empty"


def test_a_file_that_root_still_writes(tmp_path: Path) -> None:
    root = pytest.importorskip("ROOT")
    path = tmp_path / "a.root"
    file = root.TFile(str(path), "RECREATE")
    file.WriteTObject(root.TObjString("x"), "x")
    file.Flush()
    assert unfinished(path) == "ROOT has not closed it"
    file.Close()
    assert unfinished(path) == ""


def test_the_origin_beside_a_file(root_file: Path) -> None:
    origin = root_file.with_name(f"{root_file.stem}.root.origin")
    size, digest = root_file.stat().st_size, hashlib.md5(root_file.read_bytes()).hexdigest()
    origin.write_text(f"md5:{digest} {size} /out/{root_file.name}")
    assert unfinished(root_file) == ""
    origin.write_text(f"md5:{digest} {size + 1} /out/{root_file.name}")
    assert "bytes that its .origin says" in unfinished(root_file)
    origin.write_text(f"md5:{'0' * 32} {size} /out/{root_file.name}")
    assert unfinished(root_file) == "its MD5 is not the one that its .origin says"
    origin.write_text("md5:")  # half-written itself
    assert unfinished(root_file) == ""


def test_the_origin_of_a_snapshot_has_its_suffix(root_file: Path) -> None:
    snapshot = Path(f"{root_file}.ls00000012_hosta_pid00000001")
    shutil.copy(root_file, snapshot)
    Path(f"{root_file}.origin.ls00000012_hosta_pid00000001").write_text(f"md5:{'0' * 32} {1} x")
    assert "its .origin says" in unfinished(snapshot)
    assert unfinished(root_file) == ""


def test_a_parquet_file_ends_as_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1, 2]}), path)
    assert unfinished(path) == ""
    path.write_bytes(path.read_bytes()[:-1])
    assert unfinished(path) == "the end of a parquet file is missing"
