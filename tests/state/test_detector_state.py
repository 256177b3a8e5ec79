"""A state gives the judge its reference, and is saved and read without loss."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.errors import ModelError, UsageError
from hcal_root_ad.state.detector_state import DetectorState, OpenFinding
from hcal_root_ad.state.era import first_state
from hcal_root_ad.state.update import advance
from tests.state.conftest import MakeVerdict, line_of_channel, model_of_he


def test_the_first_reference_is_the_models(state: DetectorState) -> None:
    reference, model = state.reference("HE"), model_of_he().reference
    assert np.array_equal(reference.level, model.level)
    assert np.array_equal(reference.power, model.power)
    assert np.array_equal(reference.live, model.live)


def test_uncertainty_grows_with_age(state: DetectorState) -> None:
    now, later = (state.reference("HE", age=age) for age in (1.0, 16.0))
    assert (later.level_error > now.level_error).all()
    assert (later.unit_errors["box"] > now.unit_errors["box"]).all()


def test_luminosity_tells_the_age(state: DetectorState) -> None:
    known = replace(state, conditions=RunFacts(luminosity=10.0), pace=0.5)
    assert known.age(RunFacts(luminosity=14.0)) == 8
    assert known.age(RunFacts(luminosity=10.1)) == 1
    by_date = replace(state, conditions=RunFacts(day=20_000.0), interval=0.5)
    assert by_date.age(RunFacts(day=20_003.0)) == 6
    assert by_date.age(RunFacts(day=20_003.0, missed=9)) == 10
    assert known.age(RunFacts()) == 1


def test_a_state_of_another_field_or_trigger_says_nothing() -> None:
    state = first_state([model_of_he()], conditions=RunFacts(field=3.8, trigger="collisions"))
    assert state.misfit(RunFacts(field=3.8, trigger="collisions")) == ""
    assert state.misfit(RunFacts()) == ""
    assert state.misfit(RunFacts(field=0.0)) == "the state is of 3.8 T, the run of 0 T"
    assert "cosmics" in state.misfit(RunFacts(trigger="cosmics"))


def test_a_channel_that_is_frozen_grows_no_less_sure(state: DetectorState, row: int) -> None:
    finding = OpenFinding("1-1", "HE", "channel", "x", "degraded", -0.1, (row,), 1, 1)
    held = replace(state, findings=(finding,)).reference("HE", age=10.0)
    free = state.reference("HE", age=10.0)
    assert held.level_error[row] < free.level_error[row]
    assert np.array_equal(np.delete(held.level_error, row), np.delete(free.level_error, row))


def test_a_model_of_other_channels_is_refused(state: DetectorState) -> None:
    model = model_of_he()
    fewer = replace(model, reference=model.reference.take(np.arange(100)))
    with pytest.raises(ModelError, match="other channels of HE"):
        state.informed([fewer])


def test_models_are_informed_under_a_digest_of_their_own(state: DetectorState) -> None:
    (informed,) = state.informed([model_of_he()])
    assert informed.name == "he"
    assert informed.digest != model_of_he().digest
    assert informed.reference.unit_errors


def test_an_unknown_finding_is_named_with_those_that_are_open(state: DetectorState) -> None:
    with pytest.raises(UsageError, match="'7-1'; open are none"):
        state.finding("7-1")


def test_arrays_hold_everything(state: DetectorState, row: int, make_verdict: MakeVerdict) -> None:
    state, _ = advance(state, make_verdict(state, 370001, channel={5: 0.01}, u=-0.3))
    state, _ = advance(state, make_verdict(state, 370002, lines=(line_of_channel(state, row),), channel={row: -0.1}))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state.to_arrays())
    file.seek(0)
    again = DetectorState.from_arrays(dict(np.load(file)))
    assert again.digest == state.digest
    assert again.findings == state.findings
    assert np.array_equal(again.reference("HE").level, state.reference("HE").level)


@given(cut=st.sampled_from(["head", "HE/live", "HE/channel/mean", "HE/ring/past/level"]))
def test_what_is_missing_is_said(cut: str) -> None:
    arrays = first_state([model_of_he()]).to_arrays()
    del arrays[cut]
    with pytest.raises(ModelError, match="expected a detector state"):
        DetectorState.from_arrays(arrays)


def test_numbers_that_are_no_numbers_are_refused(state: DetectorState) -> None:
    arrays = state.to_arrays()
    arrays["HE/channel/mean"] = arrays["HE/channel/mean"].copy()
    arrays["HE/channel/mean"][7, 0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        DetectorState.from_arrays(arrays)
