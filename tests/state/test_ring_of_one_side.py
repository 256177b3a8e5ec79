"""A ring that fails on one side of HCAL, run after run: its fault is measured whole, and no part of it is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import Subdetector, channel_table
from hcal_root_ad.judge.verdict import Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.state.detector_state import DetectorState
from hcal_root_ad.state.era import first_state
from hcal_root_ad.state.update import advance
from tests.flat_runs import flat_maps, flat_reference

RUNS = range(370_201, 370_206)
LOSS = 0.8


@pytest.fixture(scope="module")
def models() -> list[Model]:
    tables = {name: channel_table().select(name) for name in ("HB", "HE")}
    return [Model(f"flat-{name}", name, flat_reference(table), digest="ab12") for name, table in tables.items()]


def with_a_weak_side(run: int) -> LumiMaps:
    maps = flat_maps(20, events=4000)
    counts, table = maps.counts.copy(), maps.channels
    counts[:, (table.subdetector == Subdetector.HE) & (table.ieta == 22)] = round(LOSS * 1200)
    return replace(maps, run=run, counts=counts)


def he(state: DetectorState, models: list[Model], run: int) -> tuple[Verdict, DetectorState]:
    verdict = Judging(models, state=state).judge(with_a_weak_side(run))
    after, _ = advance(state, verdict)
    return next(part for part in verdict.verdicts if part.subdetector == "HE"), after


def test_it_is_measured_whole_and_never_learned(models: list[Model]) -> None:
    state = first_state(models)
    before = state.reference("HE").level
    for run in RUNS:
        verdict, state = he(state, models, run)
        assert [finding.unit for finding in verdict.findings] == ["HE ieta +22"]
    assert [finding.unit for finding in state.findings] == ["HE ieta +22"]
    assert [finding.runs for finding in state.findings] == [len(RUNS)]
    ring = np.abs(verdict.channels.ieta) == 22
    assert state.reference("HE").level[ring] == pytest.approx(before[ring], abs=0.005)


def test_ring_and_channels_together_are_the_loss_of_the_side_and_nothing_of_the_other(models: list[Model]) -> None:
    verdict, state = he(first_state(models), models, RUNS[0])
    assert verdict.measured is not None
    part, sums = state.subdetectors["HE"], verdict.measured.sums
    shift = {name: sums[name].score[0] / np.maximum(sums[name].information[0], 1e-9) for name in ("ring", "channel")}
    whole = shift["channel"] + shift["ring"][part.of("ring")]
    rate = -np.log1p(-0.3)
    lost = np.log(-np.log1p(-LOSS * 0.3) / rate)
    for ieta, expected in ((22, lost), (-22, 0.0)):
        assert whole[verdict.channels.ieta == ieta] == pytest.approx(expected, abs=0.02)
