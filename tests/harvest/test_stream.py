"""A file streamed in pieces holds what it holds as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
from hcal_root_ad.lumi_maps import LumiMaps

Made = Callable[..., Any]
ONE_FILE_SAMPLES = (
    "nanodqmio_run370101.root",
    "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root",
    "hcalanalyzer_run370101.root",
)


def joined(pieces: list[LumiMaps], field: str) -> Any:
    return np.concatenate([getattr(piece, field) for piece in pieces])


@pytest.mark.parametrize("name", ONE_FILE_SAMPLES)
@pytest.mark.parametrize("lumisections", [7, 1000])
def test_pieces_together_are_the_whole(samples: Path, name: str, lumisections: int) -> None:
    (whole,) = read_lumi_maps(samples / name)
    pieces = list(stream_lumi_maps(samples / name, lumisections=lumisections))
    assert all(len(piece) <= lumisections for piece in pieces)
    for field in ("lumisections", "events", "event_source", "present", "counts"):
        np.testing.assert_array_equal(joined(pieces, field), getattr(whole, field))
    assert {piece.sources for piece in pieces} == {whole.sources}


def test_rows_that_lie_apart_are_summed_in_their_piece(
    tmp_path: Path, write_dqmio: Made, root_map: Made, depth_maps: Made, channel_counts: Made
) -> None:
    made = [depth_maps(100, seed=seed) for seed in range(4)]
    rows = [
        (370_000, ls, [(f"Hcal/DigiTask/Occupancy/depth/depth{d}", root_map(m)) for d, m in enumerate(maps, start=1)])
        for ls, maps in zip((2, 5, 2, 1), made, strict=True)
    ]
    first, second = stream_lumi_maps(write_dqmio(tmp_path / "n.root", rows), lumisections=3)
    assert (list(first.lumisections), list(second.lumisections)) == ([1, 2], [5])
    np.testing.assert_array_equal(first.counts[1], channel_counts(made[0] + made[2]))
    assert list(first.events) == [100, 200]
    np.testing.assert_array_equal(second.counts[0], channel_counts(made[1]))


def test_a_file_of_the_run_comes_in_one_piece(samples: Path) -> None:
    name = samples / "DQM_V0001_Hcal_R000370101.root"
    ((piece,), (whole,)) = list(stream_lumi_maps(name)), read_lumi_maps(name)
    assert piece.coarse is not None
    assert whole.coarse is not None
    np.testing.assert_array_equal(piece.coarse.strips, whole.coarse.strips)
