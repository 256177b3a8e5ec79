"""A real run as an evaluation: folds apart, faults exact, twins alike; and the verb's refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import Era
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import subdetector_counts
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from studies.__main__ import main
from studies.evaluate.campaign import evaluate
from studies.evaluate.material import Fold
from studies.evaluate.measure import fault_pairs, healthy_pairs
from studies.evaluate.protocol import WINDOW
from studies.evaluate.real import RealSuite, real, shares, ten_lumisections
from studies.evaluate.registry import chosen
from studies.evaluate.suite import TestRun, with_faults
from studies.evaluate.table import markdown

DATA = Path(__file__).parents[3] / "shared" / "data" / "run306138_real"
SMALL = RealSuite(
    rounds=1, twins=2, calibration_twins=1, twin_length=12, subdetectors=("HE",), factors=(0.0, 2.0),
    scales=("channel", "RM"),
)  # fmt: skip


@pytest.fixture(scope="module")
def maps() -> LumiMaps:
    """A run of 2017's detector with 1500 events in each of its twelve LS."""
    conditions = replace(simulate_conditions(12, seed=1, start=0.1), events=np.full(12, 1500))
    return simulate_run(simulate_detector(7, Era.RUN2_2017), conditions, seed=1).maps


@pytest.fixture(scope="module")
def folds(maps: LumiMaps) -> list[Fold]:
    return list(real(maps, SMALL).folds("HE"))


def test_each_half_is_tested_after_learning_from_the_other(maps: LumiMaps, folds: list[Fold]) -> None:
    series = subdetector_counts(maps, "HE")
    for number, fold in enumerate(folds):
        learned, tested = (series.rows(slice(5 * half, 5 * half + 5)) for half in (1 - number, number))
        assert np.array_equal(fold.training(False).learn[0].counts, learned.counts)
        assert len(fold.training(False).learn) == 1
        for test in fold.tests():
            healthy = ~fault_rows(test)
            assert np.array_equal(test.series.counts[:, healthy], tested.counts[:, healthy])


def fault_rows(test: TestRun) -> np.ndarray:
    rows = np.zeros(test.series.counts.shape[1], dtype=bool)
    for placed in test.placed:
        rows[placed.rows] = True
    return rows


def test_every_condition_is_met_once_per_round_and_lasts_as_it_should(folds: list[Fold]) -> None:
    for fold in folds:
        met = [placed.condition.name for test in fold.tests() for placed in test.placed]
        assert sorted(set(met)) == sorted(condition.name for condition in SMALL.conditions)
        for test in fold.tests():
            for placed in test.placed:
                pairs = fault_pairs(test, placed.condition)
                length = 1 if placed.condition.persistence == "isolated" else WINDOW
                if placed.condition.factor is not None:
                    assert pairs.any(axis=1).sum() == length
                    assert pairs[-1].any()
            assert healthy_pairs(test).sum() > 1000


