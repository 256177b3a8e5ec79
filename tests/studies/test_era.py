"""The study of eras: its runs, what is measured of them, and its command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.errors import UsageError
from studies.era.command import main
from studies.era.measure import judge_era, share, summary
from studies.era.systems import Answer, Line
from studies.era.table import write_results
from studies.era.world import CREEP_RUNS, ERAS, Era, EraRun, Recipe

SMALL = Recipe(runs=14, lumisections=(4, 5), events=1500, settings=(), gap_at=-1)


def small(runs: int = 14) -> Era:
    return Era("small", replace(SMALL, runs=runs))


def test_equal_seeds_give_equal_runs() -> None:
    for one, two in zip(_first(small(), 3), _first(small(), 3), strict=True):
        assert np.array_equal(one.maps.counts, two.maps.counts)
        assert one.conditions == two.conditions


def _first(era: Era, number: int) -> Iterator[EraRun]:
    for run in era.runs():
        if run.index == number:
            return
        yield run


def test_counts_follow_the_rates_and_the_faults() -> None:
    for run in _first(small(), 4):
        expected = run.maps.events[:, None] * np.minimum(run.rates * run.factor, 1)
        pull = (run.maps.counts - expected) / np.sqrt(np.maximum(expected * (1 - np.minimum(run.rates, 0.99)), 1))
        assert abs(float(pull.mean())) < 0.02
        assert float(pull.std()) == pytest.approx(1, abs=0.1)


def test_half_of_the_runs_have_faults_and_some_creep() -> None:
    era = Era("facts", ERAS["facts"])
    begun = {fault.first_run for fault in era.faults if not fault.creeps}
    assert begun == set(range(1, 50, 2))
    creeping = [fault for fault in era.faults if fault.name == "channel creeping"]
    assert creeping[0].factor(creeping[0].first_run + CREEP_RUNS - 1) == pytest.approx(0.7)
    assert creeping[0].factor(creeping[0].first_run - 1) == 1
    from_first = np.mean([fault.start == 0 for fault in era.faults if not fault.creeps])
    assert from_first == pytest.approx(0.5, abs=0.1)


def test_masked_channels_count_nothing_and_are_no_faults() -> None:
    for run in list(_first(small(), 3))[1:]:
        assert run.mask is not None
        rows = run.mask.rows(run.maps.channels, run.maps.run)
        assert not run.maps.counts[:, rows].any()
        assert (run.factor[:, rows] == 1).all()


class Knowing:
    """Names every fault, and one healthy channel in each run."""

    def judge(self, run: EraRun) -> Answer:
        at_fault = run.factor != 1
        everywhere = np.ones(len(run.maps), dtype=bool)
        healthy = int(np.flatnonzero(~at_fault.any(axis=0))[0])
        lines = (Line(np.array([healthy]), everywhere, run.index > 1, "HB one"),)
        return Answer(lines, at_fault, run.healthy, "adapted model")


def test_a_system_that_knows_all_is_measured_as_such() -> None:
    numbers = summary(judge_era(small(6), Knowing()))
    assert numbers["channel ×0.9"] == 1
    assert numbers["channel ×0.9 learned as health"] == 0
    assert numbers["level error, median"] == 0
    per_hundred = 100 * 1500 / (4 * 1500)
    assert numbers["false lines per 100 LS"] == pytest.approx(per_hundred, rel=0.05)
    assert numbers["new false lines per 100 LS"] == pytest.approx(per_hundred / 5, rel=0.05)


class Learning(Knowing):
    """Takes every fault for health at the end of the run."""

    def judge(self, run: EraRun) -> Answer:
        with np.errstate(divide="ignore"):
            learned = run.healthy + np.log(np.maximum(run.factor[-1], 1e-3))
        return Answer((), np.zeros(run.factor.shape, dtype=bool), learned, "adapted model")


def test_what_learns_faults_is_measured_as_such() -> None:
    numbers = summary(judge_era(small(6), Learning()))
    assert numbers["channel ×0.9"] == 0
    assert numbers["channel ×0.9 learned as health"] == 1


def test_a_share_of_nothing_is_nothing() -> None:
    assert share([1, 4]) == 0.25
    assert share([0, 0]) is None
    assert share(None) is None


def test_the_table_names_the_targets_of_the_recipe(tmp_path: Path) -> None:
    row = {"era": "facts", "system": "state", "seed": 1, **judge_era(small(6), Knowing())}
    table, numbers, figure = write_results([row], tmp_path)
    assert "| channel ×0.9 | 1 | ≥ 0.88 |" in table.read_text()
    worse = {**row, "seed": 2, "captured": {"channel ×0.9": [1, 2]}}
    write_results([row, worse], tmp_path / "two")
    assert "| channel ×0.9 | 0.75 ± 0.2 | ≥ 0.88 |" in (tmp_path / "two" / "table.md").read_text()
    assert json.loads(numbers.read_text())[0]["channel ×0.9"] == 1
    assert figure.stat().st_size > 10_000


def test_the_command_measures_what_lacks_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ERAS, "facts", replace(SMALL, runs=3))
    assert main(["-o", str(tmp_path), "--eras", "facts", "--systems", "oracle", "--seeds", "1"]) == 0
    (point,) = (tmp_path / "points").iterdir()
    before = point.stat().st_mtime_ns
    assert main(["-o", str(tmp_path), "--eras", "facts", "--systems", "oracle", "--seeds", "1"]) == 0
    assert point.stat().st_mtime_ns == before
    assert "oracle" in (tmp_path / "table.md").read_text()
    with pytest.raises(UsageError, match="no system is called nobody"):
        main(["-o", str(tmp_path), "--systems", "nobody"])
