"""Gathered sums, means and maps."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.nn import SAGEConv

from hcal_root_ad.export.traceable import GatheredMean, GroupSum, MapCells, members


def test_members_of_three_groups_by_hand() -> None:
    assert members(np.array([2, 0, 2, 0, 0]), 4).tolist() == [[1, 3, 4], [5, 5, 5], [0, 2, 5], [5, 5, 5]]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_group_sums_are_those_of_bincount(label: list[int]) -> None:
    values = np.arange(len(label)) - 7.5
    sums = GroupSum(members(np.array(label), max(label) + 1))(torch.from_numpy(values)[None])
    assert np.allclose(sums[0], np.bincount(label, values))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_mean_over_edges_is_that_of_pyg(targets: list[int]) -> None:
    torch.manual_seed(1)
    edges = torch.stack([torch.arange(len(targets)), torch.tensor(targets)])
    layer = SAGEConv((3, 3), 2, root_weight=False)
    x = torch.randn(2, len(targets), 3)
    wanted = layer((x, None), edges, size=(len(targets), 5))
    layer.aggr_module = GatheredMean(edges[1], 5)
    assert torch.allclose(layer((x, None), edges, size=(len(targets), 5)), wanted, atol=1e-6)


def test_channels_to_cells_and_back() -> None:
    cells = MapCells(np.array([4, 0, 2]), 6)
    values = torch.tensor([[1.0, 2.0, 3.0]])
    assert cells.to_cells(values).tolist() == [[2.0, 0.0, 3.0, 0.0, 1.0, 0.0]]
    assert cells.to_channels(cells.to_cells(values)).tolist() == values.tolist()
