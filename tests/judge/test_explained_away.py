"""Nothing is explained away: what is common is a condition where health allows it, and a finding where it does not.

Every case has failed once: faults that were learned as health, conditions that were told as thousands of faults, and
dead boxes that were painted as not connected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Kind, State
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.simulate.scenario import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

Judged = Callable[[LumiMaps], RunVerdict]
LENGTH = 40
CHANCE = 2
"""False findings that may come: 0.5 are asked for per 100 LS and sub-detector, 0.4 in these runs, 2 in 99 % of them."""


def run(detector: SimulatedDetector, pileup: float, length: int = LENGTH) -> LumiMaps:
    nothing = np.zeros(length, dtype=bool)
    conditions = FillConditions(
        np.arange(1, length + 1, dtype=np.int32), np.full(length, 1500, dtype=np.int64), np.full(length, pileup),
        np.zeros(length, dtype=int), nothing, nothing,
    )  # fmt: skip
    return simulate_run(detector, conditions, seed=5, run=370001).maps


@pytest.fixture(scope="module")
def healthy(detector: SimulatedDetector) -> LumiMaps:
    return run(detector, 45)


@pytest.fixture(scope="module")
def judged(models: Mapping[str, Model]) -> Judged:
    return lambda maps: judge_run(maps, [models["HB"], models["HE"]])


def thinned(
    maps: LumiMaps, columns: NDArray[np.intp], kept: float | NDArray[np.float64], first: int = 1, last: int = LENGTH
) -> LumiMaps:
    """The run of which some channels keep a share of their digis in some lumisections."""
    counts, rows = maps.counts.copy(), slice(first - 1, last)
    counts[rows, columns] = np.random.default_rng(0).binomial(counts[rows, columns], kept)
    return replace(maps, counts=counts)


def columns(maps: LumiMaps, name: str, side: int | None = None, rbx: int | None = None) -> NDArray[np.intp]:
    table = maps.channels
    use = table.subdetector == {"HB": 1, "HE": 2}[name]
    if side is not None:
        use &= table.side == side
    if rbx is not None:
        use &= table.rbx == rbx
    return np.flatnonzero(use)


def aged(maps: LumiMaps) -> LumiMaps:
    """HE lost nothing at |ieta| 18 and 20 % at 29 since the clean run."""
    he = columns(maps, "HE")
    return thinned(maps, he, 1 - 0.2 * np.clip((np.abs(maps.channels.ieta[he]) - 18) / 11, 0, 1))


def told(verdict: RunVerdict, faults: int = 1) -> list[tuple[str, Kind, tuple[tuple[int, int], ...]]]:
    """The findings of the faults that there are, which are the most significant; beside them chance at most."""
    assert len(verdict.findings) <= faults + CHANCE
    strongest = sorted(verdict.findings, key=lambda finding: -finding.significance)[:faults]
    return [(finding.unit, finding.kind, finding.ranges) for finding in strongest]


def trusted(verdict: RunVerdict) -> bool:
    return all(part.trust.trusted for part in verdict.verdicts)


def test_a_healthy_run_is_healthy(healthy: LumiMaps, judged: Judged) -> None:
    verdict = judged(healthy)
    assert told(verdict, faults=0) == []
    assert trusted(verdict)


def test_low_pileup_is_a_condition(detector: SimulatedDetector, judged: Judged) -> None:
    verdict = judged(run(detector, 3.5, 12))
    assert told(verdict, faults=0) == []
    assert trusted(verdict)


@pytest.mark.parametrize(("name", "kept"), [("HE", 0.5), ("HE", 0.7), ("HB", 0.7)])
def test_a_subdetector_that_loses_digis_is_one_finding(
    healthy: LumiMaps, judged: Judged, name: str, kept: float
) -> None:
    verdict = judged(thinned(healthy, columns(healthy, name), kept, 15, 30))
    assert told(verdict) == [(name, Kind.DEGRADED, ((15, 30),))]
    assert verdict.findings[0].size == pytest.approx(kept, abs=0.03)
    assert verdict.findings[0].channels > 6000


@pytest.mark.parametrize("kept", [0.0, 0.85])
def test_a_box_that_fails_in_the_whole_run_is_no_health(healthy: LumiMaps, judged: Judged, kept: float) -> None:
    box = columns(healthy, "HE", side=0, rbx=5)
    verdict = judged(thinned(healthy, box, kept))
    kind = Kind.DEAD if kept == 0 else Kind.DEGRADED
    assert told(verdict) == [("HEM05", kind, ((1, LENGTH),))]
    assert verdict.findings[0].size == pytest.approx(kept, abs=0.05)
    he = verdict.verdicts[1]
    own = np.searchsorted(columns(healthy, "HE"), box)
    live = (he.states[:, own] != State.NOT_CONNECTED).all(axis=0)
    assert live.mean() > 0.9
    assert (he.states[:, own[live]] >= State.PROBLEMATIC).mean() > 0.9


def test_ageing_of_rings_is_a_condition_that_is_said(healthy: LumiMaps, judged: Judged) -> None:
    verdict = judged(aged(healthy))
    assert told(verdict, faults=0) == []
    assert verdict.common is not None
    assert any("rings of HE moved" in sentence for sentence in verdict.common.sentences)


@pytest.mark.parametrize("first", [1, 15])
def test_a_dead_box_in_an_aged_detector_is_dead(healthy: LumiMaps, judged: Judged, first: int) -> None:
    box = columns(healthy, "HE", side=0, rbx=5)
    verdict = judged(thinned(aged(healthy), box, 0.0, first, LENGTH))
    assert told(verdict) == [("HEM05", Kind.DEAD, ((first, LENGTH),))]


@pytest.mark.parametrize(("first", "last"), [(1, LENGTH), (15, 30)])
def test_half_of_a_subdetector_that_loses_digis_is_one_finding(
    healthy: LumiMaps, judged: Judged, first: int, last: int
) -> None:
    verdict = judged(thinned(healthy, columns(healthy, "HE", side=1), 0.7, first, last))
    assert told(verdict) == [("HEP", Kind.DEGRADED, ((first, last),))]
    assert verdict.findings[0].size == pytest.approx(0.7, abs=0.03)


def test_boxes_that_fail_by_the_dozen_are_named_and_the_detector_is_still_known(
    healthy: LumiMaps, judged: Judged
) -> None:
    maps = healthy
    for side in (0, 1):
        for rbx in (2, 3, 7, 11, 12, 16):
            maps = thinned(maps, columns(healthy, "HE", side, rbx), 0.6, 10, LENGTH)
    verdict = judged(maps)
    boxes = {f"HE{side}{rbx:02d}" for side in "MP" for rbx in (2, 3, 7, 11, 12, 16)}
    assert {finding.unit for finding in verdict.findings} == boxes
    assert {finding.ranges for finding in verdict.findings} == {((10, LENGTH),)}


def test_another_detector_is_never_trusted(judged: Judged) -> None:
    verdict = judged(run(simulate_detector(7), 45, 12))
    assert not any(part.trust.trusted for part in verdict.verdicts)
    assert all(part.sensitivity > 3 for part in verdict.verdicts)
