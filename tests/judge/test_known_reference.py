"""A reference of a detector state: what is known of each unit, smaller limits, and what it measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.channels import whole_run_width
from hcal_root_ad.judge.shared_pileup import _only_a_gain
from hcal_root_ad.judge.units import UnitFault, _Group
from hcal_root_ad.judge.verdict import Level, RunSums
from hcal_root_ad.model.reference import Limits, Reference, Widths, joint_reference
from hcal_root_ad.stats.scan import Null, Stretch
from hcal_root_ad.stats.windows import Sums


def reference_of(name: str, box: float | None = None) -> Reference:
    channels = channel_table().select(name)
    n = len(channels)
    nothing = np.zeros(n)
    errors = {} if box is None else {"box": np.full(n, box), "box power": np.full(n, 0.004)}
    return Reference(
        channels, nothing, nothing, nothing, nothing, nothing == 0, (0, 0), unit_errors=errors,
        covariance=None if box is None else nothing,
    )  # fmt: skip


def test_the_error_of_a_unit_grows_away_from_the_known_pileup() -> None:
    known = reference_of("HE", box=0.003).unit_error("box", away=1.0)
    assert known is not None
    assert np.allclose(known, 0.005)
    assert reference_of("HE").unit_error("box", away=1.0) is None


def test_errors_of_units_are_joined_if_all_have_them() -> None:
    table = channel_table()
    both = joint_reference([reference_of("HB", 0.003), reference_of("HE", 0.006)], table).reference
    error = both.unit_error("box", away=0.0)
    assert error is not None
    assert sorted(set(error.tolist())) == [0.003, 0.006]
    mixed = joint_reference([reference_of("HB", 0.003), reference_of("HE")], table).reference
    assert mixed.unit_error("box", away=0.0) is None
    assert mixed.covariance is None


def test_a_part_of_a_reference_keeps_what_is_known_of_it() -> None:
    half = reference_of("HE", 0.003).take(np.arange(100))
    assert len(half.unit_errors["box"]) == 100
    assert half.covariance is not None
    assert len(half.covariance) == 100


@pytest.mark.parametrize(
    ("known", "prior", "width"),
    [
        (None, 1e-4, np.sqrt(4.0)),  # three times the prior in excess
        (0.003, 1e-4, np.sqrt(4e-4) / Widths().channel),  # held to what is promised
        (0.003, (2 * Widths().channel) ** 2, 4.0),  # an old state knows little by itself
    ],
)
def test_the_scatter_of_a_state_is_held_to_what_models_promise(known: float | None, prior: float, width: float) -> None:
    sums = Sums(np.zeros((2, 1)), np.zeros((2, 1)), np.array([prior]), 0.0)
    null = Null(prior=3 * prior, scatter=[], series=6)
    assert whole_run_width(sums, null, reference_of("HE", known)) == pytest.approx(width)


@pytest.mark.parametrize(("gain", "named"), [(0.03, {3, 5, 7}), (0.05, {5, 7})])
def test_a_gain_of_the_whole_run_has_its_own_limit(gain: float, named: set[int]) -> None:
    values = np.random.default_rng(1).normal(0, 0.003, (20, 40))
    values[:, 3] += 0.04
    values[:, 5] -= 0.04
    values[8:16, 7] += 0.04
    group = _Group(
        Level.RM, np.arange(40), values, np.full_like(values, 0.003**2), np.full(40, 0.003), 5.0,
        Limits(module_gain_of_run=gain),
    )  # fmt: skip
    assert {fault.unit for fault in group.faults(np.zeros(20))} == named


def test_sums_of_a_run_by_hand() -> None:
    w = np.array([[1.0], [3.0]])
    sums = RunSums.of(w * 2.0, w, np.array([1.0, -1.0]))
    assert sums.information[:, 0].tolist() == [4.0, -2.0, 4.0]
    assert sums.score[:, 0].tolist() == [8.0, -4.0]


def test_a_small_gain_beside_a_loss_is_the_pileups() -> None:
    gain = UnitFault(Level.SUBDETECTOR, 0, (Stretch(0, 9, 0.03, 0.001, 9.0),))
    losing = np.arange(10) < 6
    assert _only_a_gain(gain, losing)
    assert not _only_a_gain(gain, np.arange(10) < 5)
    assert not _only_a_gain(replace(gain, stretches=(Stretch(0, 9, 0.3, 0.001, 9.0),)), losing)
    assert not _only_a_gain(replace(gain, stretches=(Stretch(0, 9, -0.03, 0.001, 9.0),)), losing)
