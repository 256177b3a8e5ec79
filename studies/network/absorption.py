"""How much of a unit's fault is taken for health: by the default judge, and by the network of the shipped models.

Faults are put into the counts of a healthy run (each digi is kept with the factor's probability). What is asked: how
far does the expectation of the channels at fault follow them, as a share of the fault in log digis; 0 none, 1 all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import CleanRun, clean_runs
from hcal_root_ad.model.graphstad import network_of, reconstruct, segment_of
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.reference import Reference, joint_reference
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.stats.binomial import Floats, probability
from hcal_root_ad.unit_names import rows_of_unit
from studies.network.conditions import FACTORS
from studies.stress.worlds import SHIPPED_DETECTOR, Setting

UNITS = ("HEM05", "HEP11-RM2", "HE |ieta| 26", "HE |ieta| 20 depth 3", "HEP", "HE")
LUMISECTIONS = 20
MODELS = ("he-graphstad", "hb-graphstad-from-he")
LARGEST = 0.1
"""Share of a fault that may be taken up."""


def healthy_run() -> LumiMaps:
    """HB and HE of the detector that the shipped models know."""
    draw = np.random.default_rng(77)
    conditions = Setting(lumisections=LUMISECTIONS, pileup=(46.0, 42.0)).conditions(draw)
    maps = simulate_run(simulate_detector(SHIPPED_DETECTOR), conditions, seed=77).maps
    rows = maps.channels.rows_of("HB", "HE")
    return replace(maps, channels=maps.channels.take(rows), counts=maps.counts[:, rows])


def with_fault(maps: LumiMaps, rows: NDArray[np.intp], factor: float) -> LumiMaps:
    """The run with a share of the digis of some channels lost."""
    counts = maps.counts.copy()
    counts[:, rows] = np.random.default_rng(5).binomial(counts[:, rows], factor)
    return replace(maps, counts=counts)


def taken_up(expected: Floats, healthy: Floats, factor: float) -> float:
    """Share of a fault that the expectation of its channels followed; both (LS, channels) digis."""
    return float(np.log(expected.sum() / healthy.sum()) / np.log(factor))


def simulated(progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Of the shipped models, in a simulated run of their detector."""
    maps, models = healthy_run(), [load_model(name) for name in MODELS]
    return by_judge(maps, models, UNITS, progress) + by_shipped_network(maps, models, UNITS, progress)


def by_judge(
    maps: LumiMaps, models: Sequence[Model], units: Sequence[str], progress: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """Of the default judge: what is published as expected."""
    healthy = expected_digis(maps, models)
    out = []
    for unit, rows, factor in _faults(maps, units):
        expected = expected_digis(with_fault(maps, rows, factor), models)
        share = taken_up(expected[:, rows], healthy[:, rows], factor)
        out.append({"method": "default judge", "unit": unit, "factor": factor, "share": share})
        if progress:
            progress()
    return out


def expected_digis(maps: LumiMaps, models: Sequence[Model]) -> Floats:
    """(LS, channels of the maps) digis that the judge expects."""
    verdict = judge_run(maps, models)
    out = np.zeros(maps.counts.shape)
    for judged in verdict.verdicts:
        out[:, maps.channels.rows_of(judged.subdetector)] = judged.expected[:]
    return out


def by_shipped_network(
    maps: LumiMaps, models: Sequence[Model], units: Sequence[str], progress: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """Of the network of the first model, HE's, on top of a common part that is the healthy one."""
    network, own = network_of(models[0]), maps.channels.rows_of("HE")
    segment = segment_of(_clean(maps), reference_of(models, maps), "HE")
    healthy = probability(reconstruct(network, segment))
    out = []
    for unit, rows, factor in _faults(maps, units):
        mine = np.searchsorted(own, rows)
        counts = replace(segment.counts, counts=with_fault(maps, rows, factor).counts[:, own])
        after = probability(reconstruct(network, replace(segment, counts=counts)))
        share = taken_up(after[:, mine], healthy[:, mine], factor)
        out.append({"method": "shipped network", "unit": unit, "factor": factor, "share": share})
        if progress:
            progress()
    return out


def _clean(maps: LumiMaps) -> CleanRun:
    (run,) = clean_runs([maps])
    return run


def reference_of(models: Sequence[Model], maps: LumiMaps) -> Reference:
    """The joint reference of models, with channels in the order of the maps."""
    reference = joint_reference([model.reference for model in models], maps.channels).reference
    order = {int(raw): row for row, raw in enumerate(reference.channels.raw_id)}
    return reference.take(np.array([order[int(raw)] for raw in maps.channels.raw_id], dtype=np.intp))


def _faults(maps: LumiMaps, units: Sequence[str]) -> Iterator[tuple[str, NDArray[np.intp], float]]:
    for unit in units:
        rows = rows_of_unit(maps.channels, unit)
        rows = rows[maps.counts[:, rows].sum(axis=0) > 0]
        for factor in FACTORS:
            yield unit, rows, factor
