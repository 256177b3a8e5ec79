"""Readout units by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.unit_names import qie_card, rows_of_unit, scale_of_unit, unit_names

ALL = channel_table(Era.RUN3)
CHANNELS = ALL.select("HB", "HE")
SCALES = ("channel", "card", "RM", "RBX", "sector")


@pytest.mark.parametrize(
    ("unit", "size"),
    [("HEP07", 188), ("HBM01", 252), ("HBP03-RM1", 63), ("HEM10-RM1", 48), ("HEM10-RM2", 46), ("HEP-crate24", 376),
     ("HBM-crate30", 504), ("HE +20/5/3", 1), ("HE -18/72/1", 1), ("HBP03-RM1-card2", 16), ("HEM10-RM4-card1", 12),
     ("crate24-slot1", 192), ("FED1102", 880), ("HE |ieta| 26", 504), ("HE |ieta| 26 depth 3", 72),
     ("HB |ieta| 3", 576), ("HEP", 3384), ("HE", 6768), ("HBM", 4536)],
)  # fmt: skip
def test_units_have_their_size(unit: str, size: int) -> None:
    assert len(rows_of_unit(CHANNELS, unit)) == size


@pytest.mark.parametrize(
    ("unit", "size"),
    [("HO001", 48), ("HO1M02", 72), ("HO2P12", 60), ("HO |ieta| 7", 144), ("HOM", 1080), ("HO", 2160),
     ("HO -12/7/4", 1),
     ("HF |ieta| 35 depth 2", 72), ("HFP", 1728), ("HF +35/7/2", 1), ("HO1M03", 0), ("HFP01", 0)],
)  # fmt: skip
def test_units_of_ho_and_hf_have_their_size(unit: str, size: int) -> None:
    assert len(rows_of_unit(ALL, unit)) == size


def test_boxes_of_ho_are_named_and_those_of_hf_are_not() -> None:
    assert len(unit_names(ALL, "RBX")) == 72 + 12 + 4 * 6
    assert unit_names(ALL.select("HF"), "RBX") == []


@pytest.mark.parametrize("unit", ["", "HEP19", "HEP7", "HOP07", "HE 20/5/3", "HE +20/5/9", "HEP07-RM5", "HEP-crate22",
                                  "crate24-slot13", "FED1099", "FED0", "HE |ieta| 3", "HO", "HFP"])  # fmt: skip
def test_names_of_no_unit_have_no_channels(unit: str) -> None:
    assert len(rows_of_unit(CHANNELS, unit)) == 0


@pytest.mark.parametrize(("scale", "units"), [("RM", 288), ("RBX", 72), ("sector", 36), ("card", 1152)])
def test_units_of_a_scale_cover_every_channel_once(scale: str, units: int) -> None:
    names = unit_names(CHANNELS, scale)
    assert len(names) == units
    if scale == "card":  # The same by modules, without a thousand look-ups.
        card = qie_card(CHANNELS)
        assert (card > 0).all()
        module = CHANNELS.box.astype(int) * 5 + CHANNELS.rm
        sizes = np.unique(np.stack([module, card]), axis=1, return_counts=True)[1]
        assert len(sizes) == units
        return
    rows = np.concatenate([rows_of_unit(CHANNELS, name) for name in names])
    assert sorted(rows) == list(range(len(CHANNELS)))


@given(st.sampled_from(SCALES), st.integers(0, 10**9))
def test_a_name_says_its_scale(scale: str, number: int) -> None:
    names = unit_names(CHANNELS, scale)
    assert scale_of_unit(names[number % len(names)]) == scale


def test_he_cards_are_the_same_cells_in_every_box() -> None:
    card = qie_card(CHANNELS)

    def cells(box: str, rm: int, number: int) -> set[tuple[int, int, int]]:
        rows = rows_of_unit(CHANNELS, f"{box}-RM{rm}")
        rows = rows[card[rows] == number]
        return {(abs(int(CHANNELS.ieta[r])), int((CHANNELS.iphi[r] + 1) % 4), int(CHANNELS.depth[r])) for r in rows}

    assert cells("HEP01", 1, 2) == cells("HEP12", 1, 2)
    assert cells("HEM04", 3, 4) == cells("HEM18", 3, 4)
    assert cells("HEP01", 1, 1).isdisjoint(cells("HEP01", 1, 2))


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("crate24-slot3", "uHTR"), ("FED1102", "FED"), ("HE |ieta| 26", "ring"), ("HEP", "half"), ("HE", "sub-detector"),
     ("30% of HE", "")],
)  # fmt: skip
def test_larger_units_say_their_scale(unit: str, scale: str) -> None:
    assert scale_of_unit(unit) == scale


def test_a_board_is_one_box_number_of_one_side() -> None:
    rows = rows_of_unit(CHANNELS, "crate24-slot1")
    assert set(CHANNELS.rbx[rows]) == {2}
    assert (CHANNELS.ieta[rows] < 0).all()
    assert set(CHANNELS.subdetector[rows]) == {1}


def test_photodiode_modules_are_not_named() -> None:
    channels = channel_table(Era.RUN2_2017).select("HB", "HE")
    assert len(unit_names(channels, "RBX")) == 72
    assert unit_names(channels, "RM") == [f"HEP17-RM{rm}" for rm in range(1, 5)]
