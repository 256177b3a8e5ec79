"""HcalAnalyzer files: integer axes, iphi 72 in the overflow, and a tree that may list LS instead of events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Fill = tuple[int, int, int, int, int]
"""LS, ieta, iphi, depth, digis."""


@pytest.fixture(scope="module")
def write(root: Any) -> Callable[..., Path]:
    """Fill the histograms through ROOT with integers, as the producer does."""

    def write(path: Path, fills: list[Fill], events: list[tuple[int, int]], ieta_bins: int = 64) -> Path:
        file = root.TFile(str(path), "RECREATE", "", 101)
        folder = file.mkdir("Hcal4DQMAnalyzer")
        folder.cd()
        for depth in range(1, 8):
            half = ieta_bins / 2
            made = root.TH3I(f"hist3D_depth{depth}", "", 20, 0, 20, ieta_bins, -half, half, 72, 0, 72)
            for ls, ieta, iphi, at, digis in fills:
                if at == depth:
                    made.Fill(ls, ieta, iphi, digis)
            made.Write()
        tree, run, lumi = root.TTree("evttree", ""), np.zeros(1, "i4"), np.zeros(1, "i4")
        tree.Branch("RunNum", run, "RunNum/I")
        tree.Branch("LumiSec", lumi, "LumiSec/I")
        for run[0], lumi[0] in events:
            tree.Fill()
        tree.Write()
        file.Close()
        return path

    return write


def count(maps: Any, ls: int, name: str, ieta: int, iphi: int, depth: int) -> int:
    table = channel_table().select("HB", "HE")
    rows = table.rows_of(name)
    row = next(r for r in rows if (table.ieta[r], table.iphi[r], table.depth[r]) == (ieta, iphi, depth))
    return int(maps.counts[list(maps.lumisections).index(ls), row])


FILLS: list[Fill] = [
    (3, -29, 1, 1, 5), (3, 1, 72, 1, 6), (3, -1, 71, 2, 7), (4, 28, 71, 7, 8), (4, -16, 72, 4, 9), (4, 5, 1, 3, 1),
]  # fmt: skip


def test_every_corner_lands_in_its_channel(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path / "h.root", FILLS, [(RUN, 3)] * 10 + [(RUN, 4)] * 12 + [(RUN, 6)] * 2)
    (maps,) = read_lumi_maps(path)
    assert list(maps.lumisections) == [3, 4, 6]
    assert list(maps.events) == [10, 12, 2]
    assert set(maps.event_source) == {EventSource.COUNTER}
    assert list(maps.present) == [True, True, False]
    assert count(maps, 3, "HE", -29, 1, 1) == 5
    assert count(maps, 3, "HB", 1, 72, 1) == 6
    assert count(maps, 3, "HB", -1, 71, 2) == 7
    assert count(maps, 4, "HE", 28, 71, 7) == 8
    assert count(maps, 4, "HE", -16, 72, 4) == 9
    assert maps.counts.sum() == 36


def test_a_tree_of_lumisections_tells_no_events(tmp_path: Path, write: Callable[..., Path]) -> None:
    (maps,) = read_lumi_maps(write(tmp_path / "h.root", FILLS, [(RUN, 3), (RUN, 4)]))
    assert set(maps.event_source) == {EventSource.ESTIMATE}
    assert any("one row per LS, not per event" in note for note in maps.notes)
    assert (maps.events >= maps.counts.max(axis=1)).all()


def test_digis_beyond_the_axes_are_told(tmp_path: Path, write: Callable[..., Path]) -> None:
    fills = [*FILLS, (25, 5, 5, 1, 11), (3, 5, 0, 1, 4)]
    (maps,) = read_lumi_maps(write(tmp_path / "h.root", fills, [(RUN, 3)] * 10 + [(RUN, 4)] * 12))
    assert any("depth1: 11 digis at LS 20 and above" in note for note in maps.notes)
    assert any(note.startswith("LS 3: 4 digis in bins that are no channel") for note in maps.notes)


def test_other_axes_and_several_runs_are_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"20 bins 0…20 × 82 bins -41…41 × 72 bins 0…72; .* 64 ieta"):
        read_lumi_maps(write(tmp_path / "a.root", FILLS, [(RUN, 3)], ieta_bins=82))
    with pytest.raises(InputError, match="holds 2 runs in maps without a run axis"):
        read_lumi_maps(write(tmp_path / "b.root", FILLS, [(RUN, 3), (RUN + 1, 3)]))


def test_an_era_that_it_has_no_maps_of(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="run of era 2017, but the definition hcalanalyzer is for 2018, Run3"):
        read_lumi_maps(write(tmp_path / "a.root", FILLS, [(306_138, 3)]))
