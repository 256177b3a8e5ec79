from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, against_rings, fit_reference
from hcal_root_ad.simulate.simulated_run import SimulatedRun
from tests.model.conftest import clean_lumisections


def test_levels_are_the_rates_of_the_clean_run(clean: SimulatedRun, reference: Reference) -> None:
    rows = clean.maps.channels.rows_of("HB", "HE")
    truth = np.log(-np.log1p(-np.clip(clean.rates[:, rows].mean(axis=0), 1e-5, 0.995)))
    sure = reference.live & (reference.level_error < 0.02) & (truth < 0.5)
    difference = (reference.level - truth)[sure]
    assert np.median(np.abs(difference - np.median(difference))) < 0.02
    assert abs(np.median(difference)) < 0.03


def test_the_mean_power_of_hb_is_one(reference: Reference) -> None:
    hb = (np.array(reference.channels.names) == "HB") & reference.live
    weight = -np.expm1(-np.exp(reference.level[hb]))
    assert np.average(reference.power[hb], weights=weight) == pytest.approx(1.0, abs=0.01)


def test_masked_channels_are_not_live(clean: SimulatedRun, reference: Reference) -> None:
    rows = clean.maps.channels.rows_of("HB", "HE")
    silent = clean.maps.counts[:, rows].sum(axis=0) == 0
    assert not reference.live[silent].any()
    assert reference.live[~silent].mean() > 0.99


def test_a_fault_of_a_third_of_the_clean_run_is_not_learned(clean: SimulatedRun, reference: Reference) -> None:
    lumisections = clean_lumisections(clean.maps)
    counts = lumisections.counts.copy()
    box = (np.array(reference.channels.names) == "HE") & (reference.channels.ieta < 0) & (reference.channels.rbx == 5)
    counts[20:40, box] = 0
    spoiled = fit_reference(replace(lumisections, counts=counts))
    mine = box & reference.live
    assert spoiled.live[mine].all()
    assert np.median((spoiled.level - reference.level)[mine]) == pytest.approx(0.0, abs=0.03)


def test_three_lumisections_of_many_events_are_enough(take_run) -> None:
    few = clean_lumisections(take_run(3, 45.0, 45.0, seed=5, events=4095).maps)
    reference = fit_reference(few)
    assert reference.live.mean() > 0.95
    assert np.median(reference.level_error[reference.live]) < 0.03


def test_too_few_events_are_refused_with_their_number(clean: SimulatedRun) -> None:
    lumisections = clean_lumisections(clean.maps)
    one = CleanLumisections(
        lumisections.channels, lumisections.counts[:1], lumisections.events[:1], np.zeros(1, dtype=np.intp)
    )
    with pytest.raises(InputError, match=f"{int(lumisections.events[0])} events"):
        fit_reference(one)


def test_a_module_off_its_phi_rings_is_not_taken_for_health(reference: Reference) -> None:
    module = np.flatnonzero(np.array(reference.tree.module.names) == "HEP07-RM2")[0]
    mine = (reference.tree.module.of == module) & reference.live
    weak = replace(reference, level=reference.level - 0.7 * mine)
    mended = against_rings(weak)
    assert np.median((mended.level - reference.level)[mine]) == pytest.approx(0.0, abs=0.1)
    assert (mended.level != weak.level)[~mine].mean() < 0.01


def test_an_instrumented_module_without_a_digi_is_dead_and_not_masked(reference: Reference) -> None:
    module = np.flatnonzero(np.array(reference.tree.module.names) == "HEP07-RM2")[0]
    mine = reference.tree.module.of == module
    mended = against_rings(replace(reference, live=reference.live & ~mine))
    assert mended.live[mine & reference.channels.instrumented].all()
