"""A detector of which few lumisections exist: what is learned from, what is counted, and ten real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.model.model import load_model
from studies.stress.failures import Failure, Unit
from studies.transfer import few

REAL = Path(__file__).parents[3] / "shared" / "data" / "run306138_real"


def test_every_point_has_a_name_of_its_own() -> None:
    points = few.points()
    assert len({point.name for point in points}) == len(points)
    assert {point.lumisections for point in points} == {3, 10, 30, 100}
    assert {point.source for point in points} == set(few.FROM)


def ends(failure: Failure) -> tuple[int, int]:
    assert isinstance(failure, Unit)
    assert failure.last is not None
    return failure.first, failure.last


@pytest.mark.parametrize("lumisections", [10, 100])
@pytest.mark.parametrize("share", few.CONTAMINATED)
def test_so_many_of_the_learned_lumisections_have_faults(lumisections: int, share: float) -> None:
    numbers = np.arange(1, 101)[few.learned_rows(lumisections, share)]
    (first, last), *others = {ends(one) for one in few.world_of("as learned", share).clean.failures}
    assert not others
    assert len(numbers) == lumisections
    assert ((numbers >= first) & (numbers <= last)).sum() == round(share * lumisections)


def test_a_detector_of_2018_teaches_the_powers_of_the_same_channels() -> None:
    shipped = load_model("he-graphstad")
    taught = few._of_run2(shipped, few.SEEDS[0])
    assert np.array_equal(taught.reference.channels.raw_id, shipped.reference.channels.raw_id)
    assert not np.array_equal(taught.reference.power, shipped.reference.power)


def test_powers_of_several_detectors_are_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, references = load_model("he-graphstad"), [load_model(name).reference for name in ("he-graphstad",) * 2]
    higher = replace(references[1], power=references[1].power + 0.2)
    monkeypatch.setattr(few, "_several_references", lambda: [references[0], higher])
    mean = few._of_several(shipped).reference
    assert mean.power == pytest.approx(shipped.reference.power + 0.1, abs=1e-6)
    assert np.array_equal(mean.level, shipped.reference.level)


def row(learned: int, captured: int, false: int) -> dict[str, object]:
    kinds = [*few.WEAK, "channel ×0.8"]
    return {
        "learned": learned, "source": "nothing", "pileup": "as learned", "seed": captured, "contaminated": 0.0,
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
