"""The channel table against numbers from the HCAL documents, and every axis there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from hcal_root_ad.detector import (
    HALVES,
    MODULES_PER_BOX,
    N_DEPTH,
    N_DQM_IETA,
    N_IETA,
    N_IPHI,
    N_MAPS,
    SUBDET_PM,
    ChannelTable,
    Era,
    Subdetector,
    box_name,
    channel_table,
    era_of_run,
    ho_wheel,
    rbx_of,
    readout_graph,
    uhtr_name,
)

TABLE = channel_table()
HBHE = TABLE.select("HB", "HE")
FACTS = Path(__file__).parents[2] / "shared" / "facts" / "hcal_geometry.json"

rows = st.integers(0, len(TABLE) - 1)
hbhe_rows = st.integers(0, len(HBHE) - 1)


def channel(subdetector: str, ieta: int, iphi: int, depth: int, table: ChannelTable = TABLE) -> int:
    """Row of one channel."""
    here = (table.ieta == ieta) & (table.iphi == iphi) & (table.depth == depth)
    (row,) = np.flatnonzero(here & (table.subdetector == Subdetector[subdetector]))
    return int(row)


def rows_on_grid(table: ChannelTable) -> np.ndarray:
    """Row in each cell of the (64, 72, 7) grid, −1 in empty ones."""
    rows = np.full((N_IETA, N_IPHI, N_DEPTH), -1)
    rows[table.grid] = np.arange(len(table))
    return rows


def rows_on_dqm_axes(table: ChannelTable) -> NDArray[np.intp]:
    """Row in each bin of the DQM's maps, (84, 72, 8), −1 in empty ones: ``depth1`` … ``depth7``, ``depthHO``."""
    on_axes = np.full((N_DQM_IETA, N_IPHI, N_MAPS), -1, dtype=np.intp)
    on_axes[table.dqm_x, table.dqm_y, table.dqm_map - 1] = np.arange(len(table))
    return on_axes


def depth_counts(table: ChannelTable, subdetector: str) -> list[int]:
    return np.bincount(table.select(subdetector).depth, minlength=8)[1:].tolist()


