"""What is published from the same inputs is the same to the byte, whenever and wherever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot

from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.publish.publish import publish

RUN_REFERENCE = Path(__file__).parents[2] / "reference_runs" / "demonstration"


def written(verdict: RunVerdict, folder: Path, **options: object) -> Path:
    return publish(verdict, folder, **options)  # type: ignore[arg-type]


def uuid_of(path: Path) -> object:
    with uproot.open(path) as file:
        return file.file.uuid


def test_a_second_later_and_online(verdict: RunVerdict, tmp_path: Path) -> None:
    for online in (False, True):
        first = written(verdict, tmp_path / "a", online=online)
        time.sleep(1.1)  # the dates of ROOT have seconds
        assert written(verdict, tmp_path / "b", online=online).read_bytes() == first.read_bytes()


def test_attached(verdict: RunVerdict, tmp_path: Path) -> None:
    path = tmp_path / "DQM_V0001_R000370101__ZeroBias__Run2023C-v1__DQMIO.root"
    with uproot.recreate(path) as file:
        file["DQMData/Run 370101/Ecal/Run summary/Digis/counts"] = np.histogram([1.0, 2.0])
    first = written(verdict, tmp_path / "a", attach_to=path)
    time.sleep(1.1)
    assert written(verdict, tmp_path / "b", attach_to=path).read_bytes() == first.read_bytes()


def test_another_input_has_another_uuid_and_root_reads_the_date(verdict: RunVerdict, tmp_path: Path) -> None:
    ROOT = pytest.importorskip("ROOT")
    sources = tuple(replace(source, sha256="ab" * 32) for source in verdict.maps.sources)
    other = replace(verdict, maps=replace(verdict.maps, sources=sources))
    one, two = written(verdict, tmp_path / "a"), written(other, tmp_path / "b")
    assert uuid_of(one) != uuid_of(two)
    file = ROOT.TFile.Open(str(one))
    assert str(file.GetCreationDate().AsSQLString()) == "1995-01-01 00:00:00"
    assert {str(key.GetDatime().AsSQLString()) for key in file.GetListOfKeys()} == {"1995-01-01 00:00:00"}
    file.Close()


def test_run_by_the_command_line_in_two_processes(tmp_path: Path) -> None:
    """Whatever the order of sets is, and whatever the clock says."""
    (source,) = RUN_REFERENCE.glob("*.root")
    for name, seed in (("a", "1"), ("b", "22")):
        out = tmp_path / name
        words = ["run", str(source), "-o", str(out), "--save-verdict", str(out), "--flags", str(out / "flags.csv")]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-m", "hcal_root_ad", *words], check=True, capture_output=True, env=env)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
