"""The judges that stand beside ours: the template, the oracle, and lines from flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.unit_names import rows_of_unit
from studies.stress.failures import Drawn, Unit
from studies.stress.flags_to_lines import lines_of
from studies.stress.judged import Certified, JudgedRun
from studies.stress.oracle import oracle_of
from studies.stress.template import fit_template, template_judge
from studies.stress.worlds import CLEAN, Origin, Setting, World, WorldRuns, simulate_world

CHANNELS = channel_table("Run3").select("HB", "HE")


@pytest.fixture(scope="module")
def faulty() -> WorldRuns:
    """A box ×0.85 and two dead channels, from LS 11 of 30 on."""
    failures = (Unit("HEP07", 0.85, 11), Drawn("channel", 0.0, 2, 11))
    return simulate_world(World("tiny", "", Setting(30, failures=failures), replace(CLEAN, lumisections=30)), 0)


def judged(runs: WorldRuns, name: str) -> JudgedRun:
    judge = oracle_of(runs) if name == "oracle" else template_judge
    return judge([run.maps for run in runs.clean], runs.judged.maps, 0.5)


def test_the_oracle_finds_a_weak_box_in_one_line(faulty: WorldRuns) -> None:
    answer = judged(faulty, "oracle")
    lines = {line.unit: line for line in answer.lines}
    assert lines["HEP07"].ranges == ((11, 30),)
    assert lines["HEP07"].size == pytest.approx(0.85, abs=0.005)
    assert {fault.unit for fault in faulty.faults} <= set(lines)
    assert len(answer.lines) <= len(faulty.faults) + 1


def test_the_template_finds_dead_channels_where_they_are(faulty: WorldRuns) -> None:
    answer = judged(faulty, "template")
    dead = [fault for fault in faulty.faults if fault.scale == "channel"]
    assert {fault.unit for fault in dead} <= {line.unit for line in answer.lines}
    for fault in dead:
        assert answer.flagged[12:, fault.rows].all()
        assert not answer.flagged[:10, fault.rows].any()
    assert set(answer.certification) == {Certified.GOOD}


def test_the_template_learns_rates_and_powers() -> None:
    # Ten channels of two rings at powers 0.8 and 1.2; k is known up to its mean, which is 1.
    events, ring = np.full((40, 1), 1e6), np.repeat([0, 1], 5)
    log_g = np.linspace(-0.4, 0.4, 40)[:, None]
    power, log_a = np.where(ring == 0, 0.8, 1.2), np.linspace(-2.0, -0.5, 10)
    counts = events * -np.expm1(-np.exp(log_a + power * log_g))
    template = fit_template(counts, events, ring)
    assert template.power == pytest.approx(power, abs=0.01)
    assert template.log_a == pytest.approx(log_a, abs=0.01)


def test_the_oracle_says_nothing_of_a_detector_that_is_another_one(faulty: WorldRuns) -> None:
    answer = judged(replace(faulty, world=replace(faulty.world, origin=Origin.EXCHANGED)), "oracle")
    assert not answer.lines
    assert not answer.trusted
    assert set(answer.certification) == {Certified.NOTSET}


def test_flags_of_a_unit_are_one_line_and_short_pauses_do_not_cut_it() -> None:
    flagged = np.zeros((20, len(CHANNELS)), dtype=np.bool_)
    box, module = rows_of_unit(CHANNELS, "HBM02"), rows_of_unit(CHANNELS, "HEP07-RM3")
    flagged[np.ix_([0, 1, 4, 15], box)] = True
    flagged[np.ix_([7], module)] = True
    flagged[2, rows_of_unit(CHANNELS, "HE +20/5/3")] = True
    observed, expected = np.where(flagged, 5, 10), np.full(flagged.shape, 10.0)
    live = np.ones(len(CHANNELS), dtype=np.bool_)
    lines = lines_of(CHANNELS, flagged, observed, expected, live, np.arange(1, 21, dtype=np.int32))
    assert [(line.unit, line.kind, line.ranges, line.size) for line in lines] == [
        ("HBM02", "loss", ((1, 5), (16, 16)), 0.5),
        ("HEP07-RM3", "loss", ((8, 8),), 0.5),
        ("HE +20/5/3", "loss", ((3, 3),), 0.5),
    ]
