from __future__ import annotations

import pytest

from hcal_root_ad.detector import box_name, channel_table
from hcal_root_ad.judge.coarse import strip_names
from hcal_root_ad.judge.findings import channel_name
from hcal_root_ad.judge.verdict import Kind
from hcal_root_ad.model.unit_tree import unit_tree
from hcal_root_ad.report.page import box_of_unit, count, happened, place


@pytest.mark.parametrize(
    ("unit", "words", "box"),
    [
        ("HE", "the whole of HE", None),
        ("HBM", "the minus side of HB", None),
        ("HEP07", "readout box HEP07", "HEP07"),
        ("HEM03-RM2", "readout module 2 of HEM03", "HEM03"),
        ("HBP05-RM1-card2", "QIE card 2 of readout module 1 of HBP05", "HBP05"),
        ("HE -25/33/4", "channel HE ieta −25, iphi 33, depth 4", "HEM09"),
        ("HB +2/72/1", "channel HB ieta +2, iphi 72, depth 1", "HBP01"),
        ("HF +35/7/2", "channel HF ieta +35, iphi 7, depth 2", None),
        ("HO", "the whole of HO", None),
        ("HFM", "the minus side of HF", None),
        ("HO1M02", "readout box HO1M02", None),
        ("crate24-slot03", "the uHTR in crate 24, slot 3", None),
        ("FED1102", "FED 1102", None),
        ("HE |ieta| 26", "ring |ieta| 26 of HE", None),
        ("HE |ieta| 26 depth 3", "ring |ieta| 26 of HE, depth 3", None),
        ("11 channels of HEM03", "11 channels of HEM03", None),
        ("HEP iphi 23", "strip iphi 23 of HEP", "HEP07"),
    ],
)
def test_units_by_their_full_names(unit: str, words: str, box: str | None) -> None:
    assert place(unit) == words
    number = box_of_unit(unit)
    assert (None if number is None else box_name(number)) == box


def test_every_name_that_the_judge_gives_is_understood() -> None:
    for name in ("HB", "HE"):
        channels = channel_table().select(name)
        tree = unit_tree(channels)
        for unit in (*tree.box.names, *tree.module.names):
            assert place(unit).startswith("readout ")
            assert box_name(box_of_unit(unit)) == unit[:5]
        for row in range(0, len(channels), 7):
            unit = channel_name(channels, row)
            assert place(unit).startswith(f"channel {name} ieta ")
            assert box_of_unit(unit) == channels.box[row]
    for column, unit in enumerate(strip_names(channel_table().select("HB", "HE"))):
        assert box_of_unit(unit) == 18 * (column // 72) + (column % 72 + 2) % 72 // 4


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (38, "38"), (9999.6, "10,000"), (975_768, "975,768"), (2.5e6, "2.5 million"),
                          (1.234e9, "1.23 billion")],
)  # fmt: skip
def test_count(number: float, words: str) -> None:
    assert count(number) == words


@pytest.mark.parametrize(
    ("kind", "observed", "expected", "words"),
    [
        (Kind.DEAD, 0, 975_768, "no digi at all where 975,768 were expected"),
        (Kind.DEAD, 38, 975_768, "38 digis where 975,768 were expected (less than 1 %)"),
        (Kind.DEAD, 70, 1000, "70 digis where 1,000 were expected (7 %)"),
        (Kind.DEGRADED, 600, 1000, "60 % of the 1,000 digis that were expected"),
        (Kind.HOT, 2940, 1000, "2.94 times the 1,000 digis that were expected"),
        (Kind.NOISY, 5000, 1000, "5.00 times the 1,000 digis that were expected, coming and going"),
        (Kind.HOT, 12, 0, "12 digis where none was expected"),
    ],
)
def test_what_happened(kind: Kind, observed: float, expected: float, words: str) -> None:
    assert happened(kind, observed, expected) == words
