"""A detector of which few lumisections exist: what is learned from, what is counted, and ten real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.harvest.read import read_lumi_maps
from studies.transfer import few

REAL = Path(__file__).parents[3] / "shared" / "data" / "run306138_real"


def test_every_point_has_a_name_of_its_own() -> None:
    points = few.points()
    assert len({point.name for point in points}) == len(points)
    assert {point.lumisections for point in points} == {3, 10, 30, 100}
    assert {point.source for point in points} == set(few.FROM)


@pytest.mark.parametrize("lumisections", [10, 100])
def test_a_fifth_of_the_learned_lumisections_has_faults(lumisections: int) -> None:
    numbers = np.arange(1, 101)[few.learned_rows(lumisections, contaminated=True)]
    assert len(numbers) == lumisections
    assert ((numbers >= 45) & (numbers <= 64)).sum() == lumisections // 5


def row(learned: int, captured: int, false: int) -> dict[str, object]:
    kinds = [*few.WEAK, "channel ×0.8"]
    return {
        "learned": learned, "source": "nothing", "pileup": "as learned", "seed": captured, "contaminated": False,
        "lumisections": 50, "false_lines": false + 1, "false_outer": 1, "capture": {k: [captured, 10] for k in kinds},
        "error": {"HB": 0.02, "HE": 0.03},
    }  # fmt: skip


def test_the_table_counts_shares_and_lines_per_100_lumisections() -> None:
    text = few.table_of([row(3, 8, 0), row(3, 10, 1), row(10, 10, 0), row(10, 10, 0)])
    line = next(line for line in text.splitlines() if line.startswith("| 3 |"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[2] == "0.900 ± 0.100"
    assert cells[3] == "0.900"
    assert cells[-3:] == ["1.00 ± 1.00", "2.00 %", "3.00 %"]
    assert any(line.startswith("| 10 |") for line in text.splitlines())


def test_three_real_lumisections_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not here")
    monkeypatch.setattr(few, "REAL_FIRST", {3: ((0, 1, 2),)})
    monkeypatch.setattr(few, "REPLICAS", 2)
    (maps,) = read_lumi_maps(str(REAL))
    refused, rows = few.real_rows(maps)
    assert "at least 2000 are needed" in str(refused["refused"])
    assert rows["untouched"] == 0
    assert rows["faults"] == 2 * (2 + 7 * 5)
    assert rows["found"] >= 0.97 * rows["faults"]
    assert rows["false"] == 0
    assert "of 74" in few.real_table_of([refused, rows])
