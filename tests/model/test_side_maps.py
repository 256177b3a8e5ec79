"""Channels on maps and back: nothing lost, nothing moved, boxes where they belong."""

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.model.graphstad import COLUMNS, ROWS, SideMaps, cells


@pytest.mark.parametrize("era", list(Era))
@pytest.mark.parametrize("subdetector", ["HB", "HE"])
def test_every_channel_has_a_cell_of_its_own(era: Era, subdetector: str) -> None:
    channels = channel_table(era).select(subdetector)
    assert len(np.unique(cells(channels))) == len(channels)


@pytest.mark.parametrize("subdetector", ["HB", "HE"])
def test_maps_and_back_is_the_identity(subdetector: str) -> None:
    channels = channel_table().select(subdetector)
    maps = SideMaps(channels)
    values = torch.randn(3, len(channels), 1)
    assert torch.equal(maps.to_channels(maps.to_maps(values)), values[..., 0])


def test_iphi_72_is_there_and_neighbours_1() -> None:
    channels = channel_table().select("HE")
    maps = SideMaps(channels)
    values = torch.zeros(1, len(channels), 1)
    chosen = np.flatnonzero((channels.ieta == 18) & (channels.depth == 2) & np.isin(channels.iphi, [72, 1]))
    values[0, chosen] = 1
    row, column = torch.nonzero(maps.to_maps(values)[1, 1]).T
    assert row.tolist() == [2, 2]
    assert column.tolist() == [1, 2]


def test_four_neighbouring_columns_are_one_readout_box() -> None:
    channels = channel_table().select("HB")
    column = np.unravel_index(cells(channels), (2, 7, ROWS, COLUMNS))[3]
    assert np.array_equal(column // 4 + 1, channels.rbx)


def test_both_sides_count_ieta_outwards() -> None:
    channels = channel_table().select("HB")
    side, _, row, _ = np.unravel_index(cells(channels), (2, 7, ROWS, COLUMNS))
    assert np.array_equal(row, np.abs(channels.ieta) - 1)
    assert np.array_equal(side, (channels.ieta > 0).astype(int))