def decode_raw_id(raw_id: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sub-detector, ieta, iphi and depth of format-2 raw ids."""
    word = np.asarray(raw_id, dtype=np.uint32)
    ieta = (word >> 10 & 0x1FF).astype(np.int16)
    sign = np.where(word >> 19 & 1, 1, -1)
    parts = (word >> 25 & 7, ieta * sign, word & 0x3FF, word >> 20 & 0xF)
    subdetector, ieta, iphi, depth = (p.astype(np.int16) for p in parts)
    return subdetector, ieta, iphi, depth


class TestChannels:
    def test_run3_counts(self) -> None:
        assert {s.name: len(TABLE.rows_of(s.name)) for s in Subdetector} == {
            "HB": 9072, "HE": 6768, "HO": 2160, "HF": 3456}  # fmt: skip

    def test_run3_counts_per_depth(self) -> None:
        assert depth_counts(TABLE, "HB") == [2304, 2304, 2304, 2160, 0, 0, 0]
        assert depth_counts(TABLE, "HE") == [1080, 1224, 1224, 1152, 1008, 864, 216]
        assert depth_counts(TABLE, "HF") == [864, 864, 864, 864, 0, 0, 0]
        assert depth_counts(TABLE, "HO") == [0, 0, 0, 2160, 0, 0, 0]

    def test_he_depth_1_of_tower_18_has_no_scintillator(self) -> None:
        assert HBHE.select("HE").instrumented.sum() == 6624
        assert HBHE.select("HB").instrumented.all()

    def test_tower_16_is_shared_by_depth_and_tower_29_by_subdetector(self) -> None:
        tower = TABLE.take((np.abs(TABLE.ieta) == 16) & (TABLE.subdetector <= Subdetector.HE))
        assert sorted(set(zip(tower.names, tower.depth.tolist(), strict=True))) == [
            ("HB", 1), ("HB", 2), ("HB", 3), ("HE", 4)]  # fmt: skip
        tower = TABLE.take(np.abs(TABLE.ieta) == 29)
        assert sorted(set(tower.names)) == ["HE", "HF"]

    def test_2018_has_photodiodes_in_hb_and_phase1_he(self) -> None:
        table = channel_table(Era.RUN2_2018)
        assert depth_counts(table, "HB") == [2304, 288, 0, 0, 0, 0, 0]
        assert depth_counts(table, "HE") == depth_counts(TABLE, "HE")
        assert not table.select("HB").rm.any()
        assert table.select("HE").rm.all()

    def test_2017_has_one_phase1_box(self) -> None:
        table = channel_table("2017").select("HE")
        # Filled bins of the real run 306138: depth 3 holds 314 besides HF, depths 5, 6, 7 hold 28, 24, 6.
        assert depth_counts(table, "HE") == [1216, 1084, 314, 32, 28, 24, 6]
        deep = table.take(table.depth >= 5)
        assert set(deep.box.tolist()) == {SUBDET_PM.index("HEP") * 18 + 16}
        assert set(deep.iphi.tolist()) == {63, 64, 65, 66}
        assert set(table.take(table.rm > 0).box.tolist()) == {70}

    @pytest.mark.parametrize(
        ("run", "era"), [(306138, "2017"), (313999, "2017"), (314000, "2018"), (327999, "2018"), (370101, "Run3")]
    )
    def test_era_of_run(self, run: int, era: str) -> None:
        assert era_of_run(run) == Era(era)

    def test_take_select_and_names_keep_order(self) -> None:
        assert_array_equal(HBHE.subdetector, np.sort(HBHE.subdetector))
        assert HBHE.names[0] == "HB"
        assert HBHE.names[-1] == "HE"
        assert len(TABLE.take(np.array([5, 3]))) == 2
        assert TABLE.take(np.array([5, 3])).iphi[0] == TABLE.iphi[5]


class TestReadout:
    def test_box_one_straddles_iphi_72(self) -> None:
        assert rbx_of(np.array([71, 72, 1, 2, 3, 66, 67, 70])).tolist() == [1, 1, 1, 1, 2, 17, 18, 18]

    @pytest.mark.parametrize(("subdetector", "per_box"), [("HB", 252), ("HE", 188)])
    def test_channels_per_box(self, subdetector: str, per_box: int) -> None:
        boxes, channels = np.unique(TABLE.select(subdetector).box, return_counts=True)
        assert len(boxes) == 36
        assert set(channels.tolist()) == {per_box}

    @pytest.mark.parametrize(("subdetector", "per_module"), [("HB", [63, 63, 63, 63]), ("HE", [48, 46, 46, 48])])
    def test_channels_per_module(self, subdetector: str, per_module: list[int]) -> None:
        table = TABLE.select(subdetector)
        modules = np.stack([table.box, table.rm])
        for rm, expected in enumerate(per_module, start=1):
            counts = np.unique(modules[0, modules[1] == rm], return_counts=True)[1]
            assert counts.tolist() == [expected] * 36

    def test_boxes_have_names(self) -> None:
        assert [box_name(box) for box in (0, 17, 18, 36, 60, 71)] == [
            "HBM01", "HBM18", "HBP01", "HEM01", "HEP07", "HEP18"]  # fmt: skip
        assert TABLE.box_name(channel("HE", 20, 23, 1)) == "HEP07"
        assert TABLE.box_name(channel("HB", -1, 72, 1)) == "HBM01"

    @pytest.mark.parametrize("side", [-1, 1])
    def test_he_module_is_a_comb(self, side: int) -> None:
        """One iphi at |ieta| 16–20, then every second |ieta| at an odd iphi."""
        table = TABLE.select("HE")
        box = table.take((table.rbx == 7) & (np.sign(table.ieta) == side))
        module = box.take(box.rm == 2)
        narrow, wide = module.take(np.abs(module.ieta) <= 20), module.take(np.abs(module.ieta) >= 21)
        assert set(np.abs(narrow.ieta).tolist()) == {16, 17, 18, 19, 20}
        assert set(narrow.iphi.tolist()) == ({24} if side > 0 else {25})
        assert set(np.abs(wide.ieta).tolist()) == {21, 23, 25, 27, 29}
        assert set(wide.iphi.tolist()) == ({23} if side > 0 else {25})
        assert set(wide.depth[np.abs(wide.ieta) == 29].tolist()) == {3}

    @pytest.mark.parametrize(
        ("subdetector", "ieta", "iphi", "depth", "rm"),
        [
            ("HB", 1, 71, 1, 1), ("HB", -1, 71, 1, 4), ("HB", 16, 2, 3, 4), ("HE", 18, 4, 2, 2),
            ("HE", 22, 3, 1, 1), ("HE", 22, 5, 1, 4), ("HE", 21, 3, 1, 2), ("HE", 21, 5, 1, 3),
            ("HE", -22, 3, 1, 4), ("HE", -21, 5, 1, 2), ("HE", 29, 3, 3, 2), ("HE", 29, 3, 2, 1),
        ],
    )  # fmt: skip
    def test_worked_modules(self, subdetector: str, ieta: int, iphi: int, depth: int, rm: int) -> None:
        assert TABLE.rm[channel(subdetector, ieta, iphi, depth)] == rm

    def test_hb_cards_are_four_towers(self) -> None:
        table = TABLE.select("HB")
        for rm, card, towers in ((1, 1, {13, 14, 15, 16}), (1, 4, {1, 2, 3, 4}), (2, 1, {1, 2, 3, 4}),
                                 (4, 4, {13, 14, 15, 16}), (3, 3, {5, 6, 7, 8})):  # fmt: skip
            assert set(np.abs(table.ieta[(table.rm == rm) & (table.card == card)]).tolist()) == towers
        assert not TABLE.select("HE").card.any()

    @pytest.mark.parametrize(
        ("subdetector", "ieta", "iphi", "depth", "crate", "slot", "fed"),
        [
            ("HB", -1, 67, 1, 30, 1, 1116),  # RBX 18: even, minus, pure HB
            ("HB", 1, 71, 1, 30, 10, 1117),  # RBX 1: odd, plus
            ("HB", 13, 3, 1, 24, 8, 1101),  # overlap with HE
            ("HE", -20, 23, 4, 21, 6, 1104),  # RBX 7, pure HE
            ("HE", 26, 59, 6, 34, 9, 1115),  # RBX 16
            ("HE", 26, 59, 7, 34, 8, 1115),  # depth 7 is overlap
        ],
    )
    def test_worked_electronics(
        self, subdetector: str, ieta: int, iphi: int, depth: int, crate: int, slot: int, fed: int
    ) -> None:
        row = channel(subdetector, ieta, iphi, depth)
        assert (TABLE.crate[row], TABLE.slot[row], TABLE.fed[row]) == (crate, slot, fed)

    def test_108_uhtrs(self) -> None:
        assert len(set(zip(HBHE.crate.tolist(), HBHE.slot.tolist(), strict=True))) == 108
        assert set(HBHE.fed.tolist()) == set(range(1100, 1118))
        names = {uhtr_name(uhtr): f"crate{HBHE.crate[row]}-slot{HBHE.slot[row]}" for row, uhtr in enumerate(HBHE.uhtr)}
        assert len(names) == 108
        assert all(label == name for label, name in names.items())

    def test_hf_and_ho_have_no_known_electronics(self) -> None:
        outer = TABLE.select("HF", "HO")
        assert not any(column.any() for column in (outer.rm, outer.crate, outer.slot, outer.fed))
        assert set(outer.uhtr.tolist()) == {-1}
        assert set(TABLE.select("HF").box.tolist()) == {-1}
        assert not TABLE.select("HF").rbx.any()

    def test_halves_are_the_sides_of_every_subdetector(self) -> None:
        for half, name in enumerate(HALVES):
            some = TABLE.take(TABLE.half == half)
            assert set(some.names) == {name[:2]}
            assert set(np.sign(some.ieta).tolist()) == {-1 if name[2] == "M" else 1}

    def test_ho_has_12_boxes_in_the_central_wheel_and_6_in_each_other(self) -> None:
        """HO001 holds iphi 71, 72, 1–4 of both sides; HO1M02 iphi 71, 72, 1–10 of |ieta| 5–10."""
        table = TABLE.select("HO")
        names = np.array([box_name(int(box)) for box in table.box])
        found, sizes = np.unique(names, return_counts=True)
        assert dict(zip(*np.unique([name[:-2] for name in found], return_counts=True), strict=True)) == {
            "HO0": 12, "HO1M": 6, "HO1P": 6, "HO2M": 6, "HO2P": 6}  # fmt: skip
        assert set(sizes[[name.startswith("HO0") for name in found]].tolist()) == {8 * 6}
        first, next_wheel = table.take(names == "HO001"), table.take(names == "HO1M02")
        assert set(first.iphi.tolist()) == {71, 72, 1, 2, 3, 4}
        assert set(first.ieta.tolist()) == {-4, -3, -2, -1, 1, 2, 3, 4}
        assert set(next_wheel.iphi.tolist()) == {71, 72, *range(1, 11)}
        assert set(next_wheel.ieta.tolist()) == set(range(-10, -4))
        assert ho_wheel(np.array([-15, -11, -10, -5, -4, 4, 5, 10, 11])).tolist() == [-2, -2, -1, -1, 0, 0, 1, 1, 2]

    @pytest.mark.parametrize("box", [-1, 132])
    def test_no_box_has_no_name(self, box: int) -> None:
        with pytest.raises(ValueError, match=f"no readout box {box}"):
            box_name(box)


class TestAxes:
    @pytest.mark.parametrize(
        ("subdetector", "ieta", "bin_number"),
        [("HF", -41, 1), ("HF", -29, 13), ("HE", -29, 14), ("HB", -1, 42),
         ("HB", 1, 43), ("HE", 29, 71), ("HF", 29, 72), ("HF", 41, 84)],
    )  # fmt: skip
    def test_worked_dqm_bins(self, subdetector: str, ieta: int, bin_number: int) -> None:
        assert TABLE.dqm_x[channel(subdetector, ieta, 3, 1)] + 1 == bin_number

    @pytest.mark.parametrize("era", list(Era))
    def test_no_two_channels_share_a_bin(self, era: Era) -> None:
        table = channel_table(era)
        hbhe = table.select("HB", "HE")
        assert (rows_on_grid(hbhe) >= 0).sum() == len(hbhe)
        assert (rows_on_dqm_axes(table) >= 0).sum() == len(table)
        assert len(np.unique(table.raw_id)) == len(table)

    def test_grid_is_the_dqm_axis_cut_by_ten_on_each_side(self) -> None:
        assert_array_equal(rows_on_dqm_axes(HBHE)[10:-10, :, :7], rows_on_grid(HBHE))
        assert (rows_on_dqm_axes(HBHE)[:10] == -1).all()
        assert (rows_on_dqm_axes(HBHE)[-10:] == -1).all()

    def test_the_cut_axis_still_holds_hf(self) -> None:
        with_hf = rows_on_dqm_axes(TABLE)[10:-10, :, :7]
        added = np.argwhere((with_hf >= 0) & (rows_on_grid(HBHE) < 0))
        assert sorted(set(added[:, 0].tolist())) == [0, 1, 2, 61, 62, 63]

    def test_active_share_of_the_grid(self) -> None:
        he, hb = (rows_on_grid(TABLE.select(name)) >= 0 for name in ("HE", "HB"))
        assert he.mean() == pytest.approx(6768 / 32256)
        assert hb[..., :4].mean() == pytest.approx(9072 / 18432)
        assert np.flatnonzero(he.any(axis=(1, 2))).tolist() == [*range(3, 17), *range(47, 61)]

    def test_iphi_72_is_there(self) -> None:
        assert (rows_on_grid(HBHE)[:, 71] >= 0).any()

    def test_known_raw_ids(self) -> None:
        assert TABLE.raw_id[channel("HE", 20, 5, 3)] == 0x45385005
        assert TABLE.raw_id[channel("HB", -1, 72, 1)] == 0x43100448

    def test_unknown_raw_id_has_no_row(self) -> None:
        he_even_iphi = 0x45385005 - 5 + 6 + ((21 - 20) << 10)
        assert TABLE.rows_of_raw_ids(np.array([0x45385005, he_even_iphi, 0, 0xFFFFFFFF]))[1:].tolist() == [-1, -1, -1]

    @given(rows)
    def test_raw_id_there_and_back(self, row: int) -> None:
        raw_id = TABLE.raw_id[row : row + 1]
        assert TABLE.rows_of_raw_ids(raw_id).tolist() == [row]
        here = tuple(int(part[0]) for part in decode_raw_id(raw_id))
        assert here == (TABLE.subdetector[row], TABLE.ieta[row], TABLE.iphi[row], TABLE.depth[row])

    @given(hbhe_rows)
    def test_grid_and_dqm_axes_there_and_back(self, row: int) -> None:
        x, y, z = (int(index[row]) for index in HBHE.grid)
        assert rows_on_grid(HBHE)[x, y, z] == row
        assert rows_on_dqm_axes(HBHE)[HBHE.dqm_x[row], HBHE.dqm_y[row], z] == row
        assert HBHE.ieta[row] == (x - 32 if x < 32 else x - 31)

    def test_ring_joins_both_sides_and_all_iphi(self) -> None:
        ring = HBHE.ring
        assert set(np.unique(ring)) == set(range(ring.max() + 1))
        same = ring == ring[channel("HE", 20, 5, 3, HBHE)]
        assert same.sum() == 144
        assert set(HBHE.ieta[same].tolist()) == {-20, 20}
        assert set(HBHE.depth[same].tolist()) == {3}


class TestGraph:
    @pytest.mark.parametrize("name", ["HB", "HE"])
    def test_edges_grow_with_the_channels(self, name: str) -> None:
        channels = TABLE.select(name)
        graph = readout_graph(channels)
        assert graph.channel_to_module.shape == (2, len(channels))
        assert graph.module_to_box.shape == (2, 36 * MODULES_PER_BOX)

    def test_a_channel_reaches_its_box_through_its_module(self) -> None:
        channels = TABLE.select("HE")
        graph = readout_graph(channels)
        side_and_rbx = channels.side.astype(int) * 18 + channels.rbx - 1
        assert_array_equal(graph.box_of[graph.module_of], side_and_rbx)
        assert_array_equal(graph.module_of % MODULES_PER_BOX, channels.rm)

    def test_two_channels_share_a_module_node_only_in_the_same_module(self) -> None:
        channels = TABLE.select("HB")
        nodes, sizes = np.unique(readout_graph(channels).module_of, return_counts=True)
        assert len(nodes) == 144
        assert set(sizes.tolist()) == {63}


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return json.loads(FACTS.read_text())


@pytest.mark.skipif(not FACTS.is_file(), reason="the geometry notes are not beside this checkout")
class TestAgainstTheNotes:
    """The companion of ``hcal_geometry.md``, which was compared channel by channel with the official maps."""

    def test_towers(self, facts: dict[str, Any]) -> None:
        for name, towers in facts["segmentation"].items():
            table = TABLE.select(name)
            assert {int(tower) for tower in towers} == set(np.abs(table.ieta).tolist())
            for tower, rule in towers.items():
                here = table.take(np.abs(table.ieta) == int(tower))
                phis = [rule["iphi_first"] + rule["iphi_step"] * i for i in range(rule["n_iphi"])]
                assert len(here) == rule["channels_both_sides"]
                assert sorted(set(here.depth.tolist())) == rule["depths"]
                assert sorted(set(here.iphi.tolist())) == phis

    def test_boxes(self, facts: dict[str, Any]) -> None:
        for rbx, rule in facts["rbx"].items():
            box = HBHE.take(HBHE.rbx == int(rbx))
            assert set(box.iphi.tolist()) == set(rule["iphi_in_order"])
            assert set(box.crate.tolist()) == {rule["crate"]}
            for side, sign in ((0, "minus"), (1, "plus")):
                half = box.take(box.side == side)
                assert sorted(set(half.slot.tolist())) == rule[f"slots_{sign}"]
                assert set(half.fed.tolist()) == {rule[f"fed_{sign}"]}

    def test_totals(self, facts: dict[str, Any]) -> None:
        totals = facts["totals"]
        for name in ("HB", "HE", "HF", "HO"):
            assert len(TABLE.rows_of(name)) == totals[name]
        assert HBHE.instrumented[HBHE.rows_of("HE")].sum() == totals["HE_instrumented_without_ieta18_depth1"]