@given(
    st.floats(0.05, 0.95), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_faulty_counts_are_binomial_with_the_faulty_probability(p: float, q: float, seed: int) -> None:
    draw, events, size = np.random.default_rng(seed), 200, 4000
    counts = draw.binomial(events, p, (1, size)).astype(np.int32)
    found = with_faults(counts, np.array([float(events)]), np.full((1, size), p), np.full((1, size), q), draw)
    assert found.min() >= 0
    assert found.max() <= events
    variance = events * q * (1 - q)
    assert found.mean() == pytest.approx(events * q, abs=6 * np.sqrt(variance / size) + 1e-9)
    assert found.var() == pytest.approx(variance, rel=0.25, abs=0.5)


def test_faults_by_hand() -> None:
    counts, events = np.array([[3, 5, 10, 4]], dtype=np.int32), np.array([10.0])
    healthy, faulty = np.array([[0.3, 0.5, 1.0, 0.4]]), np.array([[0.0, 1.0, 1.0, 0.4]])
    found = with_faults(counts, events, healthy, faulty, np.random.default_rng(1))
    assert found.tolist() == [[0, 10, 10, 4]]


def test_shares_by_hand() -> None:
    assert shares(np.array([[2, 0], [3, 0]], dtype=np.int32), np.array([10.0, 10.0])).tolist() == [5.5 / 21, 0.0]


def test_twins_are_like_the_lumisections_learned_from(folds: list[Fold]) -> None:
    deep = folds[0].training(True)
    assert [len(deep.learn), len(deep.calibrate)] == [1 + SMALL.twins, SMALL.calibration_twins]
    assert len(deep.learn) == 1 + SMALL.twins
    p = shares(deep.learn[0].counts, deep.learn[0].events)
    for twin in (*deep.learn[1:], *deep.calibrate):
        q = shares(twin.counts, twin.events)
        assert np.array_equal(q > 0, p > 0)
        assert np.median(np.abs(q[p > 0.1] / p[p > 0.1] - 1)) < 0.05


def test_equal_seeds_give_equal_replicas(maps: LumiMaps, folds: list[Fold]) -> None:
    again = real(maps, SMALL).folds("HE")[0].tests()
    pairs = list(zip(folds[0].tests(), again, strict=True))
    assert all(np.array_equal(one.series.counts, other.series.counts) for one, other in pairs)


def test_the_table_of_a_real_run(maps: LumiMaps, tmp_path: Path) -> None:
    material = real(maps, SMALL)
    rows = evaluate(material, chosen(["robust z"]), tmp_path)
    text = markdown(rows, material, "`command`.")
    assert f"Run {maps.run}, LS 1–10, in two folds" in text
    assert "approximate limits" in text
    (row,) = (row for row in rows if row["system"] == "robust z")
    assert len(row["runs"]) == 2 * SMALL.replicas_per_round
    assert len(row["thresholds"]) == 2
    renamed = replace(material, settings=material.settings | {"files": ["others"]})
    evaluate(renamed, [], tmp_path)
    assert len(list((tmp_path / "points").iterdir())) == 3 + 2


def test_runs_that_will_not_do_are_refused_in_a_sentence(maps: LumiMaps) -> None:
    gap = replace(maps, present=np.arange(12) != 3)
    with pytest.raises(InputError, match=r"expected 10 lumisections in a row .* found LS 1, 2, 3, 5, "):
        ten_lumisections(gap)
    with pytest.raises(InputError, match=r"found LS none at its start"):
        ten_lumisections(replace(maps, present=np.zeros(12, dtype=bool)))
    barrel = maps.channels.rows_of("HB")
    counts = np.zeros_like(maps.counts)
    counts[:, barrel] = maps.counts[:, barrel]
    with pytest.raises(InputError, match="holds no digis of HE"):
        real(replace(maps, counts=counts), SMALL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "real"], "needs a real run; name its DQM files, or their folder, with --data"),
        (["--suite", "quick", "--data", "x"], "--data is for --suite real"),
        (["--suite", "real", "--data", "nowhere"], "nowhere"),
    ],
)
def test_the_verb_refuses(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words, "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not DATA.exists(), reason="the real lumisections are not here")
def test_the_real_lumisections_make_two_folds() -> None:
    (maps,) = read_lumi_maps(DATA)
    assert maps.lumisections[ten_lumisections(maps)].tolist() == list(range(1, 11))
    fold = real(maps, replace(SMALL, subdetectors=("HB",))).folds("HB")[1]
    (learned,) = fold.training(False).learn
    assert learned.lumisections.tolist() == [1, 2, 3, 4, 5]
    assert learned.events.tolist() == [1350, 1379, 1366, 1332, 1422]
    test = fold.tests()[0]
    assert test.series.lumisections.tolist() == [6, 7, 8, 9, 10]
    assert test.live.sum() == 2586
