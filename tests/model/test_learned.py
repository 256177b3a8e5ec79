"""What is odd against the phi ring, and what three real lumisections teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.model.model import load_model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import odd_modules
from hcal_root_ad.model.transfer import learned, transfer

REAL = Path(__file__).parents[3] / "shared" / "data" / "run306138_real"


def test_a_module_is_odd_by_a_quarter_where_others_agree() -> None:
    offsets = np.tile([0.02, -0.02], 72)
    offsets[:3] = -0.7, 0.3, 0.2
    assert np.flatnonzero(odd_modules(offsets)).tolist() == [0, 1]


def test_where_sound_modules_scatter_more_is_allowed() -> None:
    offsets = np.tile([0.12, -0.12], 72)
    offsets[:2] = -0.8, 0.3
    assert np.flatnonzero(odd_modules(offsets)).tolist() == [0]


def test_clean_runs_at_one_pileup_are_said_to_teach_no_powers(reference: Reference) -> None:
    """At half the rate an error of the power of 0.03 is 0.03 · ln 2 = 2.1 %."""
    known = replace(reference, power_error=np.full(len(reference.level), 0.03))
    narrow = learned(replace(known, pileup_range=(-0.01, 0.01)), []).sentences
    assert "a factor of 1.02 only" in narrow["pileup"]
    assert "known to 2.1 % at best" in narrow["pileup"]
    assert "pileup" not in learned(replace(known, pileup_range=(-0.2, 0.2)), []).sentences


@pytest.mark.skipif(not REAL.is_dir(), reason="the real lumisections are not here")
def test_three_real_lumisections_are_enough_for_a_first_model(tmp_path: Path) -> None:
    (maps,) = read_lumi_maps([REAL])
    models = [
        transfer(load_model(name), [maps.rows(slice(0, 3))], tmp_path / name)
        for name in ("he-graphstad", "hb-graphstad-from-he", "ho", "hf")
    ]
    assert models[0].story["learned from"] == "3 LS with 4095 events of run 306138"
    assert all("odd units" not in model.story for model in models)
    verdict = judge_run(maps.rows(slice(3, None)), [replace(model, weights={}) for model in models])
    assert verdict.trust.trusted
    assert verdict.findings == ()
